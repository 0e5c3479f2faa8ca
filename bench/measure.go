package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// sample is what one measurement gave. What was not measured is 0.
type sample struct {
	Ops        int     `json:"ops,omitempty"`
	ServerCPU  float64 `json:"serverCPUMicrosPerOp,omitempty"` // CPU time of all server processes
	ClientCPU  float64 `json:"clientCPUMicrosPerOp,omitempty"` // CPU time of this program
	PerSecond  float64 `json:"opsPerSecond,omitempty"`
	P50        float64 `json:"p50Micros,omitempty"`
	P99        float64 `json:"p99Micros,omitempty"`
	BytesPerOp float64 `json:"bytesPerOp,omitempty"` // of answers
	Memory     float64 `json:"memoryBytes,omitempty"`
}

func (s sample) String() string {
	if s.Ops == 0 {
		return bytesText(s.Memory)
	}
	return fmt.Sprintf("server CPU %s/op, client %s/op, p50 %s, p99 %s, %.0f/s, %s/op", microsText(s.ServerCPU), microsText(s.ClientCPU),
		microsText(s.P50), microsText(s.P99), s.PerSecond, bytesText(s.BytesPerOp))
}

// bench is what scenarios work with: one server, and where samples go.
type bench struct {
	config  config
	server  *server
	client  *client
	done    func(id string, s sample)
	start   func(ctx context.Context) (*server, error) // starts the server again, on its data; nil when it is somebody else's
	pods    int                                        // that are stored
	leases  sync.Map                                   // resourceVersions of leases that were made, by name
	written int                                        // objects that the writes have numbered so far
	idlePSS int64                                      // before anything was stored
}

func newBench(c config, s *server) (*bench, error) {
	client, err := newClient(s.config)
	if err != nil {
		return nil, err
	}
	return &bench{config: c, server: s, client: client}, nil
}

// work is something to measure.
type work struct {
	ops      int
	parallel int                                             // operations at a time; 0 for one
	pause    time.Duration                                   // before each operation
	op       func(ctx context.Context, i int) (int64, error) // one operation; it returns the bytes it got
}

// measure does the work and hands over what it cost.
func (b *bench) measure(ctx context.Context, id string, w work) error {
	s, err := b.cost(ctx, w)
	if err != nil {
		return err
	}
	b.done(id, s)
	return nil
}

// cost does the work and returns what it cost.
func (b *bench) cost(ctx context.Context, w work) (sample, error) {
	self := processes{os.Getpid()}
	server, err := b.server.processes.cpu()
	if err != nil {
		return sample{}, err
	}
	client, err := self.cpu()
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	took, bytes, err := w.do(ctx)
	if err != nil {
		return sample{}, err
	}
	wall := time.Since(began)
	serverAfter, err := b.server.processes.cpu()
	if err != nil {
		return sample{}, err
	}
	clientAfter, err := self.cpu()
	if err != nil {
		return sample{}, err
	}
	slices.Sort(took)
	perOp := func(d time.Duration) float64 { return micros(d) / float64(w.ops) }
	return sample{
		Ops: w.ops, ServerCPU: perOp(serverAfter - server), ClientCPU: perOp(clientAfter - client),
		PerSecond: float64(w.ops) / wall.Seconds(), P50: micros(took[len(took)/2]), P99: micros(took[len(took)*99/100]),
		BytesPerOp: float64(bytes) / float64(w.ops),
	}, nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// do does all operations and returns how long each took and how many bytes they got together.
func (w work) do(ctx context.Context) ([]time.Duration, int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	took := make([]time.Duration, w.ops)
	var next, bytes atomic.Int64
	var wg sync.WaitGroup
	for range max(w.parallel, 1) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= w.ops {
					return
				}
				time.Sleep(w.pause)
				began := time.Now()
				n, err := w.op(ctx, i)
				if err != nil {
					cancel(err)
					return
				}
				took[i] = time.Since(began)
				bytes.Add(n)
			}
		})
	}
	wg.Wait()
	return took, bytes.Load(), context.Cause(ctx)
}

// settled returns the servers' memory once they had time to come to rest.
func (b *bench) settled(ctx context.Context) (int64, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(b.config.settle):
	}
	return b.server.processes.pss()
}
