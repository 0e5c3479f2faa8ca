package builtin

import (
	"k8s.io/kubernetes/pkg/apis/discovery"
	"k8s.io/kubernetes/pkg/registry/discovery/endpointslice"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) discovery() []*kind.Kind {
	return inGroup(discovery.GroupName, &kind.Kind{
		Resource: "endpointslices", Name: "EndpointSlice", Namespaced: true,
		New: object[discovery.EndpointSlice], NewList: object[discovery.EndpointSliceList],
		Create: endpointslice.Strategy, Update: endpointslice.Strategy,
	})
}
