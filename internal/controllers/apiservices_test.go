package controllers_test

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration"

	"github.com/kayak-k8s/kayak/internal/controllers"
	"github.com/kayak-k8s/kayak/internal/controllers/premade"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/verb"
)

var apiServices = resource{"apiregistration.k8s.io", "apiservices"}

func (c *cluster) apiServices(a *verb.API, set *premade.Set) *controllers.APIServices {
	return &controllers.APIServices{
		API: a, Resource: c.resource(apiServices), BuiltIn: c.table, Premade: set, Logger: quiet(),
		Served: func() (*kind.Table, <-chan struct{}) { return c.table, nil },
	}
}

// testdata/apiservices.json is what a real kube-apiserver v1.37.2 has that serves all of its APIs.
func TestAPIServicesAreThoseOfKubeAPIServer(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/apiservices.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded []map[string]any
	if err := json.Unmarshal(data, &recorded); err != nil {
		t.Fatal(err)
	}
	want := map[any]any{}
	for _, item := range recorded {
		want[item["metadata"].(map[string]any)["name"]] = item
	}
	for name, set := range map[string]*premade.Set{"made": nil, "premade": premade.Default()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			a := c.tracking(t)
			ensure(t, c.apiServices(a, set))
			shown := c.shown(t, a, apiServices)
			for _, item := range shown {
				name := item.(map[string]any)["metadata"].(map[string]any)["name"]
				if want[name] == nil {
					t.Errorf("%v is none of kube-apiserver's", name)
				} else if diff := cmp.Diff(want[name], item); diff != "" {
					t.Errorf("%v differs from kube-apiserver's (-want +got):\n%s", name, diff)
				}
			}
			if len(shown) < 30 {
				t.Errorf("there are %d", len(shown))
			}
		})
	}
}

// At a start, what is missing is made and what nobody serves goes, but what is somebody's own stays.
func TestAPIServicesAtStart(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.tracking(t)
	ensure(t, c.apiServices(a, premade.Default()))
	create := func(group string, labels map[string]string) {
		t.Helper()
		c.createAPIService(t, a, schema.GroupVersion{Group: group, Version: "v1"}, labels)
	}
	create("old.example.com", map[string]string{"kube-aggregator.kubernetes.io/automanaged": "onstart"})
	create("own.example.com", nil)
	r := c.resource(apiServices)
	if _, _, err := a.DeleteObject(verb.AsServer(t.Context()), r, "", "v1.apps", &metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	update(t, a, r, "", "v1.batch", func(s *apiregistration.APIService) { s.Spec.GroupPriorityMinimum = 7 })
	update(t, a, r, "", "v1.policy", func(s *apiregistration.APIService) { s.Spec.GroupPriorityMinimum, s.Labels = 7, nil })
	ensure(t, c.apiServices(a, premade.Default()))
	there := c.registered(t, a)
	for name, want := range map[string]int32{"v1.apps": 17800, "v1.batch": 17400, "v1.policy": 7, "v1.own.example.com": 100, "v1.old.example.com": 0} {
		if there[name] != want {
			t.Errorf("%s has the priority %d, want %d", name, there[name], want)
		}
	}
}

func (c *cluster) createAPIService(t *testing.T, a *verb.API, gv schema.GroupVersion, labels map[string]string) {
	t.Helper()
	_, err := a.CreateObject(verb.AsServer(t.Context()), c.resource(apiServices), "", &apiregistration.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: gv.Version + "." + gv.Group, Labels: labels},
		Spec:       apiregistration.APIServiceSpec{Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: 100, VersionPriority: 100},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// registered are the group priorities of what is registered.
func (c *cluster) registered(t *testing.T, a *verb.API) map[string]int32 {
	t.Helper()
	objects, err := a.ListObjects(t.Context(), c.resource(apiServices), "")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]int32{}
	for _, obj := range objects {
		service := obj.(*apiregistration.APIService)
		there[service.Name] = service.Spec.GroupPriorityMinimum
	}
	return there
}

// served is a table that can be replaced.
type served struct {
	mu       sync.Mutex
	table    *kind.Table
	replaced chan struct{}
}

func (s *served) get() (*kind.Table, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.table, s.replaced
}

func (s *served) set(table *kind.Table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table = table
	close(s.replaced)
	s.replaced = make(chan struct{})
}

// While the server runs, custom resources come and go.
func TestAPIServicesOfCustomResources(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.tracking(t)
	// To this server, batch is a group of custom resources.
	builtIn := c.table.Select(func(r schema.GroupVersionResource) bool { return r.Group != "batch" })
	s := &served{table: builtIn, replaced: make(chan struct{})}
	services := c.apiServices(a, premade.Default())
	services.BuiltIn, services.Served = builtIn, s.get
	ensure(t, services)
	c.createAPIService(t, a, schema.GroupVersion{Group: "own.example.com", Version: "v1"}, nil)
	before := len(c.registered(t, a))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		services.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	wait := func(writes int64) map[string]int32 {
		t.Helper()
		if _, err := a.State.AtLeast(t.Context(), writes); err != nil {
			t.Fatal(err)
		}
		return c.registered(t, a)
	}
	revision := a.State.Snapshot().Revision()
	s.set(c.table)
	if there := wait(revision + 1); there["v1.batch"] == 0 || len(there) != before+1 {
		t.Errorf("with a custom resource there are %v", there)
	}
	s.set(builtIn)
	if there := wait(revision + 2); len(there) != before || there["v1.own.example.com"] == 0 {
		t.Errorf("afterwards there are %v", there)
	}
}
