package builtin

import (
	"bytes"
	"math/rand"
	"testing"

	"github.com/google/go-cmp/cmp"
	crdfuzzer "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/fuzzer"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
	kubetesting "k8s.io/kubernetes/pkg/api/testing"
	api "k8s.io/kubernetes/pkg/apis/core"
	"sigs.k8s.io/randfill"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
)

// table returns all kinds there are. It switches feature gates, which are the process's, on and off again, so it must be called
// before t.Parallel.
func table(t *testing.T) *kind.Table {
	t.Helper()
	var kinds []*kind.Kind
	t.Run("all gates", func(t *testing.T) {
		featuregatetesting.SetFeatureGatesDuringTest(t, utilfeature.DefaultFeatureGate,
			featuregatetesting.FeatureOverrides{"AllAlpha": true, "AllBeta": true})
		var err error
		if kinds, err = Kinds(Options{}); err != nil {
			t.Fatal(err)
		}
	})
	return kind.NewTable(kinds...)
}

func filler(k *kind.Kind, seed int64) *randfill.Filler {
	funcs := fuzzer.MergeFuzzerFuncs(kubetesting.FuzzerFuncs, crdfuzzer.Funcs)
	return fuzzer.FuzzerFor(funcs, rand.NewSource(seed), k.Codec.Serializer.(serializer.CodecFactory))
}

// eachRandomObject calls fn with random objects of every stored kind, of the hub version, as they look once they are stored.
func eachRandomObject(t *testing.T, table *kind.Table, fn func(t *testing.T, k *kind.Kind, obj runtime.Object)) {
	for _, k := range table.Kinds() {
		if !k.Stored() {
			continue
		}
		t.Run(k.GroupResource().String(), func(t *testing.T) {
			t.Parallel()
			fill := filler(k, 1)
			for range 100 {
				obj := k.New()
				fill.Fill(obj)
				accessor, err := meta.Accessor(obj)
				if err != nil {
					t.Fatal(err)
				}
				accessor.SetName("name")
				accessor.SetNamespace("")
				if k.Namespaced {
					accessor.SetNamespace("namespace")
				}
				accessor.SetResourceVersion("")
				accessor.SetSelfLink("")
				fn(t, k, obj)
			}
		})
	}
}

// What is read out of the stored bytes must be what upstream's functions say of the decoded object.
func TestHeaderAsDecoded(t *testing.T) {
	table := table(t)
	t.Parallel()
	eachRandomObject(t, table, func(t *testing.T, k *kind.Kind, obj runtime.Object) {
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
	table := table(t)
	t.Parallel()
	upstream := newUpstreamStorage(t, table)
	eachRandomObject(t, table, func(t *testing.T, k *kind.Kind, obj runtime.Object) {
		want, err := runtime.Encode(upstream.codec(t, k), obj.DeepCopyObject())
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Encode(obj)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("stored form differs from upstream's:\n%q\n%q", got, want)
		}
	})
}

// An object must come back as it was from every version and media type that clients speak.
func TestRoundTrip(t *testing.T) {
	table := table(t)
	t.Parallel()
	eachRandomObject(t, table, func(t *testing.T, k *kind.Kind, obj runtime.Object) {
		if namespace, ok := obj.(*api.Namespace); ok { // its defaults have a label
			namespace.Labels = map[string]string{k.NameLabel: "name"}
		}
		for _, version := range k.Versions {
			r := table.Resource(k.Group, version, k.Resource)
			for _, info := range k.Codec.Serializer.SupportedMediaTypes() {
				encoder := k.Codec.Serializer.EncoderForVersion(info.Serializer, r.Version)
				data, err := runtime.Encode(encoder, obj.DeepCopyObject())
				if err != nil {
					t.Fatalf("%s, %s: %v", version, info.MediaType, err)
				}
				decoder := k.Codec.Serializer.DecoderToVersion(info.Serializer, k.Codec.Hub)
				got, gvk, err := decoder.Decode(data, nil, nil)
				if err != nil {
					t.Fatalf("%s, %s: %v", version, info.MediaType, err)
				}
				if *gvk != r.GVK() {
					t.Fatalf("%s, %s: encoded as %v", version, info.MediaType, gvk)
				}
				if !apiequality.Semantic.DeepEqual(obj, got) {
					t.Fatalf("%s, %s (-before +after):\n%s", version, info.MediaType, cmp.Diff(obj, got))
				}
			}
		}
	})
}

func FuzzHeader(f *testing.F) {
	kinds, err := Kinds(Options{})
	if err != nil {
		f.Fatal(err)
	}
	pods := kind.NewTable(kinds...).Resource("", "v1", "pods").Kind
	obj := pods.New()
	filler(pods, 2).Fill(obj)
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

func BenchmarkKinds(b *testing.B) {
	for b.Loop() {
		if _, err := Kinds(Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
