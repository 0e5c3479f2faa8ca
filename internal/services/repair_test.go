package services_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/networking"

	"github.com/kayak-k8s/kayak/internal/services"
	"github.com/kayak-k8s/kayak/internal/store"
)

// empty is what a real kube-apiserver v1.37.2 had stored when no port was taken.
const empty = "k8s\x00\n\x15\n\x02v1\x12\x0fRangeAllocation\x12!\n\x10\n\x00\x12\x00\x1a\x00\"\x00*\x002\x008\x00B\x00" +
	"\x12\x0b30000-32767\x1a\x00\x1a\x00\"\x00"

func TestPortsAreStoredAsUpstreamDoes(t *testing.T) {
	t.Parallel()
	f := newServer(t, newStore(t), single)
	read := func() store.KV {
		kv, err := f.API.Store.Get(t.Context(), root+"ranges/servicenodeports")
		if err != nil {
			t.Fatal(err)
		}
		return kv
	}
	first := read()
	if diff := cmp.Diff(empty, string(first.Value)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	f.mustRepair(t)
	if again := read(); again.Revision != first.Revision {
		t.Error("a repair that changed nothing wrote nevertheless")
	}
	f.must(t, http.MethodPost, servicesPath, nodePortService("a"))
	f.must(t, http.MethodDelete, servicesPath+"/a", "")
	if diff := cmp.Diff(empty, string(read().Value)); diff != "" {
		t.Errorf("after all ports were given back: -want +got\n%s", diff)
	}
}

// forge writes a Service past the allocator, as if its addresses and ports had been lost.
func (f *server) forge(t *testing.T, name string, spec api.ServiceSpec) {
	t.Helper()
	svc := &api.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "1"}, Spec: spec}
	value, err := f.Services.Encode(svc)
	if err == nil {
		_, err = f.API.Store.Put(t.Context(), f.Services.Key(root, "default", name), value, 0, store.PutOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	f.catchUp(t)
}

func clusterIPSpec(ip string, nodePort int32) api.ServiceSpec {
	return api.ServiceSpec{
		Type: api.ServiceTypeNodePort, ClusterIP: ip, ClusterIPs: []string{ip}, IPFamilies: []api.IPFamily{api.IPv4Protocol},
		Ports: []api.ServicePort{{Port: 80, Protocol: api.ProtocolTCP, NodePort: nodePort}},
	}
}

// events collects the reasons and notes of events.
func (f *server) events() *[]string {
	var list []string
	f.repair.Event = func(_ context.Context, _ runtime.Object, reason, action, note string) {
		list = append(list, fmt.Sprintf("%s %s: %s", reason, action, note))
	}
	return &list
}

func TestRepairTakesWhatServicesHave(t *testing.T) {
	t.Parallel()
	f := newServer(t, newStore(t), single)
	f.forge(t, "lost", clusterIPSpec("10.0.0.9", 30080))
	f.forge(t, "outside", clusterIPSpec("10.99.0.9", 80))
	f.forge(t, "twin", clusterIPSpec("10.0.0.9", 30080))
	events := f.events()
	f.mustRepair(t)
	want := []string{
		"ClusterIPNotAllocated ClusterIPAllocation: Cluster IP [IPv4]: 10.0.0.9 is not allocated; repairing",
		"ClusterIPOutOfRange ClusterIPAllocation: Cluster IP [IPv4]: 10.99.0.9 is not within any configured Service CIDR; please recreate service",
		"ClusterIPAlreadyAllocated ClusterIPAllocation: Cluster IP [IPv4]:10.0.0.9 was assigned to multiple services; please recreate service",
		"PortNotAllocated PortAllocation: Port 30080 is not allocated; repairing",
		"PortOutOfRange PortAllocation: Port 80 is not within the port range 30000-32767; please recreate service",
		"PortAlreadyAllocated PortAllocation: Port 30080 was assigned to multiple services; please recreate service",
	}
	if diff := cmp.Diff(want, *events); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	object, err := f.GetIPAddress(t.Context(), "10.0.0.9")
	if err != nil {
		t.Fatal(err)
	}
	wanted := address("10.0.0.9", "default", "lost")
	if diff := cmp.Diff(wanted.Labels, object.Labels); diff != "" || *object.Spec.ParentRef != *wanted.Spec.ParentRef {
		t.Errorf("%v refers to %v", object.Labels, object.Spec.ParentRef)
	}
	if ports := f.takenPorts(t); !slices.Equal(ports, []int{30080}) {
		t.Errorf("%v are taken, want 30080", ports)
	}
}

func TestRepairGivesBackPortsInTheThirdRound(t *testing.T) {
	t.Parallel()
	f := newServer(t, newStore(t), single)
	leak := func() int {
		t.Helper()
		if _, err := f.allocator.BeginCreate(t.Context(), &api.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "never"},
			Spec:       api.ServiceSpec{Type: api.ServiceTypeNodePort, Ports: []api.ServicePort{{Port: 80}}},
		}, &metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		return f.takenPorts(t)[0]
	}
	for leaked := range 2 { // the second time is no different
		port := leak()
		for round := 1; round <= 3; round++ {
			f.mustRepair(t)
			if taken := slices.Contains(f.takenPorts(t), port); taken != (round < 3) {
				t.Errorf("leak %d, round %d: taken is %v", leaked, round, taken)
			}
		}
	}
}

func TestRepairGivesBackAddressesAfterAMinute(t *testing.T) {
	t.Parallel()
	f := newServer(t, newStore(t), single)
	f.must(t, http.MethodPost, servicesPath, nodePortService("here"))
	f.forge(t, "external", api.ServiceSpec{Type: api.ServiceTypeExternalName, ExternalName: "example.com"})
	modified := address("10.0.0.5", "default", "here")
	modified.Spec.ParentRef = &networking.ParentReference{Group: "example.com", Resource: "gateways", Name: "g"}
	foreign := address("10.0.0.6", "default", "gone")
	foreign.Labels = nil
	for _, object := range []*networking.IPAddress{
		address("10.0.0.2", "default", "gone"), address("10.0.0.3", "default", "here"), address("10.0.0.4", "default", "external"),
		modified, foreign,
	} {
		if err := f.CreateIPAddress(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	left := func() (names []string) {
		f.mustRepair(t)
		for _, name := range []string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"} {
			if f.HasIPAddress(name) {
				names = append(names, name)
			}
		}
		return names
	}
	events := f.events()
	if diff := cmp.Diff([]string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.6"}, left()); diff != "" {
		t.Errorf("at once: -want +got\n%s", diff)
	}
	const modifiedEvent = "IPAddressNotAllocated IPAddressAllocation: IPAddress 10.0.0.5 appears to have been modified"
	if len(*events) != 1 || !strings.HasPrefix((*events)[0], modifiedEvent) {
		t.Errorf("%v", *events)
	}
	*events = nil
	f.repair.Now = func() time.Time { return time.Now().Add(62 * time.Second) }
	if diff := cmp.Diff([]string{"10.0.0.6"}, left()); diff != "" {
		t.Errorf("after a minute: -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"IPAddressNotAllocated IPAddressAllocation: IPAddress: 10.0.0.2 for Service default/gone appears to have leaked: cleaning up",
		"IPAddressWrongReference IPAddressAllocation: IPAddress: 10.0.0.3 for Service default/here has a wrong reference; cleaning up",
		"IPAddressWrongReference IPAddressAllocation: IPAddress: 10.0.0.4 for Service default/external has a wrong reference; cleaning up",
	}, *events); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	snapshot, err := f.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if here := snapshot.Services[1]; here.Name != "here" || !f.HasIPAddress(here.Spec.ClusterIP) {
		t.Errorf("%s has lost its address", here.Name)
	}
}

func TestRepairMendsReferencesAndLabels(t *testing.T) {
	t.Parallel()
	f := newServer(t, newStore(t), single)
	gateway := address("10.0.0.3", "default", "b")
	gateway.Spec.ParentRef.Resource = "gateways"
	unlabelled := address("10.0.0.4", "default", "c")
	unlabelled.Labels = nil
	objects := []*networking.IPAddress{address("10.0.0.2", "default", "gone"), gateway, unlabelled}
	for i, name := range []string{"a", "b", "c"} {
		if err := f.CreateIPAddress(t.Context(), objects[i]); err != nil {
			t.Fatal(err)
		}
		f.forge(t, name, clusterIPSpec(fmt.Sprintf("10.0.0.%d", i+2), 0))
	}
	f.mustRepair(t)
	f.checkBooks(t)
	for i, name := range []string{"a", "b", "c"} {
		ip := fmt.Sprintf("10.0.0.%d", i+2)
		object, err := f.GetIPAddress(t.Context(), ip)
		if err != nil {
			t.Fatal(err)
		}
		want := address(ip, "default", name)
		if diff := cmp.Diff(want.Labels, object.Labels); diff != "" || *object.Spec.ParentRef != *want.Spec.ParentRef {
			t.Errorf("%s refers to %v\n%s", ip, object.Spec.ParentRef, diff)
		}
	}
}

func TestRepairFollowsAChangedRangeOfPorts(t *testing.T) {
	t.Parallel()
	backend := newStore(t)
	f := newServer(t, backend, single)
	f.forge(t, "low", clusterIPSpec("10.0.0.2", 30000))
	f.forge(t, "high", clusterIPSpec("10.0.0.3", 31000))
	f.mustRepair(t)
	wider := newServer(t, backend, cluster{ranges: single.ranges, nodePorts: utilnet.PortRange{Base: 31000, Size: 2000}})
	if ports := wider.takenPorts(t); !slices.Equal(ports, []int{31000}) {
		t.Errorf("%v are taken, want 31000", ports)
	}
	w := f.do(t.Context(), http.MethodPost, servicesPath, nodePortService("old"))
	if want := "the provided range does not match the current range"; !strings.Contains(w.Body.String(), want) {
		t.Errorf("%s, want %s", w.Body, want)
	}
	wider.must(t, http.MethodPost, servicesPath, nodePortService("new"))
}

func TestDefaultCIDR(t *testing.T) {
	t.Parallel()
	backend := newStore(t)
	f := newServer(t, backend, single)
	read := func() *networking.ServiceCIDR {
		f.catchUp(t)
		list, err := f.ListServiceCIDRs(t.Context())
		if err != nil || len(list) != 1 || list[0].Name != services.DefaultCIDRName {
			t.Fatalf("%v %v", list, err)
		}
		return list[0]
	}
	object := read()
	condition := object.Status.Conditions[0]
	if !slices.Equal(object.Spec.CIDRs, single.ranges) || condition.Type != "Ready" || condition.Status != metav1.ConditionTrue ||
		condition.Message != "Kubernetes default Service CIDR is ready" || condition.LastTransitionTime.IsZero() {
		t.Errorf("%v", object)
	}
	newServer(t, backend, single)
	if again := read(); again.ResourceVersion != object.ResourceVersion {
		t.Error("a second server changed it")
	}
	newServer(t, backend, cluster{ranges: []string{"10.7.0.0/24"}, nodePorts: single.nodePorts})
	if again := read(); again.ResourceVersion != object.ResourceVersion {
		t.Error("a server with another range changed it")
	}
	dual := []string{single.ranges[0], "fd00::/112"}
	newServer(t, backend, cluster{ranges: dual, nodePorts: single.nodePorts})
	if again := read(); !slices.Equal(again.Spec.CIDRs, dual) {
		t.Errorf("it has %v, want both families", again.Spec.CIDRs)
	}
	f.must(t, http.MethodDelete, "/apis/networking.k8s.io/v1/servicecidrs/kubernetes", "")
	if err := f.cidr.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := read(); again.UID == object.UID {
		t.Error("it was not created again")
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	f := newServer(t, newStore(t), single)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.repair.Run(ctx)
	f.cidr.Run(ctx)
}
