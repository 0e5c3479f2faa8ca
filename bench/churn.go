package main

import (
	"context"
	"fmt"
	"sync/atomic"
)

// churners is how many clients churn at a time; each makes, changes, reads and deletes objects of its own.
const (
	churners    = 32
	churnRounds = 20
)

// churn measures a mix of requests, and counts those that failed. One operation is one request.
func churn(ctx context.Context, b *bench) error {
	rounds := churnRounds
	if b.config.quick {
		rounds = 5
	}
	first := b.written
	b.written += churners * rounds
	steps := churnSteps()
	var failed atomic.Int64
	s, err := b.cost(ctx, "churn", work{ops: churners * rounds * len(steps), parallel: churners, op: func(ctx context.Context, i int) (int64, error) {
		// The steps of one object follow each other in the list of operations, one apart for every churner, so that an object's
		// next step seldom begins before its last has ended; a step that does is refused, and counted.
		block, within := i/(churners*len(steps)), i%(churners*len(steps))
		n, err := steps[within/churners](b, ctx, first+block*churners+within%churners)
		if err != nil && ctx.Err() == nil {
			failed.Add(1)
			return 0, nil
		}
		return n, err
	}})
	if err != nil {
		return err
	}
	b.done("churn", s)
	if n := failed.Load(); n > 0 {
		b.done("churn-refused", sample{Ops: int(n)})
	}
	return nil
}

// churnSteps are the requests for one object, in their order.
func churnSteps() []func(*bench, context.Context, int) (int64, error) {
	read := func(b *bench, ctx context.Context, i int) (int64, error) {
		return b.client.do(ctx, request{path: inNamespace("v1", "configmaps", configMapName(i)), accept: acceptJSON})
	}
	page := func(b *bench, ctx context.Context, _ int) (int64, error) {
		return b.client.do(ctx, request{path: inNamespace("v1", "pods", "") + "?limit=50", accept: acceptJSON})
	}
	patch := func(b *bench, ctx context.Context, i int) (int64, error) {
		return b.send(ctx, "PATCH", inNamespace("v1", "configmaps", configMapName(i)), mergePatch, fmt.Appendf(nil, `{"data":{"n":"%d"}}`, i))
	}
	remove := func(b *bench, ctx context.Context, i int) (int64, error) {
		return b.send(ctx, "DELETE", inNamespace("v1", "configmaps", configMapName(i)), "", nil)
	}
	return []func(*bench, context.Context, int) (int64, error){
		createConfigMap, createSmallPod, read, updateConfigMap, patch, patchPodStatus, page, read, remove, deletePod,
	}
}
