package main

import (
	"bytes"
	"context"
	"fmt"
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
	times             int
}

// listForms are the ways that are measured. Each is asked for once before, and that first time is a figure of its own.
func listForms() []listForm {
	return []listForm{
		{"list-json", "", acceptJSON, false, 5},
		{"list-gzip", "", acceptJSON, true, 5},
		{"list-protobuf", "", acceptProtobuf, false, 5},
		{"list-table", "", acceptTable, false, 5},
		{"list-selector", "?labelSelector=group%3D" + selected(7), acceptJSON, false, 50},
	}
}

// list measures lists of all pods, one at a time.
func list(ctx context.Context, b *bench) error {
	for _, form := range listForms() {
		one := func(ctx context.Context, _ int) (int64, error) {
			return b.client.do(ctx, request{path: "/api/v1/pods" + form.query, accept: form.accept, gzip: form.gzip})
		}
		if err := b.measure(ctx, form.id+"-first", work{ops: 1, op: one}); err != nil {
			return err
		}
		if err := b.measure(ctx, form.id, work{ops: form.times, op: one}); err != nil {
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
			path: "/api/v1/pods?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", accept: acceptJSON,
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
	return b.measure(ctx, "watch-list", work{ops: 5, op: one})
}

const (
	writesPerSecond = 50
	quietLists      = 300
)

// quietList measures lists of a kind that nobody writes, while another kind is written.
func quietList(ctx context.Context, b *bench) error {
	writing, stop := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() { failed <- b.writeConfigMaps(writing) }()
	err := b.measure(ctx, "list-quiet", work{ops: quietLists, pause: 5 * time.Millisecond, op: func(ctx context.Context, _ int) (int64, error) {
		return b.client.do(ctx, request{path: "/api/v1/services", accept: acceptJSON})
	}})
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
