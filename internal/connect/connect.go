// Package connect is what clients reach through the server: the logs of pods, exec, attach and port-forward, which go to the
// kubelet of the pod's node, and the proxies to pods, services and nodes.
//
// [New] makes them all from [Options]; [Connections.Storage] returns them by the names of their subresources, as upstream's
// contracts (k8s.io/apiserver/pkg/registry/rest): "pods/log" is a rest.GetterWithOptions whose result streams, the others are
// rest.Connecters. They expect in the context what the pipeline puts there: the namespace, the user and the request info.
//
// # What is dialed
//
// Where a connection goes is told by objects that others write: the addresses in the status of a node or a pod, the endpoints
// of a service. So every connection of this package is made by one dialer (dial.go). It resolves a name once, looks at every
// address it resolves to, and dials just these addresses: there is no second resolution in which the name could mean something
// else (CVE-2020-8562). It refuses loopback, link-local (which is where clouds keep their metadata), unspecified, multicast and
// broadcast addresses, and those the server itself listens on, where it would meet itself with its own privileges
// (kubernetes/kubernetes#119270, CVE-2022-3294). What is refused is an error 400 that begins with upstream's "address not
// allowed" and says why. HTTP proxies in the environment are not used: the address they would dial cannot be checked.
//
// A kubelet on the same machine that registers with a loopback address needs [Options.AllowLoopback].
//
// # Redirects
//
// None is ever followed. An answer to a log, exec, attach or port-forward request, or to any upgrade, that redirects is an
// error (CVE-2018-1002102, CVE-2020-8559). A redirect as the answer to a plain proxied request is the client's to follow, and
// goes to it with a Location that leads through the proxy.
//
// # Who may
//
// exec, attach and port-forward need the verb create, also when the request is a GET, as WebSocket clients send it
// (KEP-4006, kubernetes/kubernetes#133515). The same is asked for an upgrade through nodes/proxy, because the kubelet has exec
// too; here kube-apiserver is content with get (kubernetes/kubernetes#119640). All else has been authorized before.
//
// # WebSockets
//
// Kubelets that declare the feature ExtendWebSocketsToKubelet get WebSockets as they are. For the others, exec and attach of
// version 5 (v5.channel.k8s.io) are translated to SPDY, and tunneled port-forwards are taken out of their tunnel. All other
// upgrades, SPDY and the older WebSocket versions, are passed on. Upstream's feature gates decide, as they do in kube-apiserver.
package connect

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"
	core "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/discovery"
	"k8s.io/kubernetes/pkg/registry/core/pod"
)

// Options say what connections are made of. Fields are required unless they say otherwise.
type Options struct {
	// Pods, Nodes and Services return objects of the hub version. The namespace is in the context; for Nodes it is empty.
	Pods, Nodes, Services Getter
	// EndpointSlices returns the endpoint slices of a service (label kubernetes.io/service-name) in the context's namespace,
	// in the hub version. They are not changed.
	EndpointSlices func(ctx context.Context, service string) ([]*discovery.EndpointSlice, error)
	// IPFamily is the one the service proxy prefers; default: IPv4.
	IPFamily v1.IPFamily
	// Authorizer is asked whether who upgrades a connection by GET may create.
	Authorizer authorizer.UnconditionalAuthorizer
	Kubelet    Kubelet
	// Self returns the addresses that lead to this server, which are never dialed: those it listens on, and others it is known
	// by, like the address it advertises or the cluster IP of the service "kubernetes". An unspecified address (0.0.0.0, ::)
	// stands for all addresses of the machine. It is called for every connection. Optional.
	Self func() []netip.AddrPort
	// AllowLoopback lets connections go to loopback addresses, but for Self. It is for tests and for machines that run a
	// kubelet next to the server: whoever may write the status of nodes, or use nodes/proxy, can then reach all that listens
	// on the machine's loopback interface. pods/proxy goes to no loopback address even so.
	AllowLoopback bool
}

// Kubelet says how kubelets are spoken to. Everything is optional.
type Kubelet struct {
	// CertFile and KeyFile are what the server identifies itself with. They are read again when they have changed.
	CertFile, KeyFile string
	// CAFile has the authorities that may have signed the certificates of kubelets. Without it, as in kube-apiserver, they are
	// not verified.
	CAFile string
	// AddressTypes are the types of node addresses to use, the preferred first; default: Hostname, InternalDNS, InternalIP,
	// ExternalDNS, ExternalIP.
	AddressTypes []string
	// Port is used for nodes that name none; default: 10250.
	Port int
}

// Getter gets an object by its name. Its errors are answers to clients: not found is 404.
type Getter func(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error)

// Get calls the function.
func (g Getter) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return g(ctx, name, options)
}

// Connections makes connections for clients. It is safe for concurrent use. Make one with New.
type Connections struct {
	options  Options
	dialer   *dialer
	kubelets *kubelets
	// direct goes to pods and to the ports of nodes that are not the kubelet's.
	direct *http.Transport
}

// New returns Connections. It fails if the kubelet certificates cannot be read. Close ends what it has opened.
func New(options Options) (*Connections, error) {
	if options.IPFamily == "" {
		options.IPFamily = v1.IPv4Protocol
	}
	dialer := newDialer(options.AllowLoopback, options.Self)
	kubelets, err := newKubelets(options.Kubelet, options.Nodes, dialer)
	if err != nil {
		return nil, fmt.Errorf("kubelet client: %w", err)
	}
	return &Connections{options: options, dialer: dialer, kubelets: kubelets, direct: newTransport(dialer, unverified())}, nil
}

// Storage returns the subresources by resource and name: "pods/exec".
func (c *Connections) Storage() map[string]rest.Storage {
	return map[string]rest.Storage{
		"pods/log": &logs{c},
		"pods/exec": &stream[*core.PodExecOptions]{
			connections: c, newOptions: func() *core.PodExecOptions { return &core.PodExecOptions{} },
			locate: pod.ExecLocation, translate: translateExec,
		},
		"pods/attach": &stream[*core.PodAttachOptions]{
			connections: c, newOptions: func() *core.PodAttachOptions { return &core.PodAttachOptions{} },
			locate: pod.AttachLocation, translate: translateAttach,
		},
		"pods/portforward": &stream[*core.PodPortForwardOptions]{
			connections: c, newOptions: func() *core.PodPortForwardOptions { return &core.PodPortForwardOptions{} },
			locate: pod.PortForwardLocation, translate: untunnel,
		},
		"pods/proxy": &proxy[*core.PodProxyOptions]{
			connections: c, newOptions: func() *core.PodProxyOptions { return &core.PodProxyOptions{} },
			path: func(o *core.PodProxyOptions) string { return o.Path }, locate: c.podLocation,
		},
		"services/proxy": &proxy[*core.ServiceProxyOptions]{
			connections: c, newOptions: func() *core.ServiceProxyOptions { return &core.ServiceProxyOptions{} },
			path: func(o *core.ServiceProxyOptions) string { return o.Path }, locate: c.serviceLocation,
		},
		"nodes/proxy": &proxy[*core.NodeProxyOptions]{
			connections: c, newOptions: func() *core.NodeProxyOptions { return &core.NodeProxyOptions{} },
			path: func(o *core.NodeProxyOptions) string { return o.Path }, locate: c.nodeLocation, createToUpgrade: true,
		},
	}
}

// Close closes all connections that were made, and makes no more. What clients have open through them ends: a server that
// stops calls it, because nothing else ends an upgraded connection.
func (c *Connections) Close() {
	c.dialer.close()
	for _, transport := range []*http.Transport{c.direct, c.kubelets.verifying, c.kubelets.trusting} {
		transport.CloseIdleConnections()
	}
}

func invalidOptions(options runtime.Object) error {
	return fmt.Errorf("invalid options object: %#v", options)
}
