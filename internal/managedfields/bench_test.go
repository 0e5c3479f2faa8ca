package managedfields

import (
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
)

// benchmarkPod is a pod of 3 KB, as a Deployment makes it.
func benchmarkPod(b *testing.B) (*Manager, *kind.Resource, runtime.Object) {
	b.Helper()
	kinds, err := builtin.Kinds(builtin.Options{})
	if err != nil {
		b.Fatal(err)
	}
	pods := kind.NewTable(kinds...).Resource("", "v1", "pods")
	m, err := New().Manager(pods, nil)
	if err != nil {
		b.Fatal(err)
	}
	text, err := os.ReadFile("testdata/pod.json")
	if err != nil {
		b.Fatal(err)
	}
	obj, err := runtime.Decode(legacyscheme.Codecs.UniversalDecoder(), text)
	if err != nil {
		b.Fatal(err)
	}
	hub, err := legacyscheme.Scheme.ConvertToVersion(obj, pods.Codec.Hub)
	if err != nil {
		b.Fatal(err)
	}
	return m, pods, hub
}

func BenchmarkCreatePod(b *testing.B) {
	m, pods, pod := benchmarkPod(b)
	run := func(update func(live, obj runtime.Object)) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				live, err := Empty(pods)
				if err != nil {
					b.Fatal(err)
				}
				accessor, _ := meta.Accessor(pod)
				accessor.SetManagedFields(nil)
				update(live, pod)
			}
		}
	}
	b.Run("upstream", run(func(live, obj runtime.Object) { m.fields.UpdateNoErrors(live, obj, "bench") }))
	b.Run("compiled", run(func(live, obj runtime.Object) {
		if !m.updater.update(live, obj, "bench") {
			b.Fatal("upstream is needed")
		}
	}))
}

func BenchmarkUpdatePod(b *testing.B) {
	m, pods, pod := benchmarkPod(b)
	empty, err := Empty(pods)
	if err != nil {
		b.Fatal(err)
	}
	live := m.Update(empty, pod, "creator")
	accessor, _ := meta.Accessor(live)
	accessor.SetUID("00000000-1111-2222-3333-444444444444")
	changed := live.DeepCopyObject()
	is, _ := meta.Accessor(changed)
	is.SetLabels(map[string]string{"changed": "yes"})
	entries := is.GetManagedFields()
	run := func(update func(live, obj runtime.Object)) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				is.SetManagedFields(entries)
				update(live, changed)
			}
		}
	}
	b.Run("upstream", run(func(live, obj runtime.Object) { m.fields.UpdateNoErrors(live, obj, "bench") }))
	b.Run("compiled", run(func(live, obj runtime.Object) {
		if !m.updater.update(live, obj, "bench") {
			b.Fatal("upstream is needed")
		}
	}))
}
