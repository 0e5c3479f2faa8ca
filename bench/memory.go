package main

import "context"

// listsTogether is how many lists are under way at a time.
const listsTogether = 4

// peakLists measures how much memory a few lists at a time need on top of what the server has.
func peakLists(ctx context.Context, b *bench) error {
	if !b.first {
		return nil
	}
	for _, form := range []listForm{
		{id: "peak-json", accept: acceptJSON},
		{id: "peak-table", accept: acceptTable},
	} {
		if _, err := b.settled(ctx); err != nil {
			return err
		}
		p := b.server.processes
		if err := p.resetPeak(); err != nil {
			return err
		}
		before, err := p.rss()
		if err != nil {
			return err
		}
		s, err := b.cost(ctx, form.id+"-cpu", work{ops: listsTogether, parallel: listsTogether, op: func(ctx context.Context, _ int) (int64, error) {
			return b.client.do(ctx, request{path: b.podsPath(), accept: form.accept})
		}})
		if err != nil {
			return err
		}
		peak, err := p.peakRSS()
		if err != nil {
			return err
		}
		b.done(form.id, sample{Memory: float64(peak - before)})
		b.done(form.id+"-cpu", s)
	}
	return nil
}
