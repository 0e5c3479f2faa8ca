package connect

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	restclient "k8s.io/client-go/rest"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	core "k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	"k8s.io/kubernetes/pkg/apis/discovery"

	"github.com/kayak-k8s/kayak/internal/request"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// It waits a second for somebody to take the error of a close, and ends.
		goleak.IgnoreTopFunction("github.com/moby/spdystream.(*Connection).shutdown"))
}

// world is a little cluster, with a server in front of it that does of the engine just what these subresources need.
type world struct {
	t           *testing.T
	connections *Connections
	storage     map[string]rest.Storage
	kubelet     *fakeKubelet
	front       *httptest.Server

	mu       sync.Mutex
	pods     map[string]*core.Pod
	nodes    map[string]*core.Node
	services map[string]*core.Service
	slices   map[string][]*discovery.EndpointSlice
	// asked are the attributes that the authorizer was asked about; it allows what denied does not contain.
	asked  []string
	denied sets.Set[string]
}

// newWorld starts a kubelet for the node "node", which runs the pod "web" with one container and the pod "two" with two.
func newWorld(t *testing.T, change ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t, kubelet: newFakeKubelet(t), denied: sets.New[string](),
		pods: map[string]*core.Pod{}, nodes: map[string]*core.Node{},
		services: map[string]*core.Service{}, slices: map[string][]*discovery.EndpointSlice{}}
	options := Options{
		Pods:     getter("pods", &w.mu, w.pods),
		Nodes:    getter("nodes", &w.mu, w.nodes),
		Services: getter("services", &w.mu, w.services),
		EndpointSlices: func(_ context.Context, service string) ([]*discovery.EndpointSlice, error) {
			return w.slices[service], nil
		},
		Authorizer: w, Kubelet: w.kubelet.client(t), AllowLoopback: true,
	}
	for _, c := range change {
		c(&options)
	}
	var err error
	if w.connections, err = New(options); err != nil {
		t.Fatal(err)
	}
	w.storage = w.connections.Storage()
	w.nodes["node"] = w.kubelet.node("127.0.0.1")
	w.pods["web"] = newPod("web", "node", "10.1.2.3", "main")
	w.pods["two"] = newPod("two", "node", "10.1.2.4", "a", "b")
	w.front = httptest.NewServer(w)
	t.Cleanup(func() {
		w.connections.Close()
		w.front.Close()
		w.kubelet.server.Close()
	})
	return w
}

func newPod(name, node, ip string, containers ...string) *core.Pod {
	p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	p.Spec.NodeName = node
	p.Status.PodIPs = []core.PodIP{{IP: ip}}
	for _, c := range containers {
		p.Spec.Containers = append(p.Spec.Containers, core.Container{Name: c})
	}
	return p
}

func getter[O runtime.Object](resource string, mu *sync.Mutex, objects map[string]O) Getter {
	namespace := "ns"
	if resource == "nodes" {
		namespace = ""
	}
	return func(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		obj, ok := objects[name]
		if !ok || genericrequest.NamespaceValue(ctx) != namespace {
			return nil, apierrors.NewNotFound(core.Resource(resource), name)
		}
		return obj, nil
	}
}

func (w *world) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := strings.Join([]string{
		a.GetUser().GetName(), a.GetVerb(), a.GetNamespace(), a.GetResource(), a.GetSubresource(), a.GetName(),
	}, " ")
	w.asked = append(w.asked, asked)
	if w.denied.Has(asked) {
		return authorizer.DecisionNoOpinion, "no rule", nil
	}
	return authorizer.DecisionAllow, "", nil
}

var resolver = genericrequest.RequestInfoFactory{
	APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api"),
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if err := w.serve(rw, r); err != nil {
		answer{rw}.Error(err)
	}
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) error {
	info, err := resolver.NewRequestInfo(r)
	if err != nil {
		return err
	}
	ctx := genericrequest.WithRequestInfo(genericrequest.WithNamespace(r.Context(), info.Namespace), info)
	ctx = genericrequest.WithUser(ctx, &user.DefaultInfo{Name: "jane"})
	switch s := w.storage[info.Resource+"/"+info.Subresource].(type) {
	case rest.Connecter:
		options, subpath, key := s.NewConnectOptions()
		query := r.URL.Query()
		if subpath {
			query.Set(key, subPath(info))
		}
		if err := legacyscheme.ParameterCodec.DecodeParameters(query, v1.SchemeGroupVersion, options); err != nil {
			return err
		}
		handler, err := s.Connect(ctx, info.Name, options, answer{rw})
		if err != nil {
			return err
		}
		handler.ServeHTTP(rw, r.WithContext(ctx))
	case rest.GetterWithOptions:
		options, _, _ := s.NewGetOptions()
		if err := legacyscheme.ParameterCodec.DecodeParameters(r.URL.Query(), v1.SchemeGroupVersion, options); err != nil {
			return err
		}
		obj, err := s.Get(ctx, info.Name, options)
		if err != nil {
			return err
		}
		return stream204(ctx, rw, obj.(rest.ResourceStreamer))
	default:
		return request.UnknownResource()
	}
	return nil
}

// subPath is what is behind the subresource (apiserver/pkg/endpoints/handlers/rest.go, getRequestOptions).
func subPath(info *genericrequest.RequestInfo) string {
	p := strings.Join(info.Parts[3:], "/")
	if p != "" {
		p = "/" + p
	}
	if strings.HasSuffix(info.Path, "/") {
		p += "/"
	}
	return p
}

func stream204(ctx context.Context, rw http.ResponseWriter, s rest.ResourceStreamer) error {
	in, flush, contentType, err := s.InputStream(ctx, "v1", "*/*")
	if err != nil {
		return err
	}
	if in == nil {
		rw.WriteHeader(http.StatusNoContent)
		return nil
	}
	defer func() { _ = in.Close() }()
	rw.Header().Set("Content-Type", contentType)
	rw.Header().Set("X-Flush", strconv.FormatBool(flush))
	rw.(http.Flusher).Flush()
	buffer := make([]byte, 4096)
	for {
		n, err := in.Read(buffer)
		_, _ = rw.Write(buffer[:n])
		rw.(http.Flusher).Flush()
		if err != nil {
			return nil
		}
	}
}

// answer is a rest.Responder.
type answer struct{ http.ResponseWriter }

func (a answer) Object(int, runtime.Object) { panic("no object is ever answered") }

func (a answer) Error(err error) {
	status := request.Status(err)
	a.Header().Set("Content-Type", "application/json")
	a.WriteHeader(int(status.Code))
	_ = json.NewEncoder(a).Encode(status)
}

// url returns the address of a subresource: "pods/web/exec?stdin=true", "nodes/node/proxy/x".
func (w *world) url(path string) *url.URL {
	prefix := "/api/v1/namespaces/ns/"
	if strings.HasPrefix(path, "nodes/") {
		prefix = "/api/v1/"
	}
	u, err := url.Parse(w.front.URL + prefix + path)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

// upgrade sends a request for an upgrade over a connection of its own, and returns that with the answer.
func (w *world) upgrade(path string, headers ...string) (*http.Response, *bufio.Reader, net.Conn) {
	w.t.Helper()
	u := w.url(path)
	c, err := (&net.Dialer{}).DialContext(w.t.Context(), "tcp", u.Host)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	r := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{"Connection": {"Upgrade"}}}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	if err := r.Write(c); err != nil {
		w.t.Fatal(err)
	}
	reader := bufio.NewReader(c)
	resp, err := http.ReadResponse(reader, r)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, reader, c
}

// webSocket are the headers that ask for a WebSocket with a protocol.
func webSocket(protocol string) []string {
	return []string{"Upgrade", "websocket", "Sec-Websocket-Version", "13", "Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ==",
		"Sec-Websocket-Protocol", protocol}
}

func (w *world) config() *restclient.Config { return &restclient.Config{Host: w.front.URL} }

// do makes a request and returns the answer with its body.
func (w *world) do(method, path string, headers ...string) (*http.Response, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url(path).String(), strings.NewReader(""))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	resp, err := client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, string(body)
}

// wantStatus makes a request and compares the Status it is answered with.
func (w *world) wantStatus(method, path string, code int, message string, headers ...string) {
	w.t.Helper()
	resp, body := w.do(method, path, headers...)
	var status metav1.Status
	if err := json.Unmarshal([]byte(body), &status); err != nil {
		w.t.Fatalf("%s %s: %d %q is no status: %v", method, path, resp.StatusCode, body, err)
	}
	if resp.StatusCode != code || status.Message != message {
		w.t.Errorf("%s %s\n got: %d %s\nwant: %d %s", method, path, resp.StatusCode, status.Message, code, message)
	}
}

// reach lets connections to an address of the little cluster's network arrive at a server.
func (w *world) reach(from netip.Addr, server *httptest.Server) {
	connect := w.connections.dialer.connect
	w.connections.dialer.connect = func(ctx context.Context, network, address string) (net.Conn, error) {
		if target := netip.MustParseAddrPort(address); target.Addr() == from {
			address = server.Listener.Addr().String()
		}
		return connect(ctx, network, address)
	}
}

// lockedBuffer is a buffer that several goroutines may write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// client returns what the server needs to speak to the kubelet.
func (k *fakeKubelet) client(t *testing.T) Kubelet {
	t.Helper()
	dir := t.TempDir()
	cert, key, err := certutil.GenerateSelfSignedCertKey("kube-apiserver-kubelet-client", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"client.crt": cert, "client.key": key,
		"ca.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.server.Certificate().Raw})}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	return Kubelet{CertFile: file("client.crt"), KeyFile: file("client.key"), CAFile: file("ca.crt")}
}

func (k *fakeKubelet) node(address string) *core.Node {
	n := &core.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}
	n.Status.Addresses = []core.NodeAddress{{Type: core.NodeInternalIP, Address: address}}
	n.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(k.port())
	return n
}

func (k *fakeKubelet) port() int {
	return int(netip.MustParseAddrPort(k.server.Listener.Addr().String()).Port())
}

// TestStorage: the contracts that the engine looks for are there, with the options upstream has.
func TestStorage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	want := map[string]string{
		"pods/log": "*core.Pod *core.PodLogOptions", "pods/exec": "*core.PodExecOptions [GET POST] false",
		"pods/attach": "*core.PodAttachOptions [GET POST] false", "pods/portforward": "*core.PodPortForwardOptions [GET POST] false",
	}
	for resource, kind := range map[string]string{"pods": "Pod", "services": "Service", "nodes": "Node"} {
		want[resource+"/proxy"] = "*core." + kind + "ProxyOptions [GET POST PUT PATCH DELETE HEAD OPTIONS] truepath"
	}
	for name, s := range w.storage {
		var got string
		switch s := s.(type) {
		case rest.Connecter:
			options, subpath, key := s.NewConnectOptions()
			got = fmt.Sprintf("%T %v %v%s", options, s.ConnectMethods(), subpath, key)
			if _, err := s.Connect(t.Context(), "x", &core.Pod{}, nil); err == nil {
				t.Errorf("%s takes anything for its options", name)
			}
		case rest.GetterWithOptions:
			options, _, _ := s.NewGetOptions()
			got = fmt.Sprintf("%T %T", w.storage[name].New(), options)
		}
		if got != want[name] {
			t.Errorf("%s: got %s, want %s", name, got, want[name])
		}
	}
	if len(w.storage) != len(want) {
		t.Errorf("got %d subresources, want %d", len(w.storage), len(want))
	}
}

// TestNoSuchCertificate: a server that cannot identify itself to kubelets does not start.
func TestNoSuchCertificate(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{Kubelet: Kubelet{CAFile: "/nowhere/ca.crt"}}); err == nil {
		t.Error("got no error")
	}
}
