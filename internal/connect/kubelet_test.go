package connect

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// fakeKubelet speaks the protocols of a kubelet, with the code that container runtimes use for it. It wants clients to have a
// certificate, and speaks HTTP/2 with those that do.
type fakeKubelet struct {
	server *httptest.Server
	mu     sync.Mutex
	seen   []*http.Request
	// override, when set, answers instead.
	override http.Handler
}

func newFakeKubelet(t *testing.T) *fakeKubelet {
	t.Helper()
	k := &fakeKubelet{}
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", k.exec)
	mux.HandleFunc("/attach/{namespace}/{pod}/{container}", k.attach)
	mux.HandleFunc("/portForward/{namespace}/{pod}", k.portForward)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "kubelet %s %s", r.Method, r.URL.RequestURI())
	})
	k.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.mu.Lock()
		k.seen = append(k.seen, r)
		override := k.override
		k.mu.Unlock()
		if override != nil {
			override.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	k.server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	k.server.EnableHTTP2 = true
	k.server.StartTLS()
	return k
}

func (k *fakeKubelet) answerWith(f http.HandlerFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.override = f
}

func (k *fakeKubelet) requests() []*http.Request {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.seen
}

func (k *fakeKubelet) exec(w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, container{}, r.PathValue("pod"), "", r.PathValue("container"), r.URL.Query()["command"], options,
		time.Minute, time.Minute, remotecommand.SupportedStreamingProtocols)
}

func (k *fakeKubelet) attach(w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeAttach(w, r, container{}, r.PathValue("pod"), "", r.PathValue("container"), options,
		time.Minute, time.Minute, remotecommand.SupportedStreamingProtocols)
}

func (k *fakeKubelet) portForward(w http.ResponseWriter, r *http.Request) {
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, container{}, r.PathValue("pod"), "", options, time.Minute, time.Minute,
		portforward.SupportedProtocols)
}

// container runs a few commands.
type container struct{}

func (container) ExecInContainer(_ context.Context, pod, _, name string, cmd []string, in io.Reader, out, errOut io.WriteCloser,
	tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	switch cmd[0] {
	case "cat":
		_, err := io.Copy(out, in)
		return err
	case "where":
		_, err := fmt.Fprintf(out, "%s/%s %s", pod, name, strings.Join(cmd[1:], ","))
		return err
	case "size":
		size := <-resize
		_, err := fmt.Fprintf(out, "%v %dx%d", tty, size.Width, size.Height)
		return err
	case "fail":
		if _, err := io.WriteString(errOut, "it failed\n"); err != nil {
			return err
		}
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated"), Code: 3}
	}
	return fmt.Errorf("no such command")
}

func (container) AttachContainer(_ context.Context, pod, _, name string, in io.Reader, out, _ io.WriteCloser,
	_ bool, _ <-chan remotecommand.TerminalSize) error {
	if _, err := fmt.Fprintf(out, "attached to %s/%s: ", pod, name); err != nil {
		return err
	}
	if in == nil {
		return nil
	}
	_, err := io.Copy(out, in)
	return err
}

// PortForward answers each line with the port it came to.
func (container) PortForward(_ context.Context, pod, _ string, port int32, stream io.ReadWriteCloser) error {
	defer func() { _ = stream.Close() }()
	if _, err := fmt.Fprintf(stream, "%s:%d ", pod, port); err != nil {
		return err
	}
	_, err := io.Copy(stream, stream)
	return err
}
