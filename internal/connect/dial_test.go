package connect

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/tools/remotecommand"
	core "k8s.io/kubernetes/pkg/apis/core"
)

// network is names, and a record of what is dialed, where nobody answers.
type network struct {
	names  map[string][][]string // each lookup of a name has the next addresses, until the last
	looked atomic.Int32
	dialed []string
}

var errNobody = errors.New("nobody there")

func newNetwork(names map[string][][]string, allowLoopback bool, self ...string) (*network, *dialer) {
	n := &network{names: names}
	d := newDialer(allowLoopback, func() (list []netip.AddrPort) {
		for _, s := range self {
			list = append(list, netip.MustParseAddrPort(s))
		}
		return list
	})
	d.lookup = func(_ context.Context, _, host string) ([]netip.Addr, error) {
		answers := n.names[host]
		if len(answers) == 0 {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		var list []netip.Addr
		for _, a := range answers[min(int(n.looked.Add(1)), len(answers))-1] {
			list = append(list, netip.MustParseAddr(a))
		}
		return list, nil
	}
	d.connect = func(_ context.Context, _, address string) (net.Conn, error) {
		n.dialed = append(n.dialed, address)
		return nil, errNobody
	}
	return n, d
}

func TestDial(t *testing.T) {
	t.Parallel()
	names := map[string][][]string{
		"good": {{"10.0.0.1", "fd00::1"}}, "bad": {{"127.0.0.1"}}, "mixed": {{"10.0.0.1", "169.254.169.254"}}, "v6bad": {{"::1"}},
		"empty": {{}},
	}
	local := interfaceAddress(t)
	for _, test := range []struct {
		address string
		self    string // one of the server's addresses
		allow   bool
		want    string // what is dialed, or the error
	}{
		{address: "10.0.0.1:10250", want: "10.0.0.1:10250"},
		{address: "[fd00::1]:https", want: "[fd00::1]:443"},
		{address: "good:80", want: "10.0.0.1:80 [fd00::1]:80"},
		{address: "127.0.0.1:80", want: "address not allowed: 127.0.0.1 is a loopback address"},
		{address: "127.8.9.1:80", want: "address not allowed: 127.8.9.1 is a loopback address"},
		{address: "[::1]:80", want: "address not allowed: ::1 is a loopback address"},
		{address: "[::ffff:127.0.0.1]:80",
			want: `address not allowed: "::ffff:127.0.0.1" resolves to 127.0.0.1, which is a loopback address`},
		{address: "[::ffff:7f00:1]:80",
			want: `address not allowed: "::ffff:7f00:1" resolves to 127.0.0.1, which is a loopback address`},
		{address: "127.0.0.1:80", allow: true, want: "127.0.0.1:80"},
		{address: "bad:80", want: `address not allowed: "bad" resolves to 127.0.0.1, which is a loopback address`},
		{address: "v6bad:80", want: `address not allowed: "v6bad" resolves to ::1, which is a loopback address`},
		{address: "bad:80", allow: true, want: "127.0.0.1:80"},
		{address: "mixed:80", allow: true,
			want: `address not allowed: "mixed" resolves to 169.254.169.254, which is a link-local address`},
		{address: "169.254.169.254:80", allow: true, want: "address not allowed: 169.254.169.254 is a link-local address"},
		{address: "[fe80::1]:80", want: "address not allowed: fe80::1 is a link-local address"},
		{address: "[fe80::1%eth0]:80", want: "address not allowed: fe80::1%eth0 is a link-local address"},
		{address: "0.0.0.0:80", allow: true, want: "address not allowed: 0.0.0.0 is unspecified"},
		{address: "[::]:80", allow: true, want: "address not allowed: :: is unspecified"},
		{address: "224.0.0.1:80", want: "address not allowed: 224.0.0.1 is a multicast address"},
		{address: "255.255.255.255:80", want: "address not allowed: 255.255.255.255 is not a unicast address"},
		{address: ":80", allow: true, want: "address not allowed: no host"},
		{address: "10.0.0.1:6443", self: "10.0.0.1:6443", want: "address not allowed: 10.0.0.1 is this server"},
		{address: "10.0.0.1:6443", self: "[::ffff:10.0.0.1]:6443", want: "address not allowed: 10.0.0.1 is this server"},
		{address: "10.0.0.1:10250", self: "10.0.0.1:6443", want: "10.0.0.1:10250"},
		{address: "good:6443", self: "[fd00::1]:6443", want: `address not allowed: "good" resolves to fd00::1, which is this server`},
		{address: "127.0.0.1:6443", self: "127.0.0.1:6443", allow: true, want: "address not allowed: 127.0.0.1 is this server"},
		{address: "127.0.0.2:6443", self: "0.0.0.0:6443", allow: true, want: "address not allowed: 127.0.0.2 is this server"},
		{address: "[::1]:6443", self: "[::]:6443", allow: true, want: "address not allowed: ::1 is this server"},
		{address: "10.0.0.1:6443", self: "[::]:6443", want: "10.0.0.1:6443"},
		{address: local + ":6443", self: "[::]:6443", want: "address not allowed: " + local + " is this server"},
		{address: "nowhere:80", want: "lookup nowhere: no such host"},
		{address: "empty:80", want: "lookup empty: no addresses"},
		{address: "10.0.0.1:x", want: "lookup tcp/x: unknown port"},
		{address: "10.0.0.1", want: "address 10.0.0.1: missing port in address"},
	} {
		n, d := newNetwork(names, test.allow, test.self)
		if test.self == "" {
			n, d = newNetwork(names, test.allow)
		}
		_, err := d.dial(t.Context(), "tcp", test.address)
		got := strings.Join(n.dialed, " ")
		if !errors.Is(err, errNobody) {
			if got += err.Error(); len(n.dialed) > 0 {
				t.Errorf("%s: %v was dialed before %v", test.address, n.dialed, err)
			}
		}
		if got != test.want {
			t.Errorf("%s, self %q\n got: %s\nwant: %s", test.address, test.self, got, test.want)
		}
	}
}

// interfaceAddress returns an IPv4 address of this machine that is not loopback, or one that the test above expects the same of.
func interfaceAddress(t *testing.T) string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			return p.Addr().String()
		}
	}
	t.Log("this machine has no address but loopback")
	return "127.0.0.1"
}

// TestCVE_2020_8562: a name is resolved once for a connection, so it cannot mean something else when it is dialed.
func TestCVE_2020_8562(t *testing.T) {
	t.Parallel()
	n, d := newNetwork(map[string][][]string{"flips": {{"10.0.0.1"}, {"127.0.0.1"}}}, false)
	if _, err := d.dial(t.Context(), "tcp", "flips:80"); !errors.Is(err, errNobody) {
		t.Error(err)
	}
	if n.looked.Load() != 1 || !slices.Equal(n.dialed, []string{"10.0.0.1:80"}) {
		t.Errorf("looked up %d times, dialed %v", n.looked.Load(), n.dialed)
	}
	if _, err := d.dial(t.Context(), "tcp", "flips:80"); err == nil || len(n.dialed) != 1 {
		t.Errorf("dialed %v, %v", n.dialed, err)
	}
}

// TestForbiddenAddresses: every subresource refuses what the dialer refuses, with a 400 that says why, and a name that passes
// when it is checked and then means something else is not dialed.
func TestForbiddenAddresses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		o.AllowLoopback = false
		o.Self = func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("10.0.0.5:6443")} }
	})
	n, d := newNetwork(map[string][][]string{"here": {{"127.0.0.1"}}, "flips": {{"10.0.0.1"}, {"127.0.0.1"}}}, false)
	w.connections.dialer.lookup, w.connections.dialer.connect = d.lookup, d.connect
	paths := []string{"pods/web/log", "pods/web/exec", "pods/web/attach", "pods/web/portforward", "nodes/node/proxy/"}
	for address, why := range map[string]string{
		"127.0.0.1":       "127.0.0.1 is a loopback address",
		"::1":             "::1 is a loopback address",
		"169.254.169.254": "169.254.169.254 is a link-local address",
		"0.0.0.0":         "0.0.0.0 is unspecified",
		"here":            `"here" resolves to 127.0.0.1, which is a loopback address`,
		"":                "no host",
		"10.0.0.5":        "10.0.0.5 is this server",
		"a b":             `parse "https://a%20b:6443": invalid URL escape "%20"`,
	} {
		w.nodes["node"] = w.kubelet.node(address)
		w.nodes["node"].Status.DaemonEndpoints.KubeletEndpoint.Port = 6443
		for _, path := range paths {
			w.wantStatus(http.MethodGet, path, 400, "address not allowed: "+why, webSocket("v5.channel.k8s.io")...)
		}
	}
	w.nodes["node"] = w.kubelet.node("10.0.0.5")
	w.wantStatus(http.MethodGet, "nodes/https:node:6443/proxy/", 400, "address not allowed: 10.0.0.5 is this server")

	for _, ip := range []string{"127.0.0.1", "169.254.169.254", "::1", "0.0.0.0"} {
		w.pods["web"].Status.PodIPs = []core.PodIP{{IP: ip}}
		w.wantStatus(http.MethodGet, "pods/web/proxy/", 400, "address not allowed")
	}
	newService(w, "svc", endpoint("169.254.169.254", "ns", "web", true))
	w.pods["web"].Status.PodIPs = []core.PodIP{{IP: "169.254.169.254"}}
	w.wantStatus(http.MethodGet, "services/svc:web/proxy/", 400, "address not allowed: 169.254.169.254 is a link-local address")
	w.pods["web"].Status.PodIPs = []core.PodIP{{IP: "10.0.0.5"}}
	w.wantStatus(http.MethodGet, "pods/web:6443/proxy/", 400, "address not allowed: 10.0.0.5 is this server")

	w.nodes["node"] = w.kubelet.node("flips")
	for _, path := range paths {
		n.looked.Store(0)
		if resp, body := w.do(http.MethodGet, path, "Connection", "upgrade", "Upgrade", "SPDY/3.1"); resp.StatusCode < 500 ||
			!strings.Contains(body, "which is a loopback address") {
			t.Errorf("%s: got %d %s", path, resp.StatusCode, body)
		}
	}
	if len(n.dialed) > 0 || len(w.kubelet.requests()) > 0 {
		t.Errorf("dialed %v", n.dialed)
	}
}

// TestCVE_2020_8559 and 2018-1002102: a redirect is neither followed nor passed on where the client did not ask for a page.
func TestCVE_2020_8559(t *testing.T) {
	t.Parallel()
	var followed atomic.Int32
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	defer target.Close()
	for path, headers := range map[string][]string{
		"pods/web/log":                  nil,
		"pods/web/exec?stdout=true":     {"Upgrade", "SPDY/3.1"},
		"pods/two/exec?container=a":     {"Upgrade", "websocket"},
		"pods/web/attach?stdout=true":   webSocket("v5.channel.k8s.io"),
		"pods/web/portforward":          {"Upgrade", "SPDY/3.1"},
		"pods/web/portforward?ports=80": webSocket("SPDY/3.1+portforward.k8s.io"),
		"nodes/node/proxy/x":            {"Upgrade", "websocket"},
	} {
		w := newWorld(t)
		for i, code := range []int{301, 302, 307, 308} {
			w.kubelet.answerWith(func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, target.URL, code) })
			resp, reader, c := w.upgrade(path, headers...)
			if resp.StatusCode != 500 && resp.StatusCode != 101 || resp.Header.Get("Location") != "" {
				t.Errorf("%s: got %d, Location %q", path, resp.StatusCode, resp.Header.Get("Location"))
			}
			if resp.StatusCode == 101 { // a WebSocket that was open before the kubelet answered
				if said, _ := io.ReadAll(reader); !strings.Contains(string(said), "redirect not allowed") {
					t.Errorf("%s: the WebSocket says %q", path, said)
				}
			}
			_ = c.Close()
			if n := len(w.kubelet.requests()); n != i+1 {
				t.Errorf("%s: the kubelet got %d requests", path, n)
			}
		}
	}
	if followed.Load() > 0 {
		t.Errorf("%d redirects were followed", followed.Load())
	}
}

// TestCloseEndsWhatIsOpen: an upgraded connection ends when the server wants to, and none is made after that.
func TestCloseEndsWhatIsOpen(t *testing.T) {
	t.Parallel()
	eachClient(t, func(t *testing.T, w *world, run func(string, remotecommand.StreamOptions) error) {
		stdin, typed := io.Pipe()
		shown, stdout := io.Pipe()
		defer func() { _ = typed.Close() }()
		done := make(chan error, 1)
		go func() {
			done <- run("pods/web/exec?command=cat&stdin=true&stdout=true", remotecommand.StreamOptions{Stdin: stdin, Stdout: stdout})
		}()
		if _, err := io.WriteString(typed, "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(shown, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		w.connections.Close()
		<-done
		resp, body := w.do(http.MethodGet, "pods/web/log")
		if resp.StatusCode != 500 || !strings.Contains(body, net.ErrClosed.Error()) {
			t.Errorf("got %d %s", resp.StatusCode, body)
		}
	})
}
