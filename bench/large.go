package main

import (
	"context"
	"fmt"
)

// moreNamespace has the pods that are stored besides those that are listed.
const moreNamespace = "bench-more"

// large measures the memory that a pod takes when a tenth, half, and all of many are stored, and then every form of list of half of
// them: those are in a namespace of their own. Lists come last, because they leave a heap larger than it was.
func large(ctx context.Context, b *bench) error {
	idle, err := b.idle(ctx)
	if err != nil {
		return err
	}
	for _, namespace := range []string{benchNamespace, moreNamespace} {
		if err := b.makeNamespace(ctx, namespace); err != nil {
			return err
		}
	}
	all, half := b.config.objects, b.config.objects/2
	stored := 0
	for _, n := range []int{all / 10, half, all} {
		from := stored
		w := work{ops: n - from, parallel: createsTogether, op: func(ctx context.Context, i int) (int64, error) {
			namespace := benchNamespace
			if from+i >= half {
				namespace = moreNamespace
			}
			return b.createPod(ctx, namespace, podNamed(from+i, b.config.watchers))
		}}
		if err := b.measure(ctx, fmt.Sprintf("create-pod-%d", n), w); err != nil {
			return err
		}
		stored = n
		after, err := b.settled(ctx)
		if err != nil {
			return err
		}
		b.done(fmt.Sprintf("memory-per-pod-%d", n), sample{Memory: float64(after-idle) / float64(n)})
	}
	b.pods, b.listed = half, benchNamespace
	done := b.done
	defer func() { b.done = done }()
	b.done = func(id string, s sample) { done(fmt.Sprintf("%s-%d", id, half), s) }
	for _, scenario := range []func(context.Context, *bench) error{list, watchList, peakLists} {
		if err := scenario(ctx, b); err != nil {
			return err
		}
	}
	return nil
}
