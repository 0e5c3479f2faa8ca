package kayak_test

import (
	"net/netip"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kayak-k8s/kayak"
)

func prefixes(list ...string) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, s := range list {
		prefixes = append(prefixes, netip.MustParsePrefix(s))
	}
	return prefixes
}

func TestNetworkConfig(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		config kayak.Config
		want   string
	}{
		{"default", kayak.Config{}, ""},
		{"two families", kayak.Config{ServiceClusterIPRange: prefixes("10.0.0.0/24", "fd00::/108")}, ""},
		{"smallest range", kayak.Config{ServiceClusterIPRange: prefixes("10.0.0.0/29")}, ""},
		{"too small", kayak.Config{ServiceClusterIPRange: prefixes("10.0.0.0/30")},
			"the service cluster IP range must be at least 8 IP addresses"},
		{"one family twice", kayak.Config{ServiceClusterIPRange: prefixes("10.0.0.0/24", "10.1.0.0/24")},
			"--service-cluster-ip-range[0] and --service-cluster-ip-range[1] must be of different IP family"},
		{"three ranges", kayak.Config{ServiceClusterIPRange: prefixes("10.0.0.0/24", "fd00::/108", "10.1.0.0/24")},
			"--service-cluster-ip-range must not contain more than two entries"},
		{"loopback", kayak.Config{AdvertiseAddress: "127.0.0.1"}, "cannot use public IP 127.0.0.1 with endpoint reconciler: " +
			`<nil>: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)`},
		{"no endpoints", kayak.Config{AdvertiseAddress: "127.0.0.1", EndpointReconcilerType: "none"}, ""},
		{"another family", kayak.Config{AdvertiseAddress: "2001:db8::1"},
			`service IP family "10.0.0.0/24" must match public address family "2001:db8::1"`},
		{"not an address", kayak.Config{AdvertiseAddress: "localhost"}, `advertise address "localhost" is not an IP address`},
		{"reconciler", kayak.Config{EndpointReconcilerType: "other"}, "endpoint reconciler not implemented: other"},
		{"master-count", kayak.Config{EndpointReconcilerType: "master-count"},
			"the endpoint reconciler master-count, which is deprecated, is not supported: use lease"},
		{"node port out of range", kayak.Config{KubernetesServiceNodePort: 443}, "kubernetes service node port range 30000-32767 " +
			"doesn't contain 443"},
		{"node port", kayak.Config{KubernetesServiceNodePort: 65536}, "--kubernetes-service-node-port 65536 must be between " +
			"0 and 65535, inclusive. If 0, the Kubernetes master service will be of type ClusterIP"},
	} {
		_, err := kayak.New(test.config)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// A server that is ready has the Service kubernetes, with itself behind it.
func TestKubernetesService(t *testing.T) {
	t.Parallel()
	server := start(t, kayak.Config{AdvertiseAddress: "192.0.2.7", ServiceClusterIPRange: prefixes("10.96.0.0/16")})
	core := client(t, server.RESTConfig()).CoreV1()
	service, err := core.Services("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if service.Spec.ClusterIP != "10.96.0.1" {
		t.Errorf("the Service has the address %s", service.Spec.ClusterIP)
	}
	discovery := client(t, server.RESTConfig()).DiscoveryV1()
	slice, err := discovery.EndpointSlices("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(slice.Endpoints) != 1 || !slices.Equal(slice.Endpoints[0].Addresses, []string{"192.0.2.7"}) ||
		*slice.Ports[0].Port != service.Spec.Ports[0].TargetPort.IntVal {
		t.Errorf("the EndpointSlice is %v", slice)
	}
}
