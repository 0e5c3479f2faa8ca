package connect

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	core "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/discovery"
	"k8s.io/utils/ptr"
)

// newBackend starts what runs in the pod with an address.
func newBackend(t *testing.T, w *world, ip string, tls bool) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(serveBackend))
	if tls {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	w.reach(netip.MustParseAddr(ip), server)
	return server
}

func serveBackend(rw http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/html":
		rw.Header().Set("Content-Type", "text/html")
		rw.Header().Set("Access-Control-Allow-Origin", "*")
		_, _ = io.WriteString(rw, `<a href="/other">x</a>`)
	case "/moved":
		http.Redirect(rw, r, "/html", http.StatusFound)
	case "/upgrade":
		c, buffered, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := buffered.ReadString('\n')
		_, _ = io.WriteString(c, "echo "+line)
	default:
		body, _ := io.ReadAll(r.Body)
		uri := r.Header.Get("X-Forwarded-Uri")
		_, _ = fmt.Fprintf(rw, "%s %s tls=%v uri=%s %s", r.Method, r.URL.RequestURI(), r.TLS != nil, uri, body)
	}
}

const prefix = "/api/v1/namespaces/ns/"

// TestPodProxy: paths, methods and what is rewritten.
func TestPodProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	newBackend(t, w, "10.1.2.3", false)
	w.pods["web"].Spec.Containers[0].Ports = []core.ContainerPort{{ContainerPort: 8080}}
	for _, test := range []struct{ method, path, want string }{
		{"GET", "pods/web/proxy/", "GET / tls=false uri=" + prefix + "pods/web/proxy/ "},
		{"POST", "pods/web/proxy/a/b?c=d&e", "POST /a/b?c=d&e tls=false uri=" + prefix + "pods/web/proxy/a/b "},
		{"DELETE", "pods/http:web:81/proxy/a/", "DELETE /a/ tls=false uri=" + prefix + "pods/http:web:81/proxy/a/ "},
		{"PATCH", "pods/web:80/proxy/x", "PATCH /x tls=false uri=" + prefix + "pods/web:80/proxy/x "},
		{"OPTIONS", "pods/web/proxy/x", "OPTIONS /x tls=false uri=" + prefix + "pods/web/proxy/x "},
		{"GET", "pods/web/proxy/../../secret", "GET /secret tls=false uri="},
	} {
		if resp, body := w.do(test.method, test.path); !strings.HasPrefix(body, test.want) || resp.StatusCode != 200 {
			t.Errorf("%s %s\n got: %d %q\nwant: %q", test.method, test.path, resp.StatusCode, body, test.want)
		}
	}
	resp, body := w.do(http.MethodGet, "pods/web/proxy/html")
	if want := `<a href="` + w.url("pods/web/proxy/other").Path + `">`; !strings.Contains(body, want) {
		t.Errorf("got %s, want %s", body, want)
	}
	if resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("CORS headers are not the backend's to set")
	}
	for path, want := range map[string]string{
		"pods/web/proxy/moved": "302 " + prefix + "pods/web/proxy/html", // the backend's
		"pods/web/proxy?a=b":   "301 " + prefix + "pods/web/proxy/?a=b", // the root of the backend
	} {
		resp, _ := w.do(http.MethodGet, path)
		if got := fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("Location")); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

// TestPodProxyUpgrade: any protocol, in both directions, for who may get.
func TestPodProxyUpgrade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	newBackend(t, w, "10.1.2.3", true)
	resp, reader, c := w.upgrade("pods/https:web:/proxy/upgrade", "Upgrade", "echo")
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %d", resp.StatusCode)
	}
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := reader.ReadString('\n'); line != "echo hello\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

func TestNodeProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	port := strconv.Itoa(w.kubelet.port())
	for _, id := range []string{"node", "node:" + port, "http:node:" + port} {
		if resp, body := w.do(http.MethodGet, "nodes/"+id+"/proxy/stats/summary?x=y"); body != "kubelet GET /stats/summary?x=y" {
			t.Errorf("%s: got %d %q", id, resp.StatusCode, body)
		}
	}
	other := httptest.NewServer(http.HandlerFunc(serveBackend))
	defer other.Close()
	id := "node:" + other.URL[strings.LastIndex(other.URL, ":")+1:]
	if _, body := w.do(http.MethodPut, "nodes/"+id+"/proxy/x"); !strings.HasPrefix(body, "PUT /x tls=false") {
		t.Errorf("another port: got %q", body)
	}
	// The kubelet wants a certificate, which is for what looks like a kubelet only.
	w.nodes["other"] = w.kubelet.node("127.0.0.1")
	w.nodes["other"].Status.DaemonEndpoints.KubeletEndpoint.Port = 1
	if resp, _ := w.do(http.MethodGet, "nodes/https:other:"+port+"/proxy/x"); resp.StatusCode != 503 {
		t.Errorf("another port with TLS: got %d", resp.StatusCode)
	}
}

// newService makes a service with the ports web (80) and admin (81), and a slice with endpoints for them.
func newService(w *world, name string, endpoints ...discovery.Endpoint) {
	w.services[name] = &core.Service{}
	w.services[name].Spec.Ports = []core.ServicePort{{Name: "web", Port: 80}, {Name: "admin", Port: 81}}
	w.slices[name] = append(w.slices[name], &discovery.EndpointSlice{
		AddressType: discovery.AddressTypeIPv4, Endpoints: endpoints,
		Ports: []discovery.EndpointPort{
			{Name: ptr.To("web"), Port: ptr.To[int32](8080)}, {Name: ptr.To("admin"), Port: ptr.To[int32](8081)},
		},
	})
}

func endpoint(ip, namespace, pod string, ready bool) discovery.Endpoint {
	return discovery.Endpoint{Addresses: []string{ip}, Conditions: discovery.EndpointConditions{Ready: &ready},
		TargetRef: &core.ObjectReference{Namespace: namespace, Name: pod}}
}

// TestServiceProxy: it goes to pods that are ready, and to nothing else.
func TestServiceProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	newBackend(t, w, "10.1.2.3", false)
	newService(w, "good", endpoint("10.1.2.4", "ns", "two", false), endpoint("10.1.2.3", "ns", "web", true),
		endpoint("10.9.9.9", "ns", "web", true), endpoint("10.1.2.3", "other", "web", true), endpoint("10.1.2.3", "ns", "none", true),
		discovery.Endpoint{Addresses: []string{"10.9.9.9"}})
	newService(w, "unready", endpoint("10.1.2.3", "ns", "web", false))
	newService(w, "elsewhere", endpoint("10.9.9.9", "ns", "web", true))
	newService(w, "without")
	for range 20 { // endpoints are picked at random
		for _, id := range []string{"good:web", "good:80", "http:good:81"} {
			if resp, body := w.do(http.MethodGet, "services/"+id+"/proxy/x"); !strings.HasPrefix(body, "GET /x tls=false") {
				t.Fatalf("%s: got %d %q", id, resp.StatusCode, body)
			}
		}
	}
	for id, message := range map[string]string{
		"unready:web":   `no endpoints available for service "unready"`,
		"elsewhere:web": `no endpoints available for service "elsewhere"`,
		"without:web":   `no endpoints available for service "without"`,
		"none":          `no endpoints available for service "none"`,
		"good":          `no endpoints available for service "good"`,
		"good:nope":     `no endpoints available for service "good"`,
		"good:82":       `no service port 82 found for service "good"`,
	} {
		w.wantStatus(http.MethodGet, "services/"+id+"/proxy/", 503, message)
	}
	w.wantStatus(http.MethodGet, "services/none:80/proxy/", 404, `services "none" not found`)
}

func TestProxyErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.wantStatus(http.MethodGet, "pods/ftp:web:1/proxy/", 400, `invalid pod request "ftp:web:1"`)
	w.wantStatus(http.MethodGet, "nodes/a:b:c:d/proxy/", 400, `invalid node request "a:b:c:d"`)
	w.wantStatus(http.MethodGet, "services/:80/proxy/", 400, `invalid service request ":80"`)
	w.wantStatus(http.MethodGet, "pods/none/proxy/", 404, `pods "none" not found`)
	w.wantStatus(http.MethodGet, "nodes/none/proxy/", 404, `nodes "none" not found`)
	w.pods["new"] = newPod("new", "node", "")
	w.wantStatus(http.MethodGet, "pods/new/proxy/", 400, "address not allowed")
	// What is no port must not become a part of a URL that cannot be read again.
	for id, port := range map[string]string{"web:8%200": "8%200", "web:http": "http"} {
		w.wantStatus(http.MethodGet, "pods/"+id+"/proxy/", 400,
			`address not allowed: parse "//10.1.2.3:`+port+`": invalid port ":`+port+`" after host`)
	}
}

// TestCVE_2018_1002105: a backend that does not upgrade gets no second request over the connection.
func TestCVE_2018_1002105(t *testing.T) {
	t.Parallel()
	for _, code := range []int{200, 400, 500} {
		w := newWorld(t)
		w.kubelet.answerWith(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(code) })
		resp, reader, c := w.upgrade("nodes/node/proxy/x", "Upgrade", "websocket")
		if resp.StatusCode == http.StatusSwitchingProtocols {
			t.Errorf("%d: the connection was upgraded", code)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_, _ = io.WriteString(c, "GET /exec/ns/web/main HTTP/1.1\r\nHost: x\r\n\r\n")
		if second, err := http.ReadResponse(bufio.NewReader(reader), nil); err == nil && second.StatusCode == 200 {
			t.Errorf("%d: the second request was answered with %d", code, second.StatusCode)
		}
		if n := len(w.kubelet.requests()); n != 1 {
			t.Errorf("%d: the kubelet got %d requests", code, n)
		}
		_ = c.Close()
	}
}
