package builtin

import (
	"k8s.io/kubernetes/pkg/apis/networking"
	"k8s.io/kubernetes/pkg/registry/networking/ingress"
	"k8s.io/kubernetes/pkg/registry/networking/ingressclass"
	"k8s.io/kubernetes/pkg/registry/networking/ipaddress"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/kubernetes/pkg/registry/networking/servicecidr"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) networking() []*kind.Kind {
	return inGroup(networking.GroupName, &kind.Kind{
		Resource: "ingressclasses", Name: "IngressClass",
		New: object[networking.IngressClass], NewList: object[networking.IngressClassList],
		Create: ingressclass.Strategy, Update: ingressclass.Strategy,
	}, &kind.Kind{
		Resource: "ingresses", Name: "Ingress", ShortNames: []string{"ing"}, Namespaced: true, Prefix: "ingress",
		New: object[networking.Ingress], NewList: object[networking.IngressList],
		Create: ingress.Strategy, Update: ingress.Strategy,
		Subresources: subresources(status(ingress.StatusStrategy)),
	}, &kind.Kind{
		Resource: "ipaddresses", Name: "IPAddress", ShortNames: []string{"ip"},
		New: object[networking.IPAddress], NewList: object[networking.IPAddressList],
		Create: ipaddress.Strategy, Update: ipaddress.Strategy,
	}, &kind.Kind{
		Resource: "networkpolicies", Name: "NetworkPolicy", ShortNames: []string{"netpol"}, Namespaced: true,
		New: object[networking.NetworkPolicy], NewList: object[networking.NetworkPolicyList],
		Create: networkpolicy.Strategy, Update: networkpolicy.Strategy,
	}, &kind.Kind{
		Resource: "servicecidrs", Name: "ServiceCIDR",
		New: object[networking.ServiceCIDR], NewList: object[networking.ServiceCIDRList],
		Create: servicecidr.Strategy, Update: servicecidr.Strategy,
		Subresources: subresources(status(servicecidr.StatusStrategy)),
	})
}
