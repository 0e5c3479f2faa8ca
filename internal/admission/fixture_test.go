package admission

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	api "k8s.io/kubernetes/pkg/apis/core"

	"github.com/kayak-k8s/kayak/internal/authz"
	"github.com/kayak-k8s/kayak/internal/informers"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
	"github.com/kayak-k8s/kayak/internal/managedfields"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/memory"
)

const root = "/registry/"

// fixture is a state with nothing around it, over a store in memory.
type fixture struct {
	store     *memory.Store
	state     *state.State
	table     *kind.Table
	informers *informers.Factory
	options   Options
}

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
	go func() {
		_ = f.state.Run(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = f.store.Close()
	})
	if err := f.state.WaitSynced(ctx); err != nil {
		t.Fatal(err)
	}
	table := func() *kind.Table { return f.table }
	f.informers = informers.New(informers.Options{State: f.state, Root: root, Life: ctx, Table: table})
	nowhere := &rest.Config{Host: "http://kayak.invalid", Transport: nothing{}}
	f.options = Options{
		Life: ctx, Informers: f.informers, Fresh: f.informers, Loopback: nowhere,
		Client: kubernetes.NewForConfigOrDie(nowhere), Dynamic: dynamic.NewForConfigOrDie(nowhere),
		Served: table, Mapper: NewMapper(table), Authorizer: authz.New(), Converter: managedfields.New().Converter,
		Namespace: func(context.Context, string) (*corev1.Namespace, error) {
			return nil, errors.New("not asked in this test")
		},
		Service: func(string, string, int32) (*url.URL, error) { return nil, errors.New("no services in this test") },
	}
	return f
}

func (f *fixture) chain(t testing.TB, config Config) *Chain {
	t.Helper()
	options := f.options
	options.Config = config
	chain, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

// put stores an object of the hub version and waits until the state has it.
func (f *fixture) put(t testing.TB, group, version, resource, namespace string, obj runtime.Object) {
	t.Helper()
	r := f.table.Resource(group, version, resource)
	value, err := r.Encode(obj)
	if err != nil {
		t.Fatal(err)
	}
	key := r.Key(root, namespace, obj.(metav1.Object).GetName())
	expect := int64(0)
	if record := f.state.Snapshot().Get(key); record != nil {
		expect = record.Revision
	}
	revision, err := f.store.Put(t.Context(), key, value, expect, store.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.state.AtLeast(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) putNamespace(t testing.TB, name string) {
	t.Helper()
	f.put(t, "", "v1", "namespaces", "", &api.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Status: api.NamespaceStatus{Phase: api.NamespaceActive},
	})
}

// nothing is a server that has no objects.
type nothing struct{}

func (nothing) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
		Body: io.NopCloser(strings.NewReader(`{"kind":"LimitRangeList","apiVersion":"v1","items":[]}`)),
	}, nil
}

// interfaces are those of the kind.
type interfaces struct{ *kind.Codec }

func (i interfaces) GetObjectCreater() runtime.ObjectCreater     { return i.Creater }
func (i interfaces) GetObjectTyper() runtime.ObjectTyper         { return i.Typer }
func (i interfaces) GetObjectDefaulter() runtime.ObjectDefaulter { return i.Defaulter }
func (i interfaces) GetObjectConvertor() runtime.ObjectConvertor { return i.Convertor }
func (i interfaces) GetEquivalentResourceMapper() runtime.EquivalentResourceMapper {
	return runtime.NewEquivalentResourceRegistry()
}

// write describes a write of an object.
func (f *fixture) write(gvr schema.GroupVersionResource, namespace string, obj, old runtime.Object, op admission.Operation) (admission.Attributes, admission.ObjectInterfaces) {
	r := f.table.Resource(gvr.Group, gvr.Version, gvr.Resource)
	var options runtime.Object = &metav1.CreateOptions{}
	if op == admission.Update {
		options = &metav1.UpdateOptions{}
	}
	return admission.NewAttributesRecord(obj, old, r.GVK(), namespace, "a", gvr, "", op, options, false,
		&user.DefaultInfo{Name: "jane", Groups: []string{"system:masters"}}), interfaces{r.Codec}
}

func newPod() *api.Pod {
	grace := int64(30)
	return &api.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default", Labels: map[string]string{"app": "a"}},
		Spec: api.PodSpec{
			RestartPolicy: api.RestartPolicyAlways, DNSPolicy: api.DNSClusterFirst, TerminationGracePeriodSeconds: &grace,
			SecurityContext: &api.PodSecurityContext{},
			Containers: []api.Container{{
				Name: "c", Image: "nginx:1", ImagePullPolicy: api.PullIfNotPresent,
				TerminationMessagePolicy: api.TerminationMessageReadFile, TerminationMessagePath: "/dev/termination-log",
			}},
		},
	}
}

var pods = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
