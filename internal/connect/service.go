package connect

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	utilendpoints "k8s.io/apiserver/pkg/util/proxy"
	core "k8s.io/kubernetes/pkg/apis/core"
	discoveryconversion "k8s.io/kubernetes/pkg/apis/discovery/v1"
)

// serviceLocation picks a ready endpoint of a service that is a pod: "name:port", where port is the name or the number of one
// of the service's ports. What it answers is as pkg/registry/core/service/storage/storage.go has it.
func (c *Connections) serviceLocation(ctx context.Context, id string) (*url.URL, http.RoundTripper, error) {
	scheme, name, port, valid := utilnet.SplitSchemeNamePort(id)
	if !valid {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("invalid service request %q", id))
	}
	if number, err := strconv.ParseInt(port, 10, 64); err == nil {
		if port, err = c.portName(ctx, name, number); err != nil {
			return nil, nil, err
		}
	}
	endpoints, err := c.endpointSlices(ctx, name)
	if err != nil {
		return nil, nil, apierrors.NewInternalError(err)
	}
	host, err := utilendpoints.RandomEndpoint(name, endpoints, port, c.options.IPFamily, func(e *discoveryv1.Endpoint) bool {
		return c.isPod(ctx, e)
	})
	if err != nil {
		return nil, nil, err
	}
	location := &url.URL{Scheme: scheme, Host: host}
	return location, c.direct, c.dialer.allow(ctx, location)
}

// portName returns the name of the service's port with a number.
func (c *Connections) portName(ctx context.Context, name string, number int64) (string, error) {
	obj, err := c.options.Services.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	service, ok := obj.(*core.Service)
	if !ok {
		return "", fmt.Errorf("not a service: %T", obj)
	}
	i := slices.IndexFunc(service.Spec.Ports, func(p core.ServicePort) bool { return int64(p.Port) == number })
	if i < 0 {
		return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", number, name))
	}
	return service.Spec.Ports[i].Name, nil
}

// endpointSlices returns the service's slices in the version that RandomEndpoint knows.
func (c *Connections) endpointSlices(ctx context.Context, service string) ([]*discoveryv1.EndpointSlice, error) {
	found, err := c.options.EndpointSlices(ctx, service)
	if err != nil {
		return nil, err
	}
	converted := make([]*discoveryv1.EndpointSlice, len(found))
	for i := range found {
		converted[i] = &discoveryv1.EndpointSlice{}
		if err := discoveryconversion.Convert_discovery_EndpointSlice_To_v1_EndpointSlice(found[i], converted[i], nil); err != nil {
			return nil, err
		}
	}
	return converted, nil
}

// isPod reports whether the address of an endpoint is that of the pod it refers to, in the service's namespace. Otherwise who
// may write endpoints could have the server connect to anything.
func (c *Connections) isPod(ctx context.Context, endpoint *discoveryv1.Endpoint) bool {
	ref := endpoint.TargetRef
	if ref == nil || ref.Namespace != genericrequest.NamespaceValue(ctx) || len(endpoint.Addresses) == 0 {
		return false
	}
	obj, err := c.options.Pods.Get(ctx, ref.Name, &metav1.GetOptions{})
	if err != nil {
		return false
	}
	pod, ok := obj.(*core.Pod)
	return ok && slices.ContainsFunc(pod.Status.PodIPs, func(ip core.PodIP) bool { return ip.IP == endpoint.Addresses[0] })
}
