package connect

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"

	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// TestPortForward: two ports, over SPDY and over SPDY in a WebSocket, as kubectl does it.
func TestPortForward(t *testing.T) {
	t.Parallel()
	for name, dial := range map[string]func(w *world, u *url.URL) (httpstream.Dialer, error){
		"SPDY": func(w *world, u *url.URL) (httpstream.Dialer, error) {
			transport, upgrader, err := spdy.RoundTripperFor(w.config())
			return spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, u), err
		},
		"WebSocket": func(w *world, u *url.URL) (httpstream.Dialer, error) {
			return portforward.NewSPDYOverWebsocketDialerForStreaming(u, w.config())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			dialer, err := dial(w, w.url("pods/web/portforward"))
			if err != nil {
				t.Fatal(err)
			}
			forward, stop := startForward(t, dialer)
			defer stop()
			ports, err := forward.GetPorts()
			if err != nil {
				t.Fatal(err)
			}
			for _, port := range ports {
				want := fmt.Sprintf("web:%d hello", port.Remote)
				if got := say(t, port.Local, "hello"); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
			if seen := w.kubelet.requests(); len(seen) != 1 || seen[0].Header.Get("Upgrade") != "SPDY/3.1" {
				t.Errorf("the kubelet got %v", seen)
			}
		})
	}
}

func startForward(t *testing.T, dialer httpstream.Dialer) (forward *portforward.PortForwarder, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	forward, err := portforward.NewOnAddressesForStreamingWithContext(ctx, dialer, []string{"127.0.0.1"}, []string{"0:80", "0:8080"},
		ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	go func() { done <- forward.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	return forward, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// say sends text to a local port, and returns all that is said there.
func say(t *testing.T, port uint16, text string) string {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

// TestPortForwardFailsAsTheKubeletSays: the tunnel is only there once the kubelet has agreed.
func TestPortForwardFailsAsTheKubeletSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.kubelet.answerWith(func(rw http.ResponseWriter, _ *http.Request) { http.Error(rw, "no such pod", http.StatusNotFound) })
	resp, _, _ := w.upgrade("pods/web/portforward", webSocket("SPDY/3.1+portforward.k8s.io")...)
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusNotFound || string(body) != "no such pod\n" {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
}
