package informers

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	api "k8s.io/kubernetes/pkg/apis/core"
)

func namesOf(objs []any) []string {
	var names []string
	for _, obj := range objs {
		key, _ := cache.MetaNamespaceKeyFunc(obj)
		names = append(names, key)
	}
	slices.Sort(names)
	return names
}

// A lister has what the state has, from the moment that the state has it, in the version that is asked for.
func TestListerReadsTheState(t *testing.T) {
	t.Parallel()
	f := running(t)
	lister := f.factory.Core().V1().ConfigMaps().Lister()
	if _, err := lister.ConfigMaps("a").Get("m"); !apierrors.IsNotFound(err) || err.Error() != `configmap "m" not found` {
		t.Errorf("before there is one: %v", err)
	}
	for i := range 5 {
		f.put(t, "a", "m", fmt.Sprint(i))
		if m, err := lister.ConfigMaps("a").Get("m"); err != nil || m.Data["key"] != fmt.Sprint(i) || m.ResourceVersion == "" {
			t.Fatalf("change %d: %v, %v", i, m, err)
		}
	}
	f.put(t, "a", "n", "", "labelled")
	f.put(t, "ab", "m", "")
	f.put(t, "b", "m", "", "labelled")
	for namespace, want := range map[string]int{"a": 2, "ab": 1, "b": 1, "": 4, "nope": 0} {
		if list, err := lister.ConfigMaps(namespace).List(labels.Everything()); err != nil || len(list) != want {
			t.Errorf("namespace %q: %d, %v", namespace, len(list), err)
		}
	}
	if list, err := lister.List(labels.SelectorFromSet(labels.Set{"labelled": "yes"})); err != nil || len(list) != 2 {
		t.Errorf("by label: %d, %v", len(list), err)
	}
	informer := f.factory.Of(configMaps)
	for namespace, empty := range map[string]bool{"a": false, "": false, "nope": true} {
		if informer.Empty(namespace) != empty {
			t.Errorf("namespace %q is empty: %v", namespace, !empty)
		}
	}
	if diff := cmp.Diff([]string{"a/m", "a/n", "ab/m", "b/m"}, informer.ListKeys()); diff != "" {
		t.Error(diff)
	}
	f.remove(t, "a", "m")
	if _, err := lister.ConfigMaps("a").Get("m"); !apierrors.IsNotFound(err) {
		t.Errorf("after the deletion: %v", err)
	}
}

// What a key names is found, and what is no key of the kind names nothing.
func TestKeys(t *testing.T) {
	t.Parallel()
	f := running(t)
	f.put(t, "a", "m", "")
	f.await(t, f.write(t, "namespaces", &api.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}}))
	for _, test := range []struct {
		resource, key string
		there         bool
	}{
		{"configmaps", "a/m", true}, {"configmaps", "m", false}, {"configmaps", "a/", false}, {"configmaps", "a/m/x", false},
		{"namespaces", "a", true}, {"namespaces", "a/m", false}, {"namespaces", "", false}, {"nonsense", "a/m", false},
	} {
		informer := f.factory.Of(schema.GroupVersionResource{Version: "v1", Resource: test.resource})
		if obj, there, err := informer.GetByKey(test.key); there != test.there || err != nil {
			t.Errorf("%s %q: %v, %v, %v", test.resource, test.key, obj, there, err)
		}
	}
	if _, err := f.factory.Core().V1().Namespaces().Lister().Get("a"); err != nil {
		t.Error(err)
	}
}

// An informer of what there is not has nothing, and may come to have something.
func TestUnknownResources(t *testing.T) {
	t.Parallel()
	f := running(t)
	generic, err := f.factory.ForResource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"})
	if err != nil {
		t.Fatal(err)
	}
	informer := generic.Informer().(*Informer)
	if list, err := generic.Lister().List(labels.Everything()); err != nil || len(list) != 0 || !informer.Empty("") || informer.ListKeys() != nil {
		t.Errorf("it has %v, %v", list, err)
	}
	informer.Refresh()
	// Reviews are not stored: nothing is in them either.
	reviews := f.factory.Of(schema.GroupVersionResource{Group: "authentication.k8s.io", Version: "v1", Resource: "tokenreviews"})
	if len(reviews.List()) != 0 || !reviews.Empty("") {
		t.Error("there are reviews")
	}
}

// heard is a handler that keeps what it was told, as an informer's store would.
type heard struct {
	mu    sync.Mutex
	have  map[string]string
	calls []string
	errs  []error
}

func (h *heard) handler() cache.ResourceEventHandler {
	note := func(obj any, what string, was bool, now *string) {
		m := obj.(*corev1.ConfigMap)
		h.mu.Lock()
		defer h.mu.Unlock()
		if _, ok := h.have[m.Name]; ok != was {
			h.errs = append(h.errs, fmt.Errorf("%s of %s, which it knew: %v", what, m.Name, ok))
		}
		h.calls = append(h.calls, what+" "+m.Name+" "+m.Data["key"])
		if now == nil {
			delete(h.have, m.Name)
		} else {
			h.have[m.Name] = *now
		}
	}
	return cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(obj any, initial bool) {
			value := obj.(*corev1.ConfigMap).Data["key"]
			note(obj, map[bool]string{true: "initial", false: "add"}[initial], false, &value)
		},
		UpdateFunc: func(old, obj any) {
			value := obj.(*corev1.ConfigMap).Data["key"]
			if h.have[obj.(*corev1.ConfigMap).Name] != old.(*corev1.ConfigMap).Data["key"] {
				h.errs = append(h.errs, errors.New("the old object is not what it was told of"))
			}
			note(obj, "update", true, &value)
		},
		DeleteFunc: func(obj any) { note(obj, "delete", true, nil) },
	}
}

// Handlers are told of differences when somebody asks for it, each once.
func TestRefresh(t *testing.T) {
	t.Parallel()
	f := running(t)
	informer := f.factory.Of(configMaps)
	f.put(t, "a", "before", "1")
	first := &heard{have: map[string]string{}}
	if _, err := informer.AddEventHandler(first.handler()); err != nil {
		t.Fatal(err)
	}
	if len(first.calls) != 0 {
		t.Errorf("told before somebody asked: %q", first.calls)
	}
	informer.Refresh()
	informer.Refresh()
	f.put(t, "a", "new", "1")
	f.put(t, "a", "passing", "1")
	f.put(t, "a", "before", "2")
	f.put(t, "a", "before", "3")
	f.remove(t, "a", "passing")
	f.factory.Refresh()
	second := &heard{have: map[string]string{}}
	if _, err := informer.AddEventHandler(second.handler()); err != nil {
		t.Fatal(err)
	}
	f.remove(t, "a", "before")
	f.await(t, f.write(t, "namespaces", &api.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}})) // not its kind
	informer.Refresh()
	if diff := cmp.Diff([]string{"add before 1", "update before 3", "add new 1", "delete before 3"}, first.calls); diff != "" {
		t.Errorf("the first handler (- wanted, + told)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"initial before 3", "initial new 1", "delete before 3"}, second.calls); diff != "" {
		t.Errorf("the second handler (- wanted, + told)\n%s", diff)
	}
	if errs := append(first.errs, second.errs...); errs != nil {
		t.Error(errs)
	}
}

// However many ask and write at a time, a handler hears of what leads from one state to the next, and has the last one after Refresh.
func TestRefreshUnderContention(t *testing.T) {
	t.Parallel()
	f := running(t)
	informer := f.factory.Of(configMaps)
	h := &heard{have: map[string]string{}}
	if _, err := informer.AddEventHandler(h.handler()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 50 {
				name := fmt.Sprintf("m%d-%d", i, j%5)
				f.put(t, "a", name, fmt.Sprint(j))
				informer.Refresh()
				h.mu.Lock()
				if h.have[name] != fmt.Sprint(j) {
					t.Errorf("%s is %q and not %d", name, h.have[name], j)
				}
				h.mu.Unlock()
				if j%3 == 0 {
					f.remove(t, "a", name)
				}
			}
		})
	}
	wg.Wait()
	informer.Refresh()
	want := map[string]string{}
	for _, obj := range informer.List() {
		m := obj.(*corev1.ConfigMap)
		want[m.Name] = m.Data["key"]
	}
	if !maps.Equal(want, h.have) || h.errs != nil {
		t.Errorf("there is %v, heard of was %v; %v", want, h.have, h.errs)
	}
}

// Indexes are worked out when they are asked for.
func TestIndexes(t *testing.T) {
	t.Parallel()
	f := running(t)
	informer := f.factory.Of(configMaps)
	for i := range 6 {
		f.put(t, string(rune('a'+i%2)), fmt.Sprint("m", i), fmt.Sprint(i%3))
	}
	if _, err := informer.ByIndex("value", "1"); err == nil || err.Error() != "Index with name value does not exist" {
		t.Errorf("no index: %v", err)
	}
	if err := informer.AddIndexers(cache.Indexers{"value": func(obj any) ([]string, error) {
		return []string{obj.(*corev1.ConfigMap).Data["key"], "all"}, nil
	}}); err != nil {
		t.Fatal(err)
	}
	found, err := informer.ByIndex("value", "1")
	if diff := cmp.Diff([]string{"a/m4", "b/m1"}, namesOf(found)); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	keys, err := informer.IndexKeys("value", "1")
	slices.Sort(keys)
	if diff := cmp.Diff([]string{"a/m4", "b/m1"}, keys); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	same, err := informer.Index("value", &corev1.ConfigMap{Data: map[string]string{"key": "2"}})
	if err != nil || len(same) != 6 { // all have "all"
		t.Errorf("%v, %v", namesOf(same), err)
	}
	if diff := cmp.Diff([]string{"0", "1", "2", "all"}, informer.ListIndexFuncValues("value")); diff != "" {
		t.Error(diff)
	}
	found, err = informer.ByIndex(cache.NamespaceIndex, "b")
	if diff := cmp.Diff([]string{"b/m1", "b/m3", "b/m5"}, namesOf(found)); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	found, err = informer.Index(cache.NamespaceIndex, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "b"}})
	if err != nil || len(found) != 3 {
		t.Errorf("%v, %v", namesOf(found), err)
	}
	if len(informer.GetIndexers()) != 1 {
		t.Errorf("the indexers are %v", informer.GetIndexers())
	}
}

// What is asked for often is decoded once per change, and what is kept is bounded.
func TestDecodedIsKeptAndBounded(t *testing.T) {
	t.Parallel()
	f := running(t)
	informer := f.factory.Of(configMaps)
	get := func(key string) any {
		t.Helper()
		obj, ok, err := informer.GetByKey(key)
		if !ok || err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		return obj
	}
	f.put(t, "a", "m", "1")
	once := get("a/m")
	if get("a/m") != once {
		t.Error("it is decoded each time")
	}
	f.put(t, "a", "m", "2")
	if get("a/m") == once {
		t.Error("a change is not seen")
	}
	for i := range 2 * keep {
		f.put(t, "a", fmt.Sprint("m", i), "")
		get(fmt.Sprint("a/m", i))
	}
	if n := len(informer.decoded); n > keep {
		t.Errorf("%d objects are kept", n)
	}
}

// A lister that is to be fresh has what the store has, when there was anything before.
func TestFresh(t *testing.T) {
	t.Parallel()
	f := running(t)
	f.put(t, "a", "first", "")
	for i := range 100 {
		f.write(t, "configmaps", newConfigMap("a", fmt.Sprint("m", i), "")) // the state may not have it yet
		if list := f.fresh.Of(configMaps).List(); len(list) != i+2 {
			t.Fatalf("%d objects, not %d", len(list), i+2)
		}
	}
}

// Informers have synced when the state has been loaded, not before.
func TestHasSynced(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	informer := f.factory.Core().V1().Pods().Informer()
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{})
	if err != nil {
		t.Fatal(err)
	}
	if informer.HasSynced() || registration.HasSynced() || cache.IsDone(informer.HasSyncedChecker()) {
		t.Error("synced before the state is loaded")
	}
	done := informer.HasSyncedChecker().Done()
	f.run()
	<-done
	if !informer.HasSynced() || !registration.HasSynced() {
		t.Error("not synced")
	}
}

// Informers change nothing.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	informer := running(t).factory.Of(configMaps)
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "m"}}
	for _, err := range []error{informer.Add(m), informer.Update(m), informer.Delete(m), informer.Replace([]any{m}, "")} {
		if err == nil || !strings.Contains(err.Error(), "do not change it") {
			t.Error(err)
		}
	}
	if len(informer.List()) != 0 {
		t.Error("there is something")
	}
}

// All ways to an informer lead to the same one.
func TestFactoryHasOneInformerOfEach(t *testing.T) {
	t.Parallel()
	f := running(t)
	generic, err := f.factory.ForResource(configMaps)
	if err != nil {
		t.Fatal(err)
	}
	want := f.factory.Of(configMaps)
	for _, informer := range []cache.SharedIndexInformer{generic.Informer(), f.factory.InformerFor(&corev1.ConfigMap{}, nil)} {
		if informer != want {
			t.Errorf("%v is another one", informer)
		}
	}
	if f.factory.Apps().V1().Deployments().Informer() == f.factory.Apps().V1().ReplicaSets().Informer() {
		t.Error("two kinds share one")
	}
}
