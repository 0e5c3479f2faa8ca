package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"
)

// watchersPerConnection is how many watches share an HTTP/2 connection: an informer factory's number, not a kubelet's.
const watchersPerConnection = 50

// watchers are watches that are open.
type watchers struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	// got is told of every event: who has it.
	got chan int
	// failed has the first error.
	failed chan error
}

// watch opens n watches from the newest revision on, the i-th of path(i).
func (b *bench) watch(ctx context.Context, n int, path func(i int) string) (*watchers, error) {
	revision, err := b.revision(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &watchers{cancel: cancel, got: make(chan int, n), failed: make(chan error, 1)}
	var c *client
	for i := range n {
		if i%watchersPerConnection == 0 {
			if c, err = newClient(b.server.config); err != nil {
				w.close()
				return nil, err
			}
			context.AfterFunc(ctx, c.close)
		}
		answer, err := c.open(ctx, request{path: path(i) + "&watch=1&resourceVersion=" + revision, accept: acceptJSON})
		if err != nil {
			w.close()
			return nil, err
		}
		w.wg.Go(func() {
			defer answer.Body.Close()
			buffer := make([]byte, 16<<10)
			for {
				size, err := answer.Body.Read(buffer)
				for range bytes.Count(buffer[:size], []byte("\n")) {
					select {
					case w.got <- i:
					case <-ctx.Done():
					}
				}
				if err != nil {
					w.fail(ctx, fmt.Errorf("watcher %d: %w", i, err))
					return
				}
			}
		})
	}
	return w, nil
}

func (w *watchers) fail(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	select {
	case w.failed <- err:
	default:
	}
}

// next waits for an event.
func (w *watchers) next(ctx context.Context) (int, error) {
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	select {
	case i := <-w.got:
		return i, nil
	case err := <-w.failed:
		return 0, err
	case <-late.C:
		return 0, fmt.Errorf("an event did not come within a minute")
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (w *watchers) close() {
	w.cancel()
	w.wg.Wait()
}

// revision returns the newest one.
func (b *bench) revision(ctx context.Context) (string, error) {
	body, err := b.client.read(ctx, request{path: "/api/v1/namespaces?limit=1", accept: acceptJSON})
	if err != nil {
		return "", err
	}
	var list struct {
		Metadata struct{ ResourceVersion string }
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return "", err
	}
	return list.Metadata.ResourceVersion, nil
}

// watcherMemory measures what watchers take that wait for something to come. It goes before anything that makes a heap grow:
// afterwards they would find room in it. The first watchers are not counted: with them comes the code that serves them.
func watcherMemory(ctx context.Context, b *bench) error {
	if _, err := b.idle(ctx); err != nil {
		return err
	}
	path := func(int) string { return "/api/v1/namespaces/default/pods?" }
	first, err := b.watch(ctx, watchersPerConnection, path)
	if err != nil {
		return err
	}
	defer first.close()
	before, err := b.settled(ctx)
	if err != nil {
		return err
	}
	w, err := b.watch(ctx, b.config.watchers, path)
	if err != nil {
		return err
	}
	defer w.close()
	after, err := b.settled(ctx)
	if err != nil {
		return err
	}
	b.done("memory-per-watcher", sample{Memory: float64(after-before) / float64(b.config.watchers)})
	return nil
}

// A fan-out is of so many writes at least, and goes on for so long.
const (
	fanWrites = 20
	fanTime   = 2 * time.Second
)

// fanWork writes again and again.
func fanWork(op func(context.Context, int) (int64, error)) work {
	return work{ops: math.MaxInt, least: fanWrites, within: fanTime, op: op}
}

// fanOut measures how one event of 7 KB comes to all watchers of its kind and namespace: as many as are asked for, some more that
// never read with them, and in the first round of a full run few and many.
func fanOut(ctx context.Context, b *bench) error {
	if _, err := b.createPod(ctx, fanNamespace, encodePod("fan", nodeName(0), "fan")); err != nil {
		return err
	}
	if _, err := b.cost(ctx, "", fanWork(writeFan(b))); err != nil { // warm
		return err
	}
	if err := b.fanOutTo(ctx, "fan-out", b.config.watchers, 0); err != nil {
		return err
	}
	if err := b.fanOutTo(ctx, "fan-out-stalled", b.config.watchers, max(1, b.config.watchers/100)); err != nil || !b.once() {
		return err
	}
	for _, n := range []int{100, 5000} {
		if err := b.fanOutTo(ctx, fmt.Sprintf("fan-out-%d", n), n, 0); err != nil {
			return err
		}
	}
	return nil
}

// writeFan changes the pod that all watch.
func writeFan(b *bench) func(context.Context, int) (int64, error) {
	return func(ctx context.Context, _ int) (int64, error) {
		body := []byte(`{"metadata":{"annotations":{"written":"` + strconv.FormatInt(time.Now().UnixNano(), 10) + `"}}}`)
		return b.client.do(ctx, request{
			method: "PATCH", path: "/api/v1/namespaces/" + fanNamespace + "/pods/fan", contentType: mergePatch, body: body,
		})
	}
}

// fanOutTo measures n watchers. The cost of the writes alone is taken off. The latencies are those of each event, from before its
// write on.
func (b *bench) fanOutTo(ctx context.Context, id string, n, stalled int) error {
	write := writeFan(b)
	alone, err := b.cost(ctx, "", fanWork(write))
	if err != nil {
		return err
	}
	path := "/api/v1/namespaces/" + fanNamespace + "/pods?"
	for range stalled {
		closeStalled, err := stall(ctx, b.server.config, path+"watch=1")
		if err != nil {
			return err
		}
		defer closeStalled()
	}
	w, err := b.watch(ctx, n, func(int) string { return path })
	if err != nil {
		return err
	}
	defer w.close()
	delivered := make([]time.Duration, 0, n*fanWrites)
	all, err := b.cost(ctx, id, fanWork(func(ctx context.Context, i int) (int64, error) {
		began := time.Now()
		size, err := write(ctx, i)
		for range n {
			if err == nil {
				_, err = w.next(ctx)
				delivered = append(delivered, time.Since(began))
			}
		}
		return size, err
	}))
	if err != nil {
		return err
	}
	slices.Sort(delivered)
	all.Ops *= n
	all.ServerCPU = (all.ServerCPU - alone.ServerCPU) / float64(n)
	all.ClientCPU = (all.ClientCPU - alone.ClientCPU) / float64(n)
	all.PerSecond *= float64(n)
	all.P50, all.P99 = micros(delivered[len(delivered)/2]), micros(delivered[len(delivered)*99/100])
	b.done(id, all)
	return nil
}

const (
	statusPatches        = 500
	statusPatchesAtLeast = 200
	statusTime           = 2 * time.Second
)

// nodeWatchers measures status patches that come to the one watcher of many, by spec.nodeName, that asked for the pod.
func nodeWatchers(ctx context.Context, b *bench) error {
	n := b.config.watchers
	w, err := b.watch(ctx, n, func(i int) string {
		return "/api/v1/pods?fieldSelector=" + url.QueryEscape("spec.nodeName="+nodeName(i))
	})
	if err != nil {
		return err
	}
	defer w.close()
	return b.measure(ctx, "status-to-node", work{ops: statusPatches, least: statusPatchesAtLeast, within: statusTime, op: func(ctx context.Context, i int) (int64, error) {
		pod := i * 7 % b.pods
		body := []byte(`{"status":{"phase":"Running","message":"` + strconv.FormatInt(time.Now().UnixNano(), 10) + `"}}`)
		size, err := b.client.do(ctx, request{
			method: "PATCH", path: "/api/v1/namespaces/" + benchNamespace + "/pods/" + podName(pod) + "/status",
			contentType: "application/strategic-merge-patch+json", body: body,
		})
		if err != nil {
			return 0, err
		}
		got, err := w.next(ctx)
		if err == nil && nodeName(got) != podNode(pod, n) {
			err = fmt.Errorf("%s came to the watcher of %s", podName(pod), nodeName(got))
		}
		return size, err
	}})
}
