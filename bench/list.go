package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strconv"
	"time"
)

const (
	acceptJSON     = "application/json"
	acceptProtobuf = "application/vnd.kubernetes.protobuf"
	acceptTable    = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
)

// listForm is one way to ask for pods.
type listForm struct {
	id, query, accept string
	gzip              bool
	least             int // how often it is asked for at least
}

// listTime is how long a form is asked for, if that is oftener than least.
const listTime = time.Second

// work asks again and again.
func (f listForm) work(one func(context.Context, int) (int64, error)) work {
	return work{ops: math.MaxInt, least: f.least, within: listTime, op: one}
}

// listForms are the ways that are measured. Each is asked for once before, and that first time is a figure of its own.
func listForms() []listForm {
	return []listForm{
		{"list-json", "", acceptJSON, false, 3},
		{"list-gzip", "", acceptJSON, true, 3},
		{"list-protobuf", "", acceptProtobuf, false, 3},
		{"list-table", "", acceptTable, false, 3},
		{"list-selector", "?labelSelector=group%3D" + selected(7), acceptJSON, false, 20},
	}
}

// podsPath is where the pods that load has stored are listed.
func (b *bench) podsPath() string {
	if b.listed != "" {
		return "/api/v1/namespaces/" + b.listed + "/pods"
	}
	return "/api/v1/pods"
}

// list measures lists of all pods, one at a time.
func list(ctx context.Context, b *bench) error {
	for _, form := range listForms() {
		one := func(ctx context.Context, _ int) (int64, error) {
			return b.client.do(ctx, request{path: b.podsPath() + form.query, accept: form.accept, gzip: form.gzip})
		}
		if err := b.measure(ctx, form.id+"-first", work{ops: 1, op: one}); err != nil {
			return err
		}
		if err := b.measure(ctx, form.id, form.work(one)); err != nil {
			return err
		}
	}
	after, err := b.settled(ctx)
	if err != nil {
		return err
	}
	b.done("memory-after-lists", sample{Memory: float64(after)})
	return nil
}

// watchList measures watches that begin with all pods, up to the bookmark that ends them.
func watchList(ctx context.Context, b *bench) error {
	one := func(ctx context.Context, _ int) (int64, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		answer, err := b.client.open(ctx, request{
			path: b.podsPath() + "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", accept: acceptJSON,
		})
		if err != nil {
			return 0, err
		}
		defer answer.Body.Close()
		buffer := make([]byte, 256<<10)
		var size int64
		for lines := 0; lines <= b.pods; {
			n, err := answer.Body.Read(buffer)
			if err != nil {
				return 0, fmt.Errorf("after %d events: %w", lines, err)
			}
			lines += bytes.Count(buffer[:n], []byte("\n"))
			size += int64(n)
		}
		return size, nil
	}
	if err := b.measure(ctx, "watch-list-first", work{ops: 1, op: one}); err != nil {
		return err
	}
	return b.measure(ctx, "watch-list", listForm{least: 3}.work(one))
}

const (
	writesPerSecond = 50
	quietLists      = 300
	quietAtLeast    = 120
	quietTime       = 5 * time.Second
)

// quietList measures lists of a kind that nobody writes, while another kind is written.
func quietList(ctx context.Context, b *bench) error {
	writing, stop := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() { failed <- b.writeConfigMaps(writing) }()
	w := work{ops: quietLists, least: quietAtLeast, within: quietTime, pause: 5 * time.Millisecond}
	w.op = func(ctx context.Context, _ int) (int64, error) {
		return b.client.do(ctx, request{path: "/api/v1/services", accept: acceptJSON})
	}
	err := b.measure(ctx, "list-quiet", w)
	stop()
	if wrote := <-failed; wrote != nil && writing.Err() == nil {
		return wrote
	}
	return err
}

// writeConfigMaps creates ConfigMaps at a steady rate until ctx ends.
func (b *bench) writeConfigMaps(ctx context.Context) error {
	tick := time.NewTicker(time.Second / writesPerSecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		body := []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"quiet-` + strconv.Itoa(i) + `"},"data":{"a":"b"}}`)
		_, err := b.post(ctx, "/api/v1/namespaces/"+benchNamespace+"/configmaps", body)
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}
