package builtin

import (
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/kubernetes/pkg/apis/lifecycle"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/registry/lifecycle/eviction"
	"k8s.io/kubernetes/pkg/registry/lifecycle/evictionrequest"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) lifecycle() []*kind.Kind {
	evictions := eviction.NewStrategy(b.Clock)
	requests := evictionrequest.NewStrategy()
	versions := []string{"v1alpha1"}
	return inGroup(lifecycle.GroupName, gated(utilfeature.DefaultFeatureGate.Enabled(features.EvictionRequestAPI), &kind.Kind{
		Resource: "evictionrequests", Name: "EvictionRequest", Namespaced: true, Versions: versions,
		New: object[lifecycle.EvictionRequest], NewList: object[lifecycle.EvictionRequestList],
		Create: requests, Update: requests,
		Subresources: subresources(status(evictionrequest.NewStatusStrategy(requests))),
	}, &kind.Kind{
		Resource: "evictions", Name: "Eviction", Namespaced: true, Versions: versions,
		New: object[lifecycle.Eviction], NewList: object[lifecycle.EvictionList],
		Create: evictions, Update: evictions,
		Subresources: subresources(status(eviction.NewStatusStrategy(evictions))),
	})...)
}
