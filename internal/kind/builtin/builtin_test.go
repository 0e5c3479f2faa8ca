package builtin

import (
	"bytes"
	"math/rand"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/meta"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	appsfuzzer "k8s.io/kubernetes/pkg/apis/apps/fuzzer"
	corefuzzer "k8s.io/kubernetes/pkg/apis/core/fuzzer"
	"sigs.k8s.io/randfill"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
)

func table(t *testing.T) *kind.Table {
	t.Helper()
	kinds, err := Kinds()
	if err != nil {
		t.Fatal(err)
	}
	return kind.NewTable(kinds...)
}

func filler(seed int64) *randfill.Filler {
	funcs := fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, corefuzzer.Funcs, appsfuzzer.Funcs)
	return fuzzer.FuzzerFor(funcs, rand.NewSource(seed), legacyscheme.Codecs)
}

// eachRandomObject calls fn with random objects of every kind, of the hub version, as they look once they are stored.
func eachRandomObject(t *testing.T, fn func(t *testing.T, k *kind.Kind, obj runtime.Object)) {
	for _, k := range table(t).Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			fill := filler(1)
			for range 200 {
				obj := k.New()
				fill.Fill(obj)
				accessor, err := meta.Accessor(obj)
				if err != nil {
					t.Fatal(err)
				}
				accessor.SetName("name")
				if k.Namespaced {
					accessor.SetNamespace("namespace")
				} else {
					accessor.SetNamespace("")
				}
				fn(t, k, obj)
			}
		})
	}
}

// What is read out of the stored bytes must be what upstream's functions say of the decoded object.
func TestHeaderAsDecoded(t *testing.T) {
	t.Parallel()
	eachRandomObject(t, func(t *testing.T, k *kind.Kind, obj runtime.Object) {
		value, err := k.Encode(obj)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Header("/registry/"+k.Prefix+"/namespace/name", value)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := k.Decode(value, 7)
		if err != nil {
			t.Fatal(err)
		}
		labels, fields, err := k.Attributes(decoded)
		if err != nil {
			t.Fatal(err)
		}
		delete(fields, "metadata.name")
		delete(fields, "metadata.namespace")
		if diff := cmp.Diff(map[string]string(labels), asMap(got.Labels)); diff != "" && len(labels)+len(got.Labels) > 0 {
			t.Fatalf("labels (-decoded +read):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]string(fields), asMap(got.Fields)); diff != "" && len(fields)+len(got.Fields) > 0 {
			t.Fatalf("fields (-decoded +read):\n%s", diff)
		}
		accessor, err := meta.Accessor(decoded)
		if err != nil {
			t.Fatal(err)
		}
		if got.UID != string(accessor.GetUID()) {
			t.Fatalf("uid %q, decoded %q", got.UID, accessor.GetUID())
		}
	})
}

func asMap(set state.Set) map[string]string {
	m := map[string]string{}
	for _, pair := range set {
		m[pair.Key] = pair.Value
	}
	return m
}

// The stored bytes must be those that kube-apiserver stores: its codec is the oracle.
func TestStoredFormAsUpstream(t *testing.T) {
	t.Parallel()
	eachRandomObject(t, func(t *testing.T, k *kind.Kind, obj runtime.Object) {
		got, err := k.Encode(obj.DeepCopyObject())
		if err != nil {
			t.Fatal(err)
		}
		info, _ := runtime.SerializerInfoForMediaType(legacyscheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
		codec := legacyscheme.Codecs.CodecForVersions(info.Serializer, legacyscheme.Codecs.UniversalDeserializer(), k.Storage, nil)
		want, err := runtime.Encode(codec, obj)
		if err != nil {
			t.Fatal(err)
		}
		accessor, _ := meta.Accessor(obj)
		if accessor.GetResourceVersion() == "" && !bytes.Equal(got, want) {
			t.Fatalf("stored form differs from upstream's:\n%x\n%x", got, want)
		}
	})
}

func FuzzHeader(f *testing.F) {
	kinds, err := Kinds()
	if err != nil {
		f.Fatal(err)
	}
	pods := kind.NewTable(kinds...).Resource("", "v1", "pods").Kind
	obj := pods.New()
	filler(2).Fill(obj)
	value, err := pods.Encode(obj)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Add([]byte("k8s\x00"))
	f.Add([]byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"}}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		_, _ = pods.Header("key", value) // must not panic, whatever somebody has put into the store
	})
}
