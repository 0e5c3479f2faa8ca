package main

import (
	"context"
	"os"
	"testing"

	"github.com/kayak-k8s/kayak"
)

func BenchmarkWrites(bb *testing.B) {
	k, err := kayak.New(kayak.Config{DataDir: bb.TempDir()})
	if err != nil {
		bb.Fatal(err)
	}
	if err := k.Start(bb.Context()); err != nil {
		bb.Fatal(err)
	}
	defer k.Stop(context.Background())
	c := config{objects: 2000, watchers: 1000, rounds: 1, quick: true}
	b, err := newBench(c, &server{config: k.RESTConfig(), processes: processes{os.Getpid()}})
	if err != nil {
		bb.Fatal(err)
	}
	b.done = func(id string, s sample) { bb.Log(id, s) }
	if err := b.makeNamespace(bb.Context(), writeNamespace); err != nil {
		bb.Fatal(err)
	}
	for _, form := range writeForms() {
		if f := os.Getenv("FORM"); f != "" && f != form.id {
			continue
		}
		for range 10 {
			if err := b.measureWrite(bb.Context(), form, 16); err != nil {
				bb.Fatal(err)
			}
		}
	}
}
