package connect

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/transport"
	core "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/kubelet/client"
)

// kubelets knows how to reach the kubelet of a node. It is upstream's client.ConnectionInfoGetter.
type kubelets struct {
	nodes        Getter
	addressTypes []string
	port         int
	// verifying checks the kubelet's certificate; trusting does not, for logs that are asked for in spite of it.
	verifying, trusting *http.Transport
}

func newKubelets(config Kubelet, nodes Getter, dialer *dialer) (*kubelets, error) {
	k := &kubelets{nodes: nodes, addressTypes: config.AddressTypes, port: config.Port}
	if len(k.addressTypes) == 0 {
		k.addressTypes = []string{string(core.NodeHostName), string(core.NodeInternalDNS), string(core.NodeInternalIP),
			string(core.NodeExternalDNS), string(core.NodeExternalIP)}
	}
	if k.port == 0 {
		k.port = 10250
	}
	verifying, err := kubeletTLS(config, config.CAFile)
	if err != nil {
		return nil, err
	}
	trusting, err := kubeletTLS(config, "")
	if err != nil {
		return nil, err
	}
	k.verifying, k.trusting = newTransport(dialer, verifying), newTransport(dialer, trusting)
	return k, nil
}

// kubeletTLS returns a TLS configuration that trusts the authorities in a file, or everybody without one.
func kubeletTLS(config Kubelet, caFile string) (*tls.Config, error) {
	return transport.TLSConfigFor(&transport.Config{TLS: transport.TLSConfig{
		CAFile: caFile, Insecure: caFile == "",
		CertFile: config.CertFile, KeyFile: config.KeyFile, ReloadTLSFiles: true,
	}})
}

// unverified is for what is reached by its IP address: there is no name that a certificate could be for
// (pkg/controlplane/apiserver/config.go, CreateProxyTransport).
func unverified() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
}

// newTransport returns a transport whose connections are all made by the dialer. It does not know of redirects, and does not
// use HTTP proxies.
func newTransport(dialer *dialer, config *tls.Config) *http.Transport {
	return utilnet.SetTransportDefaults(&http.Transport{
		DialContext:         dialer.dial,
		TLSClientConfig:     config,
		Proxy:               func(*http.Request) (*url.URL, error) { return nil, nil },
		MaxIdleConnsPerHost: 25, // as client-go's, which kube-apiserver uses here
	})
}

// GetConnectionInfo returns how to reach the kubelet of a node.
func (k *kubelets) GetConnectionInfo(ctx context.Context, name types.NodeName) (*client.ConnectionInfo, error) {
	obj, err := k.nodes.Get(genericrequest.WithNamespace(ctx, metav1.NamespaceNone), string(name), &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	node, ok := obj.(*core.Node)
	if !ok {
		return nil, fmt.Errorf("not a node: %T", obj)
	}
	host, err := k.address(node)
	if err != nil {
		return nil, err
	}
	port := int(node.Status.DaemonEndpoints.KubeletEndpoint.Port)
	if port <= 0 {
		port = k.port
	}
	return &client.ConnectionInfo{
		Scheme: "https", Hostname: host, Port: strconv.Itoa(port),
		Transport: k.verifying, InsecureSkipTLSVerifyTransport: k.trusting, NodeFeatures: node.Status.DeclaredFeatures,
	}, nil
}

// address returns the first address of the most preferred type; the error is that of pkg/util/node/node.go.
func (k *kubelets) address(node *core.Node) (string, error) {
	for _, preferred := range k.addressTypes {
		for _, address := range node.Status.Addresses {
			if string(address.Type) == preferred {
				return address.Address, nil
			}
		}
	}
	return "", fmt.Errorf("no preferred addresses found; known addresses: %v", node.Status.Addresses)
}
