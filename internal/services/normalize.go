package services

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"
	apiservice "k8s.io/kubernetes/pkg/api/service"
	api "k8s.io/kubernetes/pkg/apis/core"
)

// pluralizeNew understands a client that knows only clusterIP. The other way round is an error of validation: who knows of
// clusterIPs must set both.
func pluralizeNew(svc *api.Service) {
	if svc.Spec.ClusterIP != "" && len(svc.Spec.ClusterIPs) == 0 {
		svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
	}
}

// pluralizeUpdated understands what a client that knows only clusterIP means with an update. Whatever does not fit then is
// for validation.
func pluralizeUpdated(svc, old *api.Service) {
	same := svc.Spec.ClusterIP == old.Spec.ClusterIP
	switch {
	case same && len(svc.Spec.ClusterIPs) == 0:
		svc.Spec.ClusterIPs = slices.Clone(old.Spec.ClusterIPs)
	case same || !sameIPs(svc, old):
	case svc.Spec.ClusterIP == "":
		svc.Spec.ClusterIPs = nil
	default:
		svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
	}
}

// keepAllocated fills in what the existing Service was given and the new one leaves open, so that the manifest it was created
// from can be put again (patchAllocatedValues upstream).
func keepAllocated(svc, old *api.Service) {
	if svc.Spec.Type != api.ServiceTypeExternalName && old.Spec.Type != api.ServiceTypeExternalName {
		if svc.Spec.ClusterIP == "" {
			svc.Spec.ClusterIP = old.Spec.ClusterIP
		}
		if len(svc.Spec.ClusterIPs) == 0 && len(old.Spec.ClusterIPs) > 0 {
			svc.Spec.ClusterIPs = slices.Clone(old.Spec.ClusterIPs)
		}
	}
	if needsNodePorts(svc) && needsNodePorts(old) {
		keepNodePorts(svc, old)
	}
	if apiservice.NeedsHealthCheck(svc) && apiservice.NeedsHealthCheck(old) && svc.Spec.HealthCheckNodePort == 0 {
		svc.Spec.HealthCheckNodePort = old.Spec.HealthCheckNodePort
	}
}

// keepNodePorts gives ports without a node port the one that the port of the same name had, unless it is in use by then.
func keepNodePorts(svc, old *api.Service) {
	used := sets.New(nodePorts(old)...).Intersection(sets.New(nodePorts(svc)...))
	had := map[string]int32{}
	for _, port := range old.Spec.Ports {
		had[port.Name] = port.NodePort
	}
	for i := range svc.Spec.Ports {
		port := &svc.Spec.Ports[i]
		if port.NodePort == 0 && !used.Has(int(had[port.Name])) {
			port.NodePort = had[port.Name]
		}
	}
}

// needsNodePorts tells whether every port of the Service has a node port.
func needsNodePorts(svc *api.Service) bool {
	allocate := svc.Spec.AllocateLoadBalancerNodePorts
	return svc.Spec.Type == api.ServiceTypeNodePort ||
		svc.Spec.Type == api.ServiceTypeLoadBalancer && (allocate == nil || *allocate)
}

// mayHaveNodePorts tells whether ports of the Service may have node ports.
func mayHaveNodePorts(svc *api.Service) bool {
	return svc.Spec.Type == api.ServiceTypeNodePort || svc.Spec.Type == api.ServiceTypeLoadBalancer
}

// nodePorts returns the node ports of a Service, with repetitions.
func nodePorts(svc *api.Service) []int {
	var ports []int
	for _, port := range svc.Spec.Ports {
		if port.NodePort != 0 {
			ports = append(ports, int(port.NodePort))
		}
	}
	return ports
}

// heldPorts returns all that a Service holds of the range of node ports.
func heldPorts(svc *api.Service) []int {
	ports := nodePorts(svc)
	if apiservice.NeedsHealthCheck(svc) && svc.Spec.HealthCheckNodePort > 0 {
		ports = append(ports, int(svc.Spec.HealthCheckNodePort))
	}
	return ports
}

// clusterIPs returns the addresses that a Service holds.
func clusterIPs(svc *api.Service) []string {
	if svc.Spec.Type == api.ServiceTypeExternalName || slices.Contains(svc.Spec.ClusterIPs, api.ClusterIPNone) {
		return nil
	}
	return svc.Spec.ClusterIPs
}
