package services

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/networking"
	netutils "k8s.io/utils/net"
)

// These are upstream's errors (pkg/registry/core/service/ipallocator/interfaces.go).
var (
	errFull     = errors.New("range is full")
	errTaken    = errors.New("provided IP is already allocated")
	errNoRange  = errors.New("the provided network does not match the current range")
	errNotReady = errors.New("allocator not ready")
)

// managedBy is the value of the label of every IPAddress that is made for a Service.
const managedBy = "ipallocator.k8s.io"

// clusterIPs takes the addresses that the Service needs and does not have, and finds those that it no longer needs.
func (w *write) clusterIPs(ctx context.Context, old *api.Service) error {
	svc := w.svc
	if svc.Spec.Type == api.ServiceTypeExternalName {
		if old != nil {
			w.unneeded = slices.Clone(clusterIPs(old))
		}
		return nil
	}
	if old == nil || old.Spec.Type == api.ServiceTypeExternalName {
		if len(svc.Spec.ClusterIPs) > 0 && svc.Spec.ClusterIPs[0] == api.ClusterIPNone {
			return nil
		}
		return w.takeFrom(ctx, 0)
	}
	if staysPreferDualStack(svc, old) || slices.Contains(old.Spec.ClusterIPs, api.ClusterIPNone) {
		return nil
	}
	before, now := len(old.Spec.IPFamilies), len(svc.Spec.IPFamilies)
	switch {
	case before == 1 && now == 2:
		return w.takeFrom(ctx, 1)
	case before == 2 && now == 1 && len(old.Spec.ClusterIPs) == 2:
		w.unneeded = slices.Clone(old.Spec.ClusterIPs[1:])
	}
	return nil
}

// takeFrom takes an address for each family from the given one on, and fills it in.
func (w *write) takeFrom(ctx context.Context, first int) error {
	spec := &w.svc.Spec
	spec.ClusterIPs = slices.Clone(spec.ClusterIPs)
	for len(spec.ClusterIPs) < len(spec.IPFamilies) {
		spec.ClusterIPs = append(spec.ClusterIPs, "")
	}
	// Messages show what was asked for, not what has been found by then.
	result := slices.Clone(spec.ClusterIPs)
	for i := first; i < len(spec.IPFamilies); i++ {
		var err error
		if asked := spec.ClusterIPs[i]; asked != "" {
			err = w.takeCertain(ctx, spec.IPFamilies[i], asked)
		} else {
			result[i], err = w.takeAny(ctx, spec.IPFamilies[i])
		}
		if err != nil {
			return err
		}
	}
	spec.ClusterIPs = result
	if first == 0 && len(result) > 0 {
		spec.ClusterIP = result[0]
	}
	return nil
}

// takeCertain takes an address that is asked for.
func (w *write) takeCertain(ctx context.Context, family api.IPFamily, ip string) error {
	address, ok := parseIP(ip)
	if !ok {
		return apierrors.NewInternalError(fmt.Errorf("failed to parse service IP %q", ip))
	}
	ranges, err := w.cidrs(ctx, family)
	if err == nil {
		err = w.inRange(ranges, address)
	}
	if err == nil {
		err = w.take(ctx, address)
	}
	if err != nil {
		return invalid(w.svc, field.Invalid(ipsPath, w.svc.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %v: %v", ip, err)))
	}
	return nil
}

// inRange checks that an address is of a range from which addresses may be taken. In a dry run upstream asks any one range,
// in other words.
func (w *write) inRange(ranges []cidr, address netip.Addr) error {
	if slices.ContainsFunc(ranges, func(c cidr) bool { return c.ready && c.contains(address) }) {
		return nil
	}
	if !w.dryRun {
		return errNoRange
	}
	if i := slices.IndexFunc(ranges, func(c cidr) bool { return c.ready }); i >= 0 {
		return fmt.Errorf("the provided IP (%v) is not in the valid range. The range of valid IPs is %s", address, ranges[i].prefix)
	}
	return errNotReady
}

// takeAny takes an address of a family, whichever is free. In a dry run it is, as upstream's, the address of a network.
func (w *write) takeAny(ctx context.Context, family api.IPFamily) (string, error) {
	ranges, err := w.cidrs(ctx, family)
	if err == nil {
		ranges = slices.DeleteFunc(ranges, func(c cidr) bool { return !c.ready })
		rand.Shuffle(len(ranges), func(i, j int) { ranges[i], ranges[j] = ranges[j], ranges[i] })
		if w.dryRun {
			if len(ranges) > 0 {
				return ranges[0].prefix.Addr().String(), nil
			}
			err = errNotReady
		}
	}
	for _, c := range ranges {
		if err != nil {
			break
		}
		var address netip.Addr
		if address, err = w.takeFree(ctx, c); err == nil && address.IsValid() {
			return address.String(), nil
		}
	}
	if err != nil {
		return "", invalid(w.svc, field.Invalid(ipsPath, w.svc.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP: %v", err)))
	}
	return "", apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP for Service %q: %w", w.svc.Name, errFull))
}

// takeFree takes a free address of a range; there is none when what it returns is not valid. Whether one is free is known only
// when it is taken: somebody else may be faster.
func (w *write) takeFree(ctx context.Context, c cidr) (netip.Addr, error) {
	for address := range c.candidates() {
		if err := ctx.Err(); err != nil {
			return netip.Addr{}, err
		}
		if w.objects.HasIPAddress(address.String()) {
			continue
		}
		err := w.take(ctx, address)
		if !errors.Is(err, errTaken) {
			return address, err
		}
	}
	return netip.Addr{}, nil
}

// take takes an address for the Service of this write.
func (w *write) take(ctx context.Context, address netip.Addr) error {
	if w.dryRun {
		return nil
	}
	err := w.objects.CreateIPAddress(ctx, newIPAddress(address, w.svc))
	if apierrors.IsAlreadyExists(err) {
		return errTaken
	}
	if err == nil {
		w.taken = append(w.taken, address.String())
	}
	return err
}

// release gives an address back, if it is the Service's. When that fails, Repair does it later.
func (a *Allocator) release(ctx context.Context, svc *api.Service, ip string) {
	err := a.tryRelease(ctx, svc, ip)
	if err != nil && !apierrors.IsNotFound(err) {
		a.logger.Warn("cannot release a cluster IP", "service", svc.Namespace+"/"+svc.Name, "clusterIP", ip, "error", err)
	}
}

func (a *Allocator) tryRelease(ctx context.Context, svc *api.Service, ip string) error {
	address, ok := parseIP(ip)
	if !ok {
		return fmt.Errorf("failed to parse service IP %q", ip)
	}
	for {
		object, err := a.objects.GetIPAddress(ctx, address.String())
		if err != nil || !refersTo(object, svc) {
			return err
		}
		if err := a.objects.DeleteIPAddress(ctx, object); !apierrors.IsConflict(err) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// parseIP reads an address as validation does, which lets old ones with leading zeros pass.
func parseIP(ip string) (netip.Addr, bool) {
	address, ok := netip.AddrFromSlice(netutils.ParseIPSloppy(ip))
	return address.Unmap(), ok
}

func newIPAddress(address netip.Addr, svc *api.Service) *networking.IPAddress {
	return &networking.IPAddress{
		ObjectMeta: metav1.ObjectMeta{
			Name: address.String(),
			Labels: map[string]string{
				networkingv1.LabelIPAddressFamily: string(familyOf(address)),
				networkingv1.LabelManagedBy:       managedBy,
			},
		},
		Spec: networking.IPAddressSpec{ParentRef: &networking.ParentReference{
			Resource: "services", Namespace: svc.Namespace, Name: svc.Name,
		}},
	}
}

func isOfService(object *networking.IPAddress) bool {
	ref := object.Spec.ParentRef
	return ref != nil && ref.Group == "" && ref.Resource == "services"
}

func refersTo(object *networking.IPAddress, svc *api.Service) bool {
	ref := object.Spec.ParentRef
	return isOfService(object) && ref.Namespace == svc.Namespace && ref.Name == svc.Name
}
