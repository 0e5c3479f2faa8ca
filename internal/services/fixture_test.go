package services_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	api "k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/networking/ipaddress"
	"k8s.io/kubernetes/pkg/registry/networking/servicecidr"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/request"
	"github.com/kayak-k8s/kayak/internal/services"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/memory"
	"github.com/kayak-k8s/kayak/internal/verb"
	"github.com/kayak-k8s/kayak/internal/wire"
)

const root = "/registry/"

// cluster says how the servers of a test are set up.
type cluster struct {
	ranges    []string
	nodePorts utilnet.PortRange
}

var single = cluster{ranges: []string{"10.0.0.0/20"}, nodePorts: services.DefaultNodePorts}

// server is the verbs over a store, with the three kinds that matter and nothing around them.
type server struct {
	*services.Server
	table     *kind.Table
	allocator *services.Allocator
	repair    *services.Repair
	cidr      *services.DefaultCIDR
}

// newServer makes a server on a store that may have other servers, too. It has done what servers do before they are ready.
func newServer(t *testing.T, backend store.Store, c cluster) *server {
	t.Helper()
	f := &server{}
	serviceKind := newKind("", "services", "Service", "services/specs", "v1", service.Strategy,
		func() runtime.Object { return &api.Service{} }, func() runtime.Object { return &api.ServiceList{} })
	serviceKind.Namespaced, serviceKind.ReturnDeleted = true, true
	// What matters here of what kind/builtin does.
	serviceKind.OnRead = func(obj runtime.Object) {
		if svc := obj.(*api.Service); svc.Spec.Type == api.ServiceTypeExternalName {
			svc.Spec.InternalTrafficPolicy = nil
		}
	}
	addressKind := newKind("networking.k8s.io", "ipaddresses", "IPAddress", "ipaddresses", "v1", ipaddress.Strategy,
		func() runtime.Object { return &networking.IPAddress{} }, func() runtime.Object { return &networking.IPAddressList{} })
	cidrKind := newKind("networking.k8s.io", "servicecidrs", "ServiceCIDR", "servicecidrs", "v1", servicecidr.Strategy,
		func() runtime.Object { return &networking.ServiceCIDR{} }, func() runtime.Object { return &networking.ServiceCIDRList{} })
	cidrKind.Subresources = map[string]*kind.Subresource{"status": {Name: "status", Update: servicecidr.StatusStrategy}}
	var ranges []netip.Prefix
	for _, text := range c.ranges {
		ranges = append(ranges, netip.MustParsePrefix(text))
	}
	logger := slog.New(slog.DiscardHandler)
	f.Server = &services.Server{}
	var err error
	f.allocator, err = services.New(services.Options{
		Objects: f.Server, Store: backend, Root: root, Ranges: ranges, NodePorts: c.nodePorts, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.allocator.Hook(serviceKind, addressKind, cidrKind)
	f.table = kind.NewTable(serviceKind, addressKind, cidrKind)
	f.Connect(&verb.API{
		State: runState(t, backend, f.table), Store: backend, Root: root, Authorizer: allow{},
		MinRequestTimeout: time.Minute, Stopping: make(chan struct{}),
	}, f.table)
	f.repair = &services.Repair{Allocator: f.allocator, Objects: f.Server, Logger: logger}
	f.cidr = &services.DefaultCIDR{Objects: f.Server, Ranges: ranges, Logger: logger}
	if err := f.cidr.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.mustRepair(t)
	return f
}

func (f *server) mustRepair(t *testing.T) {
	t.Helper()
	f.catchUp(t)
	if err := f.repair.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.catchUp(t)
}

// catchUp waits until the state has everything that is in the store.
func (f *server) catchUp(t *testing.T) {
	t.Helper()
	if _, err := f.API.State.Consistent(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func runState(t *testing.T, backend store.Store, table *kind.Table) *state.State {
	t.Helper()
	var families []state.Family
	for _, k := range table.Kinds() {
		families = append(families, state.Family{Prefix: k.KeyPrefix(root, ""), Header: k.Header, Index: k.Index})
	}
	s := state.New(state.Options{Store: backend, Prefix: root, Families: families})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	if err := s.WaitSynced(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func newStore(t *testing.T) store.Store {
	backend := memory.New()
	t.Cleanup(func() { _ = backend.Close() })
	return backend
}

// canonical spells an address as its IPAddress is named.
func canonical(ip string) string { return netip.MustParseAddr(ip).String() }

type strategy interface {
	rest.RESTCreateStrategy
	rest.RESTUpdateStrategy
	rest.RESTDeleteStrategy
}

func newKind(group, resource, name, prefix, version string, s strategy, newObject, newList func() runtime.Object) *kind.Kind {
	codecs := legacyscheme.Codecs
	protobuf, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	gv := schema.GroupVersion{Group: group, Version: version}
	hub := schema.GroupVersion{Group: group, Version: runtime.APIVersionInternal}
	return &kind.Kind{
		Group: group, Resource: resource, Name: name, Prefix: prefix, Storage: gv, Versions: []string{version},
		New: newObject, NewList: newList, Create: s, Update: s, Delete: s,
		Codec: &kind.Codec{
			Typer: legacyscheme.Scheme, Creater: legacyscheme.Scheme, Defaulter: legacyscheme.Scheme, Convertor: legacyscheme.Scheme,
			Serializer: codecs, Hub: hub,
			Stored: codecs.EncoderForVersion(protobuf.Serializer, gv), Load: codecs.DecoderToVersion(codecs.UniversalDeserializer(), hub),
		},
	}
}

type allow struct{}

func (allow) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionAllow, "", nil
}

// do handles a request as the pipeline would.
func (f *server) do(ctx context.Context, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		r.Header.Set("Content-Type", "application/merge-patch+json")
	}
	w := httptest.NewRecorder()
	info, err := request.Parse(r, r.URL.Query())
	if err == nil {
		r = r.WithContext(genericrequest.WithRequestInfo(r.Context(), info))
		resource := f.table.Resource(info.APIGroup, info.APIVersion, info.Resource)
		err = f.API.Serve(&verb.Call{
			Writer: w, Request: r, Query: r.URL.Query(), Info: info, Resource: resource, Sub: resource.Subresources[info.Subresource],
		})
	}
	if err != nil {
		wire.WriteError(w, r, err)
	}
	return w
}

const servicesPath = "/api/v1/namespaces/default/services"
