package main

import (
	"context"
	"time"
)

// idleTime is how long an idle server's CPU time is looked at.
const idleTime = 15 * time.Second

// idleCPU measures what a server costs that nobody asks anything. The operation is a second.
func idleCPU(ctx context.Context, b *bench) error {
	if _, err := b.settled(ctx); err != nil {
		return err
	}
	wait := idleTime
	if b.config.quick {
		wait = 5 * time.Second
	}
	before, err := b.server.processes.cpu()
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
	}
	after, err := b.server.processes.cpu()
	if err != nil {
		return err
	}
	b.done("idle-cpu", sample{Ops: int(wait / time.Second), ServerCPU: micros(after-before) / wait.Seconds()})
	return nil
}

// openWatches is how many clients are connected when a server is told to stop.
const openWatches = 20

// restart measures the start on what a server has stored, and in the first round, because kube-apiserver takes a minute for it, the
// stop with clients connected. The operation is one of each.
func restart(ctx context.Context, b *bench) error {
	if b.start == nil {
		return nil // somebody else's server
	}
	stop := b.stopAlone
	if b.once() {
		stop = b.stopWatched
	}
	if err := stop(ctx); err != nil {
		return err
	}
	again, err := b.start(ctx)
	if err != nil {
		return err
	}
	b.server = again
	if b.client, err = newClient(b.server.config); err != nil {
		return err
	}
	ready := micros(b.server.ready)
	b.done("restart", sample{Ops: 1, ServerCPU: micros(b.server.readyCPU), P50: ready, P99: ready})
	return nil
}

// stopAlone stops the server that nobody is connected to.
func (b *bench) stopAlone(context.Context) error {
	b.client.close()
	return b.server.stop()
}

// stopWatched measures the stop of the server with clients connected.
func (b *bench) stopWatched(ctx context.Context) error {
	watching, err := b.watch(ctx, openWatches, func(int) string { return "/api/v1/pods?labelSelector=none" })
	if err != nil {
		return err
	}
	defer watching.close()
	began := time.Now()
	if err := b.server.stop(); err != nil {
		return err
	}
	took := micros(time.Since(began))
	b.client.close()
	b.done("stop", sample{Ops: 1, P50: took, P99: took})
	return nil
}
