package managedfields

import (
	"testing"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
)

// What an API service's writes leave alone is what upstream's storages say (kube-aggregator/pkg/registry/apiservice/etcd): the
// status in a write of the object, everything else in one of the status.
func TestResetFieldsOfAPIServices(t *testing.T) {
	t.Parallel()
	kinds, err := builtin.Kinds(builtin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := kind.NewTable(kinds...).Resource("apiregistration.k8s.io", "v1", "apiservices")
	path := func(name string) *fieldpath.Set { return fieldpath.NewSet(fieldpath.MakePathOrDie(name)) }
	for sub, want := range map[string]*fieldpath.Set{"": path("status"), "status": path("spec").Union(path("metadata"))} {
		got := resetFields(r, r.Subresources[sub])
		for _, version := range []fieldpath.APIVersion{"apiregistration.k8s.io/v1", "apiregistration.k8s.io/v1beta1"} {
			if set := got[version]; set == nil || !set.Equals(want) {
				t.Errorf("%q in %s: %v, not %v", sub, version, set, want)
			}
		}
	}
}
