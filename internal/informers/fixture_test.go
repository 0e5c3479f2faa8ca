package informers

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	api "k8s.io/kubernetes/pkg/apis/core"

	"github.com/kayak-k8s/kayak/internal/authz"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/memory"
)

const root = "/registry/"

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// fixture is a state over a store in memory, and factories over it.
type fixture struct {
	store   *memory.Store
	state   *state.State
	table   *kind.Table
	factory *Factory
	fresh   *Factory
	run     func()
}

// newFixture makes a state that does not run before run is called.
func newFixture(t testing.TB) *fixture {
	t.Helper()
	kinds, err := builtin.Kinds(builtin.Options{Authorizer: authz.New()})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{store: memory.New(), table: kind.NewTable(kinds...)}
	var families []state.Family
	seen := map[string]bool{}
	for _, k := range f.table.Kinds() {
		if k.Stored() && !seen[k.Prefix] {
			seen[k.Prefix] = true
			families = append(families, state.Family{Prefix: k.KeyPrefix(root, ""), Header: k.Header, Index: k.Index})
		}
	}
	f.state = state.New(state.Options{Store: f.store, Prefix: root, Families: families})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	f.run = func() {
		go func() {
			_ = f.state.Run(ctx)
			close(done)
		}()
		if err := f.state.WaitSynced(ctx); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cancel()
			<-done
			_ = f.store.Close()
		})
	}
	options := Options{State: f.state, Root: root, Life: ctx, Table: func() *kind.Table { return f.table }}
	f.factory = New(options)
	options.Fresh = true
	f.fresh = New(options)
	return f
}

func running(t testing.TB) *fixture {
	t.Helper()
	f := newFixture(t)
	f.run()
	return f
}

// store writes an object of the hub version, and returns the revision.
func (f *fixture) write(t testing.TB, resource string, obj runtime.Object) int64 {
	t.Helper()
	r := f.table.Resource("", "v1", resource)
	value, err := r.Encode(obj)
	if err != nil {
		t.Fatal(err)
	}
	m := obj.(metav1.Object)
	key := r.Key(root, m.GetNamespace(), m.GetName())
	expect := int64(0)
	if record := f.state.Snapshot().Get(key); record != nil {
		expect = record.Revision
	}
	revision, err := f.store.Put(t.Context(), key, value, expect, store.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// put writes a ConfigMap and waits until the state has it.
func (f *fixture) put(t testing.TB, namespace, name, value string, labels ...string) {
	t.Helper()
	f.await(t, f.write(t, "configmaps", newConfigMap(namespace, name, value, labels...)))
}

func newConfigMap(namespace, name, value string, labels ...string) *api.ConfigMap {
	m := &api.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{}}, Data: map[string]string{"key": value}}
	for _, label := range labels {
		m.Labels[label] = "yes"
	}
	return m
}

func (f *fixture) await(t testing.TB, revision int64) {
	t.Helper()
	if _, err := f.state.AtLeast(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) remove(t testing.TB, namespace, name string) {
	t.Helper()
	key := f.table.Resource("", "v1", "configmaps").Key(root, namespace, name)
	revision, err := f.store.Delete(t.Context(), key, f.state.Snapshot().Get(key).Revision)
	if err != nil {
		t.Fatal(err)
	}
	f.await(t, revision)
}
