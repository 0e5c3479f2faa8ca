package controllers

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/discovery"
	"k8s.io/utils/ptr"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
)

// syncEndpoints gives the Endpoints, then the EndpointSlice, the addresses of the leases.
func (c *KubernetesService) syncEndpoints(ctx context.Context, snapshot *state.Snapshot, ports bool) error {
	addresses, err := c.leases().list(snapshot)
	if err != nil {
		return err
	}
	if len(addresses) == 0 && !c.leaving {
		// This server has just renewed its lease, so something is wrong with what was read.
		return errors.New("no API server IP addresses were listed in storage, refusing to erase all endpoints for the kubernetes Service")
	}
	obj, err := c.object(snapshot, c.Endpoints)
	if err != nil {
		return err
	}
	existing, _ := obj.(*api.Endpoints)
	if existing == nil && c.leaving {
		return nil
	}
	wanted := c.endpoints(existing, addresses, ports && len(addresses) == 1)
	switch {
	case existing == nil:
		c.Logger.Info("resetting the endpoints of the kubernetes service", "addresses", addresses)
		err = c.create(ctx, c.Endpoints, wanted.DeepCopy())
	case !equality.Semantic.DeepEqual(existing, wanted):
		c.Logger.Info("resetting the endpoints of the kubernetes service", "addresses", addresses)
		err = c.update(ctx, c.Endpoints, wanted)
	}
	if err != nil {
		return err
	}
	return c.syncSlice(ctx, snapshot, endpointSlice(wanted))
}

// endpoints returns what the Endpoints should be. One subset is left as it is as far as it has the right addresses.
func (c *KubernetesService) endpoints(existing *api.Endpoints, addresses []string, ports bool) *api.Endpoints {
	wanted := &api.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: kubernetesServiceName, Namespace: metav1.NamespaceDefault}}
	if existing != nil {
		wanted = existing.DeepCopy()
	}
	if wanted.Labels == nil {
		wanted.Labels = map[string]string{}
	}
	wanted.Labels[discoveryv1.LabelSkipMirror] = "true" // the slice is kept here, not by the controller manager
	portList := []api.EndpointPort{{Name: "https", Protocol: api.ProtocolTCP, Port: int32(c.Port)}}
	if len(wanted.Subsets) != 1 {
		wanted.Subsets = []api.EndpointSubset{{Ports: portList}}
	}
	subset := &wanted.Subsets[0]
	if !sameAddresses(subset.Addresses, addresses) {
		subset.Addresses = nil
		for _, ip := range slices.Compact(slices.Sorted(slices.Values(addresses))) {
			subset.Addresses = append(subset.Addresses, api.EndpointAddress{IP: ip})
		}
	}
	if ports {
		subset.Ports = portList
	}
	if len(subset.Addresses) == 0 && len(subset.NotReadyAddresses) == 0 {
		wanted.Subsets = nil // a subset of nobody is not valid
	}
	return wanted
}

// sameAddresses compares without regard to the order.
func sameAddresses(have []api.EndpointAddress, want []string) bool {
	var ips []string
	for _, address := range have {
		ips = append(ips, address.IP)
	}
	slices.Sort(ips)
	return slices.Equal(ips, slices.Sorted(slices.Values(want)))
}

// syncSlice makes the EndpointSlice what it should be.
func (c *KubernetesService) syncSlice(ctx context.Context, snapshot *state.Snapshot, wanted *discovery.EndpointSlice) error {
	obj, err := c.object(snapshot, c.EndpointSlices)
	if err != nil {
		return err
	}
	existing, _ := obj.(*discovery.EndpointSlice)
	switch {
	case existing == nil:
		return c.create(ctx, c.EndpointSlices, wanted)
	case existing.AddressType != wanted.AddressType: // which cannot be changed
		_, _, err := c.API.DeleteObject(ctx, c.EndpointSlices, metav1.NamespaceDefault, kubernetesServiceName, &metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		return c.create(ctx, c.EndpointSlices, wanted)
	case equality.Semantic.DeepEqual(existing.Endpoints, wanted.Endpoints) &&
		equality.Semantic.DeepEqual(existing.Ports, wanted.Ports) &&
		equality.Semantic.DeepEqual(existing.Labels, wanted.Labels):
		return nil
	}
	wanted.ResourceVersion = existing.ResourceVersion
	return c.update(ctx, c.EndpointSlices, wanted)
}

// endpointSlice returns the slice that says what the Endpoints say: addresses of one family, IPv4 unless all are IPv6.
func endpointSlice(endpoints *api.Endpoints) *discovery.EndpointSlice {
	slice := &discovery.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: endpoints.Name, Namespace: endpoints.Namespace,
			Labels: map[string]string{discoveryv1.LabelServiceName: endpoints.Name},
		},
		AddressType: discovery.AddressTypeIPv4,
	}
	if len(endpoints.Subsets) == 0 {
		return slice
	}
	subset := endpoints.Subsets[0]
	for _, port := range subset.Ports {
		slice.Ports = append(slice.Ports, discovery.EndpointPort{
			Name: ptr.To(port.Name), Protocol: ptr.To(corev1.Protocol(port.Protocol)), Port: ptr.To(port.Port),
		})
	}
	if !slices.ContainsFunc(slices.Concat(subset.Addresses, subset.NotReadyAddresses), isIPv4) {
		slice.AddressType = discovery.AddressTypeIPv6
	}
	add := func(addresses []api.EndpointAddress, ready bool) {
		for _, address := range addresses {
			if isIPv4(address) == (slice.AddressType == discovery.AddressTypeIPv4) {
				slice.Endpoints = append(slice.Endpoints, discovery.Endpoint{
					Addresses: []string{address.IP}, Conditions: discovery.EndpointConditions{Ready: ptr.To(ready)},
					TargetRef: address.TargetRef, NodeName: address.NodeName,
				})
			}
		}
	}
	add(subset.Addresses, true)
	add(subset.NotReadyAddresses, false)
	return slice
}

func isIPv4(address api.EndpointAddress) bool {
	ip, err := netip.ParseAddr(address.IP)
	return err == nil && ip.Unmap().Is4()
}

// create creates an object of the Service's name; if another server was faster, that is as good.
func (c *KubernetesService) create(ctx context.Context, r *kind.Resource, obj runtime.Object) error {
	options := &metav1.CreateOptions{FieldManager: asKubeAPIServer}
	_, err := c.API.CreateObjectWith(ctx, r, metav1.NamespaceDefault, obj, options)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// update replaces the object of the Service's name; a Conflict when it is not any more what wanted was made from.
func (c *KubernetesService) update(ctx context.Context, r *kind.Resource, wanted runtime.Object) error {
	options := &metav1.UpdateOptions{FieldManager: asKubeAPIServer}
	_, err := c.API.UpdateObject(ctx, r, "", metav1.NamespaceDefault, kubernetesServiceName, options,
		func(runtime.Object) (runtime.Object, error) { return wanted.DeepCopyObject(), nil })
	return err
}
