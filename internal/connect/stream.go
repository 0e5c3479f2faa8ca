package connect

import (
	"context"
	"net/http"
	"net/url"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	utilproxy "k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/feature"
	translation "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/component-base/featuregate"
	core "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/kubelet/client"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// stream is exec, attach or port-forward: an upgraded connection to the kubelet of the pod's node. O are its options.
type stream[O runtime.Object] struct {
	connections *Connections
	newOptions  func() O
	// locate finds the kubelet, and the path and query it wants.
	locate func(ctx context.Context, pods pod.ResourceGetter, kubelets client.ConnectionInfoGetter, name string, options O,
	) (*url.URL, *client.ConnectionInfo, error)
	// translate returns a handler that speaks WebSocket in front of a kubelet that does not; what it does not know it leaves
	// to next.
	translate func(location *url.URL, transport http.RoundTripper, options O, next http.Handler) http.Handler
}

var _ rest.Connecter = &stream[*core.PodExecOptions]{}

func (s *stream[O]) New() runtime.Object { return s.newOptions() }

func (s *stream[O]) Destroy() {}

func (s *stream[O]) NewConnectOptions() (runtime.Object, bool, string) {
	return s.newOptions(), false, ""
}

func (s *stream[O]) ConnectMethods() []string { return []string{http.MethodGet, http.MethodPost} }

// Connect returns a handler that connects the client to the kubelet. Errors are for the client: 400 for a pod without a node
// or a container that is not there or not named, 403 for who may not create, 404.
func (s *stream[O]) Connect(ctx context.Context, name string, options runtime.Object, responder rest.Responder,
) (http.Handler, error) {
	if enabled(features.AuthorizePodWebsocketUpgradeCreatePermission) {
		if err := s.connections.authorizeCreate(ctx); err != nil {
			return nil, err
		}
	}
	o, ok := options.(O)
	if !ok {
		return nil, invalidOptions(options)
	}
	location, kubelet, err := s.locate(ctx, s.connections.options.Pods, s.connections.kubelets, name, o)
	if err != nil {
		return nil, err
	}
	if err := s.connections.dialer.allow(ctx, location); err != nil {
		return nil, err
	}
	pass := utilproxy.NewUpgradeAwareHandler(location, kubelet.Transport, false, true, utilproxy.NewErrorResponder(responder))
	declared := slices.Contains(kubelet.NodeFeatures, string(features.ExtendWebSocketsToKubelet))
	if declared && enabled(features.ExtendWebSocketsToKubelet) {
		return pass, nil
	}
	return s.translate(location, kubelet.Transport, o, pass), nil
}

func enabled(gate featuregate.Feature) bool { return feature.DefaultFeatureGate.Enabled(gate) }

func translateExec(location *url.URL, transport http.RoundTripper, o *core.PodExecOptions, next http.Handler) http.Handler {
	return translate(location, transport, translation.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY}, next)
}

func translateAttach(location *url.URL, transport http.RoundTripper, o *core.PodAttachOptions, next http.Handler) http.Handler {
	return translate(location, transport, translation.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY}, next)
}

// translate speaks version 5 of the WebSocket protocol, in which one stream can be closed alone, and SPDY with the kubelet.
func translate(location *url.URL, transport http.RoundTripper, streams translation.Options, next http.Handler) http.Handler {
	if !enabled(features.TranslateStreamCloseWebsocketRequests) {
		return next
	}
	translator := translation.NewStreamTranslatorHandler(location, transport, 0, streams)
	return translation.NewTranslatingHandler(next, translator, wsstream.IsWebSocketRequestWithStreamCloseProtocol)
}

// untunnel takes SPDY out of the WebSocket it came in.
func untunnel(_ *url.URL, _ http.RoundTripper, _ *core.PodPortForwardOptions, next http.Handler) http.Handler {
	if !enabled(features.PortForwardWebsockets) {
		return next
	}
	tunnel := translation.NewTunnelingHandler(next)
	return translation.NewTranslatingHandler(next, tunnel, wsstream.IsWebSocketRequestWithTunnelingProtocol)
}
