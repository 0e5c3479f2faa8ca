package builtin

import (
	"k8s.io/apimachinery/pkg/runtime"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/endpoint"
	"k8s.io/kubernetes/pkg/registry/core/service"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) coreServices() []*kind.Kind {
	return []*kind.Kind{{
		Resource: "services", Name: "Service", ShortNames: []string{"svc"}, Categories: []string{"all"}, Namespaced: true,
		Prefix: "services/specs",
		New:    object[api.Service], NewList: object[api.ServiceList],
		Create: service.Strategy, Update: service.Strategy,
		Attributes:    service.GetAttrs,
		Fields:        []kind.Field{{Name: "spec.clusterIP"}, {Name: "spec.type", Zero: "ClusterIP"}},
		OnRead:        b.completeService,
		ReturnDeleted: true,
		Subresources: subresources(status(service.StatusStrategy),
			b.action("services", "proxy", b.coreFace("ServiceProxyOptions", object[api.ServiceProxyOptions]), proxyVerbs()...)),
	}, {
		Resource: "endpoints", Name: "Endpoints", ShortNames: []string{"ep"}, Namespaced: true, Prefix: "services/endpoints",
		New: object[api.Endpoints], NewList: object[api.EndpointsList],
		Create: endpoint.Strategy, Update: endpoint.Strategy,
	}}
}

// completeService gives Services that were stored before there were two IP families what they lack, and takes away what older
// versions should not have stored (registry/core/service/storage/storage.go, defaultOnRead).
func (b *builder) completeService(obj runtime.Object) {
	spec := &obj.(*api.Service).Spec
	if spec.ClusterIP != "" && len(spec.ClusterIPs) == 0 {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
	if spec.Type == api.ServiceTypeExternalName {
		spec.InternalTrafficPolicy = nil
		return
	}
	if len(spec.IPFamilies) > 0 {
		return
	}
	switch {
	case spec.ClusterIP != api.ClusterIPNone:
		spec.IPFamilies = familiesOf(spec.ClusterIPs)
	case len(spec.Selector) > 0:
		spec.IPFamilies = []api.IPFamily{b.PrimaryIPFamily}
	default: // its endpoints are somebody else's, and may be of both families
		spec.IPFamilies = []api.IPFamily{b.PrimaryIPFamily, otherFamily(b.PrimaryIPFamily)}
	}
	switch len(spec.IPFamilies) {
	case 1:
		spec.IPFamilyPolicy = ptr.To(api.IPFamilyPolicySingleStack)
	case 2:
		spec.IPFamilyPolicy = ptr.To(api.IPFamilyPolicyRequireDualStack)
	}
}

func familiesOf(ips []string) []api.IPFamily {
	families := make([]api.IPFamily, len(ips))
	for i, ip := range ips {
		families[i] = api.IPv4Protocol
		if netutils.IsIPv6String(ip) {
			families[i] = api.IPv6Protocol
		}
	}
	return families
}

func otherFamily(family api.IPFamily) api.IPFamily {
	if family == api.IPv6Protocol {
		return api.IPv4Protocol
	}
	return api.IPv6Protocol
}
