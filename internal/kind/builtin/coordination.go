package builtin

import (
	"k8s.io/kubernetes/pkg/apis/coordination"
	"k8s.io/kubernetes/pkg/registry/coordination/lease"
	"k8s.io/kubernetes/pkg/registry/coordination/leasecandidate"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) coordination() []*kind.Kind {
	return inGroup(coordination.GroupName, &kind.Kind{
		Resource: "leases", Name: "Lease", Namespaced: true,
		New: object[coordination.Lease], NewList: object[coordination.LeaseList],
		Create: lease.Strategy, Update: lease.Strategy,
	}, &kind.Kind{
		Resource: "leasecandidates", Name: "LeaseCandidate", Namespaced: true, Versions: []string{"v1beta1", "v1alpha2"},
		New: object[coordination.LeaseCandidate], NewList: object[coordination.LeaseCandidateList],
		Create: leasecandidate.Strategy, Update: leasecandidate.Strategy,
		Attributes: leasecandidate.GetAttrs,
		Fields:     []kind.Field{{Name: "spec.leaseName"}},
	})
}
