package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	customGroup     = "bench.example.com"
	definitionsPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	// definitionFields is how many described fields a definition has besides, so that it is of a realistic size: 20 KB.
	definitionFields = 150
)

// definition is a CustomResourceDefinition with two CEL rules.
func definition(plural string, fields int) []byte {
	more := object{}
	for i := range fields {
		more[fmt.Sprintf("setting%03d", i)] = object{
			"type": []string{"string", "integer", "boolean"}[i%3], "description": fmt.Sprintf("Setting number %d of those that this kind has, with a text that says so.", i),
		}
	}
	spec := object{
		"type": "object", "required": []string{"replicas", "image"},
		"properties": object{
			"replicas": object{"type": "integer", "minimum": 0}, "least": object{"type": "integer", "default": 0},
			"image": object{"type": "string", "maxLength": 200}, "more": object{"type": "object", "properties": more},
		},
		"x-kubernetes-validations": []object{
			{"rule": "self.replicas <= 100", "message": "too many replicas"}, {"rule": "self.least <= self.replicas", "message": "too few replicas"},
		},
	}
	kind := strings.ToUpper(plural[:1]) + plural[1:]
	return mustEncode(object{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": object{"name": plural + "." + customGroup},
		"spec": object{
			"group": customGroup, "scope": "Namespaced", "names": object{"plural": plural, "singular": strings.ToLower(kind), "kind": kind, "listKind": kind + "List"},
			"versions": []object{{
				"name": "v1", "served": true, "storage": true, "subresources": object{"status": object{}},
				"schema": object{"openAPIV3Schema": object{"type": "object", "properties": object{"spec": spec, "status": object{
					"type": "object", "x-kubernetes-preserve-unknown-fields": true,
				}}}},
			}},
		},
	})
}

// define makes the kind that the writes of custom resources are of, and waits until it is served.
func (b *bench) define(ctx context.Context) error {
	_, err := b.post(ctx, definitionsPath, definition("widgets", 0))
	if answer := (*refused)(nil); errors.As(err, &answer) && answer.code == http.StatusConflict {
		return nil
	}
	for deadline := time.Now().Add(time.Minute); err == nil && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		_, missing := b.client.do(ctx, request{path: inNamespace(customGroup+"/v1", "widgets", ""), accept: acceptJSON})
		if missing == nil {
			// kube-apiserver serves a new kind a while before it takes objects of it, to the same client.
			time.Sleep(5 * time.Second)
			return nil
		}
		if time.Now().After(deadline) {
			err = missing
		}
	}
	return errors.Join(err, ctx.Err())
}

func createWidget(b *bench, ctx context.Context, i int) (int64, error) {
	return b.send(ctx, "POST", inNamespace(customGroup+"/v1", "widgets", ""), acceptJSON, widget(i, 3))
}

func patchWidget(b *bench, ctx context.Context, i int) (int64, error) {
	return b.send(ctx, "PATCH", inNamespace(customGroup+"/v1", "widgets", widgetName(i)), mergePatch, []byte(`{"spec":{"replicas":4}}`))
}

func widgetName(i int) string { return fmt.Sprintf("widget-%06d", i) }

func widget(i, replicas int) []byte {
	return mustEncode(object{
		"apiVersion": customGroup + "/v1", "kind": "Widgets", "metadata": object{"name": widgetName(i), "labels": object{"app": "bench"}},
		"spec": object{"replicas": replicas, "image": "registry.example.com/team/widget:v1.2.3"},
	})
}

// definitions measures many definitions at once, until the last is established, and what memory each takes. It comes after everything
// else: what it makes would be in the way.
func definitions(ctx context.Context, b *bench) error {
	if !b.first {
		return nil
	}
	n := 500
	if b.config.quick {
		n = 20
	}
	before, err := b.settled(ctx)
	if err != nil {
		return err
	}
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("thing%03d", i)
	}
	established, stop, err := b.established(ctx, names)
	if err != nil {
		return err
	}
	defer stop()
	began := time.Now()
	s, err := b.cost(ctx, "definitions", work{ops: 1, op: func(ctx context.Context, _ int) (int64, error) {
		create := work{ops: n, parallel: createsTogether, op: func(ctx context.Context, i int) (int64, error) {
			return b.post(ctx, definitionsPath, definition(names[i], definitionFields))
		}}
		if _, _, err := create.do(ctx); err != nil {
			return 0, err
		}
		select {
		case err := <-established:
			return 0, err
		case <-time.After(10 * time.Minute):
			return 0, errors.New("not all are established within ten minutes")
		}
	}})
	if err != nil {
		return err
	}
	took := micros(time.Since(began))
	s.Ops, s.ServerCPU, s.ClientCPU, s.PerSecond, s.P50, s.P99 = n, s.ServerCPU/float64(n), s.ClientCPU/float64(n), float64(n)*1e6/took, took, took
	b.done("definitions", s)
	after, err := b.settled(ctx)
	if err != nil {
		return err
	}
	b.done("memory-per-definition", sample{Memory: float64(after-before) / float64(n)})
	return nil
}

// established watches definitions, and says when all that are named are established. A watch that the server ends is begun anew:
// it begins with what is there.
func (b *bench) established(ctx context.Context, names []string) (done <-chan error, stop func(), err error) {
	missing := map[string]bool{}
	for _, name := range names {
		missing[name+"."+customGroup] = true
	}
	ctx, cancel := context.WithCancel(ctx)
	open := func() (*http.Response, error) {
		// From no revision on: a server that has just started may not know the one that others see as the newest.
		return b.client.open(ctx, request{path: definitionsPath + "?watch=1", accept: acceptJSON})
	}
	answer, err := open()
	if err != nil {
		cancel()
		return nil, nil, err
	}
	result := make(chan error, 1)
	go func() {
		for err == nil {
			noteEstablished(answer.Body, missing)
			answer.Body.Close()
			if len(missing) == 0 {
				break
			}
			answer, err = open()
		}
		result <- err
	}()
	return result, cancel, nil
}

// noteEstablished takes those out of missing that a watch shows as established, until none is missing or the watch ends.
func noteEstablished(events io.Reader, missing map[string]bool) {
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 4<<20)
	for len(missing) > 0 && lines.Scan() {
		if name, ok := establishedIn(lines.Bytes()); ok {
			delete(missing, name)
		}
	}
}

// establishedIn reads an event.
func establishedIn(line []byte) (name string, ok bool) {
	type condition struct{ Type, Status string }
	var event struct {
		Object struct {
			Metadata struct{ Name string }
			Status   struct{ Conditions []condition }
		}
	}
	if json.Unmarshal(line, &event) != nil {
		return "", false
	}
	return event.Object.Metadata.Name, slices.Contains(event.Object.Status.Conditions, condition{"Established", "True"})
}
