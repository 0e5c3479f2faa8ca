package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	apitesting "k8s.io/kubernetes/pkg/api/testing"

	"github.com/kayak-k8s/kayak/internal/managedfields/typeschema"
)

func TestFileIsWhatIsGenerated(t *testing.T) {
	t.Parallel()
	want, err := types()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile("../types.txt.gz")
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Fatal("types.txt.gz is not what the generator writes: run go generate ./internal/managedfields")
	}
}

// What comes out of the file must lead to the same fields as what upstream makes at its start.
func TestTypesAsUpstream(t *testing.T) {
	t.Parallel()
	definitions, kinds, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	oracle, err := managedfields.NewTypeConverter(definitions, false)
	if err != nil {
		t.Fatal(err)
	}
	text, err := types()
	if err != nil {
		t.Fatal(err)
	}
	read, err := typeschema.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	fill := fuzzer.FuzzerFor(apitesting.FuzzerFuncs, rand.NewSource(1), legacyscheme.Codecs)
	compared := 0
	for gvk := range kinds {
		hub := schema.GroupVersionKind{Group: gvk.Group, Version: runtime.APIVersionInternal, Kind: gvk.Kind}
		obj, err := legacyscheme.Scheme.New(hub)
		if err != nil {
			continue
		}
		for range 5 {
			fill.Fill(obj)
			versioned, err := legacyscheme.Scheme.ConvertToVersion(obj, gvk.GroupVersion())
			if err != nil {
				break
			}
			if compare(t, gvk, versioned, oracle, read) {
				compared++
			}
		}
	}
	if compared < 1000 {
		t.Errorf("only %d objects were compared", compared)
	}
}

func compare(t *testing.T, gvk schema.GroupVersionKind, obj runtime.Object, oracle managedfields.TypeConverter, read *typeschema.Types) bool {
	defer func() { _ = recover() }() // upstream, for what cannot be written as JSON
	want, err := oracle.ObjectToTyped(obj)
	if err != nil {
		return false
	}
	wantSet, err := want.ToFieldSet()
	if err != nil {
		return false
	}
	of, err := read.Type(gvk)
	if err != nil || of == nil {
		t.Errorf("%v: no type, %v", gvk, err)
		return false
	}
	got, err := of.FromStructured(obj)
	if err != nil {
		t.Errorf("%v: %v", gvk, err)
		return false
	}
	gotSet, err := got.ToFieldSet()
	if err != nil || !gotSet.Equals(wantSet) {
		t.Errorf("%v: %v\n%v\n\n%v", gvk, err, gotSet, wantSet)
	}
	return true
}
