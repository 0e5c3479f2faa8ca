package services

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/networking"
)

// addressGrace is for how long an IPAddress may be there without its Service: that is how long a request can take.
const addressGrace = 60 * time.Second

const (
	actionClusterIP = "ClusterIPAllocation"
	actionIPAddress = "IPAddressAllocation"
)

// addressRepair is one round over all Services and IPAddresses.
type addressRepair struct {
	*Repair
	services  map[string]*api.Service          // by namespace and name
	addresses map[string]*networking.IPAddress // by name
	ranges    []cidr
}

func (r *Repair) repairAddresses(ctx context.Context) error {
	snapshot, err := r.Objects.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("unable to refresh the service IP block: %w", err)
	}
	round := newAddressRepair(r, snapshot)
	var errs []error
	for _, svc := range snapshot.Services {
		for _, ip := range clusterIPs(svc) {
			errs = append(errs, round.checkClusterIP(ctx, svc, ip))
		}
	}
	for _, object := range snapshot.IPAddresses {
		errs = append(errs, round.checkAddress(ctx, object))
	}
	return errors.Join(errs...)
}

func newAddressRepair(r *Repair, snapshot *Snapshot) *addressRepair {
	round := &addressRepair{Repair: r, services: map[string]*api.Service{}, addresses: map[string]*networking.IPAddress{}}
	for _, svc := range snapshot.Services {
		round.services[svc.Namespace+"/"+svc.Name] = svc
	}
	for _, object := range snapshot.IPAddresses {
		round.addresses[object.Name] = object
	}
	for _, object := range snapshot.ServiceCIDRs {
		for _, text := range object.Spec.CIDRs {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				round.ranges = append(round.ranges, cidr{prefix: prefix.Masked()})
			}
		}
	}
	return round
}

// parent returns the Service that an IPAddress names, or nil.
func (r *addressRepair) parent(object *networking.IPAddress) *api.Service {
	return r.services[object.Spec.ParentRef.Namespace+"/"+object.Spec.ParentRef.Name]
}

// checkClusterIP sees to it that an address that a Service has is taken for it.
func (r *addressRepair) checkClusterIP(ctx context.Context, svc *api.Service, ip string) error {
	log := r.Logger.With("service", svc.Namespace+"/"+svc.Name, "clusterIP", ip)
	address, ok := parseIP(ip)
	if !ok {
		r.event(ctx, svc, "ClusterIPNotValid", "ClusterIPValidation",
			fmt.Sprintf("Cluster IP %s is not a valid IP; please recreate Service", ip))
		log.Error(fmt.Sprintf("the ClusterIP %s for Service %s/%s is not a valid IP; please recreate Service",
			ip, svc.Namespace, svc.Name))
		return nil
	}
	family := familyOf(address)
	if !slices.ContainsFunc(r.ranges, func(c cidr) bool { return c.contains(address) }) {
		r.event(ctx, svc, "ClusterIPOutOfRange", actionClusterIP,
			fmt.Sprintf("Cluster IP [%v]: %s is not within any configured Service CIDR; please recreate service", family, address))
		log.Error(fmt.Sprintf("the ClusterIP [%v]: %s for Service %s/%s is not within any service CIDR; please recreate",
			family, address, svc.Namespace, svc.Name))
		return nil
	}
	object := r.addresses[address.String()]
	switch {
	case object == nil:
		r.event(ctx, svc, "ClusterIPNotAllocated", actionClusterIP,
			fmt.Sprintf("Cluster IP [%v]: %s is not allocated; repairing", family, address))
		log.Error(fmt.Sprintf("the ClusterIP [%v]: %s for Service %s/%s is not allocated; repairing",
			family, address, svc.Namespace, svc.Name))
		return r.create(ctx, address, svc)
	case !isOfService(object), !refersTo(object, svc) && r.parent(object) == nil:
		text := fmt.Sprintf("the ClusterIP [%v]: %s for Service %s/%s has a wrong reference; repairing",
			family, address, svc.Namespace, svc.Name)
		r.event(ctx, svc, "ClusterIPNotAllocated", actionClusterIP, text)
		log.Error(text)
		return r.recreate(ctx, object, address, svc)
	case !refersTo(object, svc):
		if other := r.parent(object); slices.Contains(clusterIPs(other), object.Name) {
			r.event(ctx, svc, "ClusterIPAlreadyAllocated", actionClusterIP,
				fmt.Sprintf("Cluster IP [%v]:%s was assigned to multiple services; please recreate service", family, address))
			log.Error(fmt.Sprintf("the cluster IP [%v]:%s for service %s/%s was assigned to other services %s/%s; please recreate",
				family, address, svc.Namespace, svc.Name, other.Namespace, other.Name))
		}
	case object.Labels[networkingv1.LabelManagedBy] != managedBy,
		object.Labels[networkingv1.LabelIPAddressFamily] != string(family):
		return r.recreate(ctx, object, address, svc)
	}
	return nil
}

func (r *addressRepair) create(ctx context.Context, address netip.Addr, svc *api.Service) error {
	object := newIPAddress(address, svc)
	r.addresses[object.Name] = object
	err := r.Objects.CreateIPAddress(ctx, object.DeepCopy())
	if apierrors.IsAlreadyExists(err) {
		return nil // another server was faster, or the next round sees what is wrong with it
	}
	return err
}

func (r *addressRepair) recreate(ctx context.Context, object *networking.IPAddress, address netip.Addr, svc *api.Service) error {
	if err := r.remove(ctx, object); err != nil {
		return err
	}
	return r.create(ctx, address, svc)
}

// remove deletes an IPAddress as it was seen; if it has changed, the next round looks again.
func (r *addressRepair) remove(ctx context.Context, object *networking.IPAddress) error {
	delete(r.addresses, object.Name)
	err := r.Objects.DeleteIPAddress(ctx, object)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// checkAddress removes an IPAddress that was made for a Service which does not have it.
func (r *addressRepair) checkAddress(ctx context.Context, object *networking.IPAddress) error {
	if object.Labels[networkingv1.LabelManagedBy] != managedBy || r.addresses[object.Name] != object {
		return nil // not made for a Service, or already replaced
	}
	log := r.Logger.With("ipAddress", object.Name)
	if !isOfService(object) {
		text := fmt.Sprintf("IPAddress %s appears to have been modified, not referencing a Service %v: cleaning up",
			object.Name, object.Spec.ParentRef)
		r.event(ctx, object, "IPAddressNotAllocated", actionIPAddress, text)
		log.Warn(text)
		return r.remove(ctx, object)
	}
	svc, ref := r.parent(object), object.Spec.ParentRef
	if svc != nil && slices.ContainsFunc(clusterIPs(svc), func(ip string) bool { return isAddress(ip, object.Name) }) {
		return nil
	}
	if r.now().Sub(object.CreationTimestamp.Time) <= addressGrace {
		return nil // its Service may be about to be written
	}
	if svc == nil {
		r.event(ctx, object, "IPAddressNotAllocated", actionIPAddress,
			fmt.Sprintf("IPAddress: %s for Service %s/%s appears to have leaked: cleaning up", object.Name, ref.Namespace, ref.Name))
		log.Warn(fmt.Sprintf("IPAddress %s appears to have leaked: cleaning up", object.Name))
		return r.remove(ctx, object)
	}
	r.event(ctx, object, "IPAddressWrongReference", actionIPAddress,
		fmt.Sprintf("IPAddress: %s for Service %s/%s has a wrong reference; cleaning up", object.Name, svc.Namespace, svc.Name))
	log.Warn(fmt.Sprintf("the IPAddress: %s for Service %s/%s has a wrong reference; cleaning up",
		object.Name, svc.Name, svc.Namespace))
	return r.remove(ctx, object)
}

// isAddress tells whether a cluster IP, in whatever spelling, is the address of that name.
func isAddress(ip, name string) bool {
	address, ok := parseIP(ip)
	return ok && address.String() == name
}
