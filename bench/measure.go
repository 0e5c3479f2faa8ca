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
	listed  string                                     // namespace whose pods are listed; "" for those of all
	leases  sync.Map                                   // resourceVersions of leases that were made, by name
	written int                                        // objects that the writes have numbered so far
	idlePSS int64                                      // before anything was stored
	// first is the first round, in which what is measured once has its turn.
	first bool
	// profiler takes profiles of what is measured; nil in the rounds, whose figures it would change.
	profiler *profiler
}

// once tells whether to measure what takes so long that one round has to do. A quick run is without.
func (b *bench) once() bool { return b.first && !b.config.quick }

func newBench(c config, s *server) (*bench, error) {
	client, err := newClient(s.config)
	if err != nil {
		return nil, err
	}
	return &bench{config: c, server: s, client: client, first: true}, nil
}

// work is something to measure. It ends after ops operations; or sooner, when as many as least are done and it has taken as long
// as within: a slow server is not asked a thousand times for what a hundred times tell as well.
type work struct {
	ops      int
	least    int
	within   time.Duration                                   // 0 for as long as it takes
	parallel int                                             // operations at a time; 0 for one
	pause    time.Duration                                   // before each operation
	op       func(ctx context.Context, i int) (int64, error) // one operation; it returns the bytes it got
}

// enough tells whether operation i need not be done any more.
func (w work) enough(i int, began time.Time) bool {
	return i >= w.ops || w.within > 0 && i >= w.least && time.Since(began) >= w.within
}

// measure does the work and hands over what it cost.
func (b *bench) measure(ctx context.Context, id string, w work) error {
	s, err := b.cost(ctx, id, w)
	if err != nil {
		return err
	}
	b.done(id, s)
	return nil
}

// cost does the work and returns what one operation cost. The id is for profiles; what has none is not profiled.
func (b *bench) cost(ctx context.Context, id string, w work) (sample, error) {
	if b.profiler == nil {
		return b.costOf(ctx, w)
	}
	if w.within > 0 {
		w.within = max(w.within, profileTime)
	}
	return b.profiler.during(ctx, b.server, id, func() (sample, error) { return b.costOf(ctx, w) })
}

func (b *bench) costOf(ctx context.Context, w work) (sample, error) {
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
	n := len(took)
	perOp := func(d time.Duration) float64 { return micros(d) / float64(n) }
	return sample{
		Ops: n, ServerCPU: perOp(serverAfter - server), ClientCPU: perOp(clientAfter - client),
		PerSecond: float64(n) / wall.Seconds(), P50: micros(took[n/2]), P99: micros(took[n*99/100]),
		BytesPerOp: float64(bytes) / float64(n),
	}, nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// do does the operations and returns how long each took and how many bytes they got together.
func (w work) do(ctx context.Context) ([]time.Duration, int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	var next, bytes atomic.Int64
	var wg sync.WaitGroup
	took := make([][]time.Duration, max(w.parallel, 1))
	for worker := range took {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if w.enough(i, began) {
					return
				}
				time.Sleep(w.pause)
				began := time.Now()
				n, err := w.op(ctx, i)
				if err != nil {
					cancel(err)
					return
				}
				took[worker] = append(took[worker], time.Since(began))
				bytes.Add(n)
			}
		})
	}
	wg.Wait()
	return slices.Concat(took...), bytes.Load(), context.Cause(ctx)
}

// settled returns the servers' memory once they had time to come to rest.
func (b *bench) settled(ctx context.Context) (int64, error) {
	if b.profiler != nil {
		return b.server.processes.pss() // nobody looks at it
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(b.config.settle):
	}
	return b.server.processes.pss()
}
