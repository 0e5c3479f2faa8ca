package services_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/service/portallocator"
)

// takenPorts reads the ports that are taken, with upstream's code.
func (f *server) takenPorts(t *testing.T) []int {
	t.Helper()
	kv, err := f.API.Store.Get(t.Context(), root+"ranges/servicenodeports")
	if err != nil {
		t.Fatal(err)
	}
	var stored corev1.RangeAllocation
	if _, _, err := legacyscheme.Codecs.UniversalDeserializer().Decode(kv.Value, nil, &stored); err != nil {
		t.Fatal(err)
	}
	ports, err := portallocator.NewFromSnapshot(&api.RangeAllocation{Range: stored.Range, Data: stored.Data})
	if err != nil {
		t.Fatal(err)
	}
	taken := []int{}
	ports.ForEach(func(port int) { taken = append(taken, port) })
	return taken
}

// checkBooks checks that just what Services have is taken, and that each has its own. IPAddresses of Services outside of the
// namespace "default", or of "kubernetes", are not looked at.
func (f *server) checkBooks(t *testing.T) {
	t.Helper()
	snapshot, err := f.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ports, had, taken := map[int]string{}, map[string]string{}, map[string]string{}
	for _, svc := range snapshot.Services {
		mine := []int{int(svc.Spec.HealthCheckNodePort)}
		for _, port := range svc.Spec.Ports {
			mine = append(mine, int(port.NodePort))
		}
		for _, port := range mine {
			if other := ports[port]; port != 0 && other != "" && other != svc.Name {
				t.Errorf("port %d is that of %s and of %s", port, other, svc.Name)
			}
			if port != 0 {
				ports[port] = svc.Name
			}
		}
		for _, ip := range svc.Spec.ClusterIPs {
			if ip != api.ClusterIPNone {
				had[canonical(ip)] = svc.Name
			}
		}
	}
	for _, object := range snapshot.IPAddresses {
		if ref := object.Spec.ParentRef; ref.Name != "kubernetes" {
			taken[object.Name] = ref.Name
		}
	}
	if diff := cmp.Diff(had, taken); diff != "" {
		t.Errorf("addresses: -had +taken\n%s", diff)
	}
	want := append([]int{}, slices.Sorted(maps.Keys(ports))...)
	if diff := cmp.Diff(want, f.takenPorts(t)); diff != "" {
		t.Errorf("ports: -had +taken\n%s", diff)
	}
}
