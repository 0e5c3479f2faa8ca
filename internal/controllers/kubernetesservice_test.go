package controllers_test

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/discovery"

	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// addresses returns those of the Endpoints and of the EndpointSlice, which must have the same.
func (c *cluster) addresses(t *testing.T, a *verb.API) []string {
	t.Helper()
	var ips, slice []string
	for _, subset := range get[*api.Endpoints](t, a, c.resource(endpoints), "kubernetes").Subsets {
		for _, address := range subset.Addresses {
			ips = append(ips, address.IP)
		}
	}
	for _, endpoint := range get[*discovery.EndpointSlice](t, a, c.resource(endpointSlices), "kubernetes").Endpoints {
		slice = append(slice, endpoint.Addresses...)
	}
	if !slices.Equal(ips, slice) {
		t.Errorf("the Endpoints have %v, the EndpointSlice %v", ips, slice)
	}
	return ips
}

func (c *cluster) wantAddresses(t *testing.T, a *verb.API, want ...string) {
	t.Helper()
	if got := c.addresses(t, a); !slices.Equal(got, want) {
		t.Errorf("the kubernetes service has endpoints %v, want %v", got, want)
	}
}

func TestServersComeAndGo(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.server(t), c.server(t)
	first, second := c.kubernetesService(a, "192.0.2.9"), c.kubernetesService(b, "192.0.2.10")
	ensure(t, first)
	c.wantAddresses(t, a, "192.0.2.9")
	ensure(t, second)
	c.wantAddresses(t, a, "192.0.2.10", "192.0.2.9") // by their letters, as upstream
	first.Close(t.Context())
	c.wantAddresses(t, b, "192.0.2.10")
	ensure(t, first) // who has left does not come back
	c.wantAddresses(t, b, "192.0.2.10")
	second.Close(t.Context())
	c.wantAddresses(t, b)
	if subsets := get[*api.Endpoints](t, a, c.resource(endpoints), "kubernetes").Subsets; len(subsets) != 0 {
		t.Errorf("without servers there are subsets: %v", subsets)
	}
}

// A server that was killed is taken out by another once its lease has ended.
func TestDeadServerIsTakenOut(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.server(t), c.server(t)
	ensure(t, c.kubernetesService(a, "192.0.2.9"), c.kubernetesService(b, "192.0.2.10"))
	kv, err := c.store.Get(t.Context(), root+"masterleases/192.0.2.9")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.store.Delete(t.Context(), kv.Key, kv.Revision); err != nil { // what the end of the lease does
		t.Fatal(err)
	}
	ensure(t, c.kubernetesService(b, "192.0.2.10"))
	c.wantAddresses(t, b, "192.0.2.10")
}

// A lease of a real kube-apiserver v1.37.2, of generation 128.
const recordedLease = "azhzAAoPCgJ2MRIJRW5kcG9pbnRzEiQKEQoAEgAaACIAKgAyADiAAUIAEg8KDQoJMTkyLjAuMi4yGgAaACIA"

func TestLeaseIsStoredAsKubeAPIServerDoes(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	value, err := base64.StdEncoding.DecodeString(recordedLease)
	if err != nil {
		t.Fatal(err)
	}
	key := root + "masterleases/192.0.2.2"
	if _, err := c.store.Put(t.Context(), key, value, 0, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	a := c.server(t)
	// Another server sees it ...
	ensure(t, c.kubernetesService(a, "192.0.2.3"))
	c.wantAddresses(t, a, "192.0.2.2", "192.0.2.3")
	// ... and its own successor goes on from it.
	ensure(t, c.kubernetesService(a, "192.0.2.2"))
	kv, err := c.store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(value)
	i := slices.Index(want, 0x80) // the generation, as a varint: 0x80 0x01
	want[i]++
	if !slices.Equal(kv.Value, want) {
		t.Errorf("the lease was stored as %x, want %x", kv.Value, want)
	}
}

// leaseStore remembers how leases were written.
type leaseStore struct {
	store.Store
	options store.PutOptions
}

func (s *leaseStore) Put(ctx context.Context, key string, value []byte, expect int64, options store.PutOptions) (int64, error) {
	if key == root+"masterleases/192.0.2.2" {
		s.options = options
	}
	return s.Store.Put(ctx, key, value, expect, options)
}

func TestLeaseEndsByItself(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.server(t)
	leases := &leaseStore{Store: c.store}
	a.Store = leases
	ensure(t, c.kubernetesService(a, "192.0.2.2"))
	if leases.options.TTLSeconds != 15 {
		t.Errorf("the lease ends after %d seconds, want 15", leases.options.TTLSeconds)
	}
}

// What somebody has changed is mended: addresses and label by every pass, the port when a server starts.
func TestEndpointsAreMended(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.server(t)
	service := c.kubernetesService(a, "192.0.2.2")
	ensure(t, service)
	update(t, a, c.resource(endpoints), "", "kubernetes", func(e *api.Endpoints) {
		e.Labels = nil
		e.Subsets[0].Addresses = append(e.Subsets[0].Addresses, api.EndpointAddress{IP: "192.0.2.66"})
		e.Subsets[0].Ports[0].Port = 1
	})
	update(t, a, c.resource(endpointSlices), "", "kubernetes", func(s *discovery.EndpointSlice) { s.Endpoints = nil })
	ensure(t, service)
	c.wantAddresses(t, a, "192.0.2.2")
	mended := get[*api.Endpoints](t, a, c.resource(endpoints), "kubernetes")
	if mended.Labels["endpointslice.kubernetes.io/skip-mirror"] != "true" || mended.Subsets[0].Ports[0].Port != 16443 {
		t.Errorf("the Endpoints were left as %+v", mended)
	}
}

// A server of another port than the others leaves theirs alone, when it comes and when it goes.
func TestServerOfAnotherPort(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.server(t)
	ensure(t, c.kubernetesService(a, "192.0.2.2"))
	other := c.kubernetesService(a, "192.0.2.3")
	other.Port = 6443
	ensure(t, other)
	other.Close(t.Context())
	ports := get[*api.Endpoints](t, a, c.resource(endpoints), "kubernetes").Subsets[0].Ports
	if len(ports) != 1 || ports[0].Port != 16443 {
		t.Errorf("the ports are %v", ports)
	}
}

func TestSliceOfAnotherFamilyIsReplaced(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.server(t)
	four := c.kubernetesService(a, "192.0.2.2")
	ensure(t, four)
	old := get[*discovery.EndpointSlice](t, a, c.resource(endpointSlices), "kubernetes")
	four.Close(t.Context())
	ensure(t, c.kubernetesService(a, "2001:db8::2"))
	c.wantAddresses(t, a, "2001:db8::2")
	slice := get[*discovery.EndpointSlice](t, a, c.resource(endpointSlices), "kubernetes")
	if slice.AddressType != discovery.AddressTypeIPv6 || slice.UID == old.UID {
		t.Errorf("the slice is of type %s, uid %s (before: %s)", slice.AddressType, slice.UID, old.UID)
	}
}

// A server without an address has the Service, and leaves the endpoints to the others.
func TestServerWithoutAddress(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.server(t)
	service := c.kubernetesService(a, "")
	ensure(t, service)
	get[*api.Service](t, a, c.resource(services), "kubernetes")
	service.Close(t.Context())
	if list := c.shown(t, a, endpoints); len(list) != 0 {
		t.Errorf("there are endpoints: %v", list)
	}
}

// A server that never got as far as its endpoints leaves alone what another has under the same address.
func TestServerThatNeverJoined(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.server(t)
	ensure(t, c.kubernetesService(a, "192.0.2.2"))
	c.kubernetesService(a, "192.0.2.2").Close(t.Context())
	c.wantAddresses(t, a, "192.0.2.2")
}

func TestServiceOfTypeNodePort(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.server(t)
	service := c.kubernetesService(a, "192.0.2.2")
	service.NodePort = 30443
	ensure(t, service)
	spec := get[*api.Service](t, a, c.resource(services), "kubernetes").Spec
	if spec.Type != api.ServiceTypeNodePort || spec.Ports[0].NodePort != 30443 {
		t.Errorf("the Service is %+v", spec)
	}
}

// deadStore does not answer.
type deadStore struct{ store.Store }

func (deadStore) Get(ctx context.Context, _ string) (store.KV, error) {
	<-ctx.Done()
	return store.KV{}, ctx.Err()
}

// Neither a start nor a stop waits for a store that does not answer any longer than it is told to.
func TestCloseEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.server(t)
	service := c.kubernetesService(a, "192.0.2.2")
	a.Store = deadStore{c.store}
	ctx, cancel := context.WithCancel(t.Context())
	ensured := make(chan error)
	go func() { ensured <- service.Ensure(ctx) }()
	ended, end := context.WithCancel(t.Context())
	end()
	service.Close(ended)
	cancel()
	if err := <-ensured; !errors.Is(err, context.Canceled) {
		t.Errorf("the start ended with %v", err)
	}
}

func TestServiceIsCreatedAgain(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.server(t)
	service := c.kubernetesService(a, "192.0.2.2")
	ensure(t, service)
	_, _, err := a.DeleteObject(verb.AsServer(t.Context()), c.resource(services), "default", "kubernetes", &metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ensure(t, service)
	get[*api.Service](t, a, c.resource(services), "kubernetes")
}
