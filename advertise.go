package kayak

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

// advertised is the address that goes into the endpoints of the Service "kubernetes". One that was asked for must be usable. Of
// the others, the address of the machine is taken where upstream takes it: for a server that listens on all addresses, or only
// on loopback, which endpoints must not name. A machine that has none of the family of Services still can run a server (not so
// upstream); it then has no endpoints.
func (c *Config) advertised() (netip.Addr, error) {
	services := c.ServiceClusterIPRange[0]
	if port := c.KubernetesServiceNodePort; port < 0 || port > 65535 {
		return netip.Addr{}, fmt.Errorf("--kubernetes-service-node-port %v must be between 0 and 65535, inclusive. "+
			"If 0, the Kubernetes master service will be of type ClusterIP", port)
	} else if port > 0 && !c.ServiceNodePortRange.Contains(port) {
		return netip.Addr{}, fmt.Errorf("kubernetes service node port range %v doesn't contain %v", c.ServiceNodePortRange, port)
	}
	switch c.EndpointReconcilerType {
	case "lease":
	case "none":
		return netip.Addr{}, nil
	case "master-count":
		return netip.Addr{}, errors.New("the endpoint reconciler master-count, which is deprecated, is not supported: use lease")
	default:
		return netip.Addr{}, fmt.Errorf("endpoint reconciler not implemented: %v", c.EndpointReconcilerType)
	}
	if c.AdvertiseAddress != "" {
		address, err := netip.ParseAddr(c.AdvertiseAddress)
		if err != nil {
			return address, fmt.Errorf("advertise address %q is not an IP address", c.AdvertiseAddress)
		}
		if !address.IsUnspecified() {
			return address.Unmap(), usableEndpoint(address.Unmap(), services)
		}
	}
	address, err := netip.ParseAddr(c.BindAddress)
	if err != nil {
		return address, fmt.Errorf("bind address %q is not an IP address", c.BindAddress)
	}
	if address = address.Unmap(); address.IsUnspecified() || address.IsLoopback() {
		address = machineAddress(services)
	}
	if usableEndpoint(address, services) != nil {
		return netip.Addr{}, nil
	}
	return address, nil
}

// usableEndpoint says what keeps an address from being an endpoint, in upstream's words.
func usableEndpoint(address netip.Addr, services netip.Prefix) error {
	if err := validation.ValidateEndpointIP(address.String(), nil).ToAggregate(); err != nil {
		return fmt.Errorf("cannot use public IP %s with endpoint reconciler: %w", address, err)
	}
	if address.Is4() != services.Addr().Is4() {
		return fmt.Errorf("service IP family %q must match public address family %q", services, address)
	}
	return nil
}

// machineAddress is the address of the default route's interface, if possible of the family of Services; the zero Addr when
// there is none.
func machineAddress(services netip.Prefix) netip.Addr {
	family := net.IPv4zero
	if services.Addr().Is6() {
		family = net.IPv6zero
	}
	ip, err := utilnet.ResolveBindAddress(family)
	if err != nil {
		return netip.Addr{}
	}
	address, _ := netip.AddrFromSlice(ip)
	return address.Unmap()
}
