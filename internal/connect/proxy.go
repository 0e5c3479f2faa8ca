package connect

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	utilproxy "k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/registry/rest"
	core "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/streaming/pkg/httpstream"
)

// proxy passes HTTP requests on. O are its options, which are a path.
type proxy[O runtime.Object] struct {
	connections *Connections
	newOptions  func() O
	path        func(O) string
	// locate finds out where "name", "name:port" or "scheme:name:port" is, and refuses what is not allowed.
	locate func(ctx context.Context, id string) (*url.URL, http.RoundTripper, error)
	// createToUpgrade wants the verb create for upgrades.
	createToUpgrade bool
}

var _ rest.Connecter = &proxy[*core.PodProxyOptions]{}

func (p *proxy[O]) New() runtime.Object { return p.newOptions() }

func (p *proxy[O]) Destroy() {}

// NewConnectOptions says that what is behind the subresource in the path is the option "path".
func (p *proxy[O]) NewConnectOptions() (runtime.Object, bool, string) {
	return p.newOptions(), true, "path"
}

func (p *proxy[O]) ConnectMethods() []string {
	return []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
}

// Connect returns a handler that passes one request on: with X-Forwarded headers, and with the URLs in headers and in HTML of
// the answer leading through the proxy. Errors are for the client: 400 for an id or an address that is not allowed, 404, 503
// for a service without endpoints.
func (p *proxy[O]) Connect(ctx context.Context, id string, options runtime.Object, responder rest.Responder,
) (http.Handler, error) {
	o, ok := options.(O)
	if !ok {
		return nil, invalidOptions(options)
	}
	location, transport, err := p.locate(ctx, id)
	if err != nil {
		return nil, err
	}
	location.Path = utilnet.JoinPreservingTrailingSlash(location.Path, p.path(o))
	pass := utilproxy.NewUpgradeAwareHandler(location, transport, true, false, utilproxy.NewErrorResponder(responder))
	if !p.createToUpgrade {
		return pass, nil
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if httpstream.IsUpgradeRequest(r) {
			if err := p.connections.authorizeCreate(ctx); err != nil {
				responder.Error(err)
				return
			}
		}
		pass.ServeHTTP(w, r)
	}), nil
}

func (c *Connections) podLocation(ctx context.Context, id string) (*url.URL, http.RoundTripper, error) {
	location, transport, err := pod.ResourceLocation(ctx, c.options.Pods, c.direct, id)
	if err == nil {
		err = c.dialer.allow(ctx, location)
	}
	return location, transport, err
}

// nodeLocation finds the kubelet of a node, or another port of the node. A name that does not resolve is an error 400, as in
// pkg/registry/core/node/strategy.go, which is not used because it resolves in its own way.
func (c *Connections) nodeLocation(ctx context.Context, id string) (*url.URL, http.RoundTripper, error) {
	scheme, name, port, valid := utilnet.SplitSchemeNamePort(id)
	if !valid {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("invalid node request %q", id))
	}
	kubelet, err := c.kubelets.GetConnectionInfo(ctx, types.NodeName(name))
	if err != nil {
		return nil, nil, err
	}
	location, transport := &url.URL{Scheme: scheme, Host: net.JoinHostPort(kubelet.Hostname, port)}, http.RoundTripper(c.direct)
	if port == "" || port == kubelet.Port {
		location = &url.URL{Scheme: kubelet.Scheme, Host: net.JoinHostPort(kubelet.Hostname, kubelet.Port)}
		transport = kubelet.Transport
	}
	if err := c.dialer.check(ctx, location); err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	return location, transport, nil
}
