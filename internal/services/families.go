package services

import (
	"fmt"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	netutils "k8s.io/utils/net"
)

var (
	specPath     = field.NewPath("spec")
	policyPath   = specPath.Child("ipFamilyPolicy")
	familiesPath = specPath.Child("ipFamilies")
	ipsPath      = specPath.Child("clusterIPs")
)

// setFamilies fills in ipFamilyPolicy and ipFamilies, and refuses what the cluster cannot do (KEP-563, and initIPFamilyFields in
// upstream's pkg/registry/core/service/storage/alloc.go). It also runs for dry runs. old is nil when svc is created.
func (a *Allocator) setFamilies(svc, old *api.Service) error {
	if svc.Spec.Type == api.ServiceTypeExternalName || staysPreferDualStack(svc, old) {
		return nil
	}
	if svc.Spec.IPFamilyPolicy == nil {
		svc.Spec.IPFamilyPolicy = defaultPolicy(svc, old)
	}
	if errs := validation.ValidateServiceClusterIPsRelatedFields(svc, old); len(errs) > 0 {
		return invalid(svc, errs...)
	}
	errs := dropSecond(svc, old)
	errs = append(errs, tooManyForSingleStack(svc)...)
	errs = append(errs, a.inferFamilies(svc)...)
	if len(errs) > 0 {
		return invalid(svc, errs...)
	}
	if isHeadless(svc) && len(svc.Spec.Selector) == 0 {
		// Nobody knows of which families the endpoints will be, so the cluster's do not matter.
		a.completeFamilies(svc)
		return nil
	}
	if errs := a.notConfigured(svc); len(errs) > 0 {
		return invalid(svc, errs...)
	}
	if len(a.families) == 1 {
		if len(svc.Spec.IPFamilies) == 0 {
			svc.Spec.IPFamilies = slices.Clone(a.families)
		}
		return nil
	}
	a.completeFamilies(svc)
	return nil
}

// staysPreferDualStack tells that an update leaves alone everything that families depend on. Such a Service is not given a
// second address, nor loses one, only because the cluster has changed since.
func staysPreferDualStack(svc, old *api.Service) bool {
	const prefer = api.IPFamilyPolicyPreferDualStack
	return old != nil && svc.Spec.Type == old.Spec.Type &&
		svc.Spec.IPFamilyPolicy != nil && *svc.Spec.IPFamilyPolicy == prefer &&
		(old.Spec.IPFamilyPolicy == nil || *old.Spec.IPFamilyPolicy == prefer) &&
		(svc.Spec.Type == api.ServiceTypeClusterIP || mayHaveNodePorts(svc)) &&
		sameIPs(svc, old) && sameFamilies(svc, old)
}

// defaultPolicy never changes how many families a Service has unless it is told to.
func defaultPolicy(svc, old *api.Service) *api.IPFamilyPolicy {
	policy := api.IPFamilyPolicySingleStack
	switch {
	case old != nil && old.Spec.IPFamilyPolicy != nil:
		policy = *old.Spec.IPFamilyPolicy
	case isHeadless(svc) && len(svc.Spec.Selector) == 0:
		policy = api.IPFamilyPolicyRequireDualStack
	}
	return &policy
}

// dropSecond takes the second address and family off a Service that is told to be single-stack and left them as they were. To
// leave them out without saying so is an error.
func dropSecond(svc, old *api.Service) field.ErrorList {
	if old == nil {
		return nil
	}
	spec := &svc.Spec
	if *spec.IPFamilyPolicy == api.IPFamilyPolicySingleStack {
		if sameIPs(svc, old) && len(spec.ClusterIPs) > 1 {
			spec.ClusterIPs = slices.Clone(spec.ClusterIPs[:1])
		}
		if sameFamilies(svc, old) && len(spec.IPFamilies) > 1 {
			spec.IPFamilies = slices.Clone(spec.IPFamilies[:1])
		}
		return nil
	}
	var errs field.ErrorList
	if n := len(spec.ClusterIPs); n != 0 && n < len(old.Spec.ClusterIPs) {
		errs = append(errs, field.Invalid(policyPath, spec.IPFamilyPolicy, "must be 'SingleStack' to release the secondary cluster IP"))
	}
	if n := len(spec.IPFamilies); n != 0 && n < len(old.Spec.IPFamilies) {
		errs = append(errs, field.Invalid(policyPath, spec.IPFamilyPolicy, "must be 'SingleStack' to release the secondary IP family"))
	}
	return errs
}

func tooManyForSingleStack(svc *api.Service) field.ErrorList {
	if *svc.Spec.IPFamilyPolicy != api.IPFamilyPolicySingleStack {
		return nil
	}
	const text = "must be 'RequireDualStack' or 'PreferDualStack' when multiple %s are specified"
	var errs field.ErrorList
	if len(svc.Spec.ClusterIPs) == 2 {
		errs = append(errs, field.Invalid(policyPath, svc.Spec.IPFamilyPolicy, fmt.Sprintf(text, "cluster IPs")))
	}
	if len(svc.Spec.IPFamilies) == 2 {
		errs = append(errs, field.Invalid(policyPath, svc.Spec.IPFamilyPolicy, fmt.Sprintf(text, "IP families")))
	}
	return errs
}

// inferFamilies appends the families of the addresses that are asked for. Those that are given have been validated to fit.
func (a *Allocator) inferFamilies(svc *api.Service) field.ErrorList {
	var errs field.ErrorList
	for i, ip := range svc.Spec.ClusterIPs {
		if ip == api.ClusterIPNone {
			break
		}
		if i < len(svc.Spec.IPFamilies) {
			continue
		}
		family := familyOfString(ip)
		if !slices.Contains(a.families, family) {
			errs = append(errs, field.Invalid(ipsPath.Index(i), svc.Spec.ClusterIPs,
				fmt.Sprintf("%s is not configured on this cluster", family)))
			continue
		}
		svc.Spec.IPFamilies = append(svc.Spec.IPFamilies, family)
	}
	return errs
}

// notConfigured are the errors of families that the cluster does not have.
func (a *Allocator) notConfigured(svc *api.Service) field.ErrorList {
	var errs field.ErrorList
	if *svc.Spec.IPFamilyPolicy == api.IPFamilyPolicyRequireDualStack && len(a.families) < 2 {
		errs = append(errs, field.Invalid(policyPath, svc.Spec.IPFamilyPolicy,
			"this cluster is not configured for dual-stack services"))
	}
	for i, family := range svc.Spec.IPFamilies {
		if !slices.Contains(a.families, family) {
			errs = append(errs, field.Invalid(familiesPath.Index(i), family, "not configured on this cluster"))
		}
	}
	return errs
}

// completeFamilies appends the families that a Service does not name: first the default, then the other if it may have two.
func (a *Allocator) completeFamilies(svc *api.Service) {
	spec := &svc.Spec
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []api.IPFamily{a.families[0]}
	}
	if len(spec.IPFamilies) == 1 && *spec.IPFamilyPolicy != api.IPFamilyPolicySingleStack {
		spec.IPFamilies = append(spec.IPFamilies, otherFamily(spec.IPFamilies[0]))
	}
}

func isHeadless(svc *api.Service) bool { return svc.Spec.ClusterIP == api.ClusterIPNone }

func sameIPs(a, b *api.Service) bool      { return slices.Equal(a.Spec.ClusterIPs, b.Spec.ClusterIPs) }
func sameFamilies(a, b *api.Service) bool { return slices.Equal(a.Spec.IPFamilies, b.Spec.IPFamilies) }

func otherFamily(family api.IPFamily) api.IPFamily {
	if family == api.IPv4Protocol {
		return api.IPv6Protocol
	}
	return api.IPv4Protocol
}

func familyOf(address netip.Addr) api.IPFamily {
	if address.Is4() {
		return api.IPv4Protocol
	}
	return api.IPv6Protocol
}

func familyOfString(ip string) api.IPFamily {
	if netutils.IsIPv6String(ip) {
		return api.IPv6Protocol
	}
	return api.IPv4Protocol
}
