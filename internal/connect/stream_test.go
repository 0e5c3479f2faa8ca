package connect

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	core "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/features"
)

// clients are client-go's two ways to exec, in the way that kubectl uses them.
var clients = map[string]func(w *world, u *url.URL) (remotecommand.Executor, error){
	"SPDY": func(w *world, u *url.URL) (remotecommand.Executor, error) {
		return remotecommand.NewSPDYExecutor(w.config(), http.MethodPost, u)
	},
	"WebSocket": func(w *world, u *url.URL) (remotecommand.Executor, error) {
		return remotecommand.NewWebSocketExecutor(w.config(), http.MethodGet, u.String())
	},
}

func eachClient(t *testing.T, f func(t *testing.T, w *world, run func(path string, options remotecommand.StreamOptions) error)) {
	for name, client := range clients {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			f(t, w, func(path string, options remotecommand.StreamOptions) error {
				executor, err := client(w, w.url(path))
				if err != nil {
					t.Fatal(err)
				}
				return executor.StreamWithContext(t.Context(), options)
			})
		})
	}
}

func TestExec(t *testing.T) {
	t.Parallel()
	eachClient(t, func(t *testing.T, _ *world, run func(string, remotecommand.StreamOptions) error) {
		big := strings.Repeat("0123456789abcdef", 1<<14)
		var out, errOut lockedBuffer
		err := run("pods/web/exec?command=cat&stdin=true&stdout=true",
			remotecommand.StreamOptions{Stdin: strings.NewReader(big), Stdout: &out})
		if err != nil || out.String() != big {
			t.Errorf("cat: got %d bytes back of %d, %v", len(out.String()), len(big), err)
		}

		out = lockedBuffer{}
		err = run("pods/two/exec?command=where&command=x&command=y+z&container=b&stdout=true",
			remotecommand.StreamOptions{Stdout: &out})
		if err != nil || out.String() != "two/b x,y z" {
			t.Errorf("where: got %q, %v", out.String(), err)
		}

		out = lockedBuffer{}
		err = run("pods/web/exec?command=fail&stdout=true&stderr=true", remotecommand.StreamOptions{Stdout: &out, Stderr: &errOut})
		var exit exec.CodeExitError
		if !errors.As(err, &exit) || exit.Code != 3 || errOut.String() != "it failed\n" || out.String() != "" {
			t.Errorf("fail: got %v, out %q, err %q", err, out.String(), errOut.String())
		}

		out = lockedBuffer{}
		queue := sizes(t, remotecommand.TerminalSize{Width: 80, Height: 25})
		err = run("pods/web/exec?command=size&stdout=true&tty=true",
			remotecommand.StreamOptions{Stdout: &out, Tty: true, TerminalSizeQueue: queue})
		if err != nil || out.String() != "true 80x25" {
			t.Errorf("size: got %q, %v", out.String(), err)
		}

		err = run("pods/web/exec?command=unknown&stdout=true", remotecommand.StreamOptions{Stdout: io.Discard})
		if err == nil || !strings.Contains(err.Error(), "error executing command in container: no such command") {
			t.Errorf("unknown: got %v", err)
		}
	})
}

type sizeQueue struct {
	ctx   context.Context
	sizes chan remotecommand.TerminalSize
}

// sizes is a terminal that has one size until the test ends.
func sizes(t *testing.T, size remotecommand.TerminalSize) *sizeQueue {
	q := &sizeQueue{t.Context(), make(chan remotecommand.TerminalSize, 1)}
	q.sizes <- size
	return q
}

func (q *sizeQueue) Next() *remotecommand.TerminalSize {
	select {
	case size := <-q.sizes:
		return &size
	case <-q.ctx.Done():
		return nil
	}
}

func TestAttach(t *testing.T) {
	t.Parallel()
	eachClient(t, func(t *testing.T, _ *world, run func(string, remotecommand.StreamOptions) error) {
		var out lockedBuffer
		err := run("pods/two/attach?container=a&stdin=true&stdout=true",
			remotecommand.StreamOptions{Stdin: strings.NewReader("hello"), Stdout: &out})
		if err != nil || out.String() != "attached to two/a: hello" {
			t.Errorf("got %q, %v", out.String(), err)
		}
	})
}

// TestExecByOldWebSocket: versions before the fifth are the kubelet's.
func TestExecByOldWebSocket(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"v4.channel.k8s.io", "channel.k8s.io"} {
		w := newWorld(t)
		executor, err := remotecommand.NewWebSocketExecutorForProtocols(w.config(), http.MethodGet,
			w.url("pods/web/exec?command=where&stdout=true").String(), protocol)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err = executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out})
		if err != nil || out.String() != "web/main " {
			t.Errorf("%s: got %q, %v", protocol, out.String(), err)
		}
		seen := w.kubelet.requests()
		if len(seen) != 1 || seen[0].Header.Get("Upgrade") != "websocket" {
			t.Errorf("%s: the kubelet got %v", protocol, seen)
		}
	}
}

// TestExecWebSocketToKubelet: kubelets that know WebSockets get them as they are, others get SPDY.
func TestExecWebSocketToKubelet(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"pods/web/exec?command=where&stdout=true", "pods/web/attach?stdout=true", "pods/web/portforward"} {
		protocol := "v5.channel.k8s.io"
		if strings.Contains(path, "portforward") {
			protocol = "SPDY/3.1+portforward.k8s.io"
		}
		for _, declared := range []bool{false, true} {
			w := newWorld(t)
			if declared {
				w.nodes["node"].Status.DeclaredFeatures = []string{string(features.ExtendWebSocketsToKubelet)}
			}
			w.kubelet.answerWith(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusTeapot) })
			_, reader, _ := w.upgrade(path, webSocket(protocol)...)
			_, _ = io.Copy(io.Discard, reader) // to the end
			want := "SPDY/3.1"
			if declared {
				want = "websocket"
			}
			seen := w.kubelet.requests()
			if len(seen) != 1 || seen[0].Header.Get("Upgrade") != want {
				t.Fatalf("%s, declared: %v: the kubelet got %v", path, declared, seen)
			}
			if declared && seen[0].Header.Get("Sec-Websocket-Protocol") != protocol {
				t.Errorf("%s: the kubelet got the protocol %q", path, seen[0].Header.Get("Sec-Websocket-Protocol"))
			}
		}
	}
}

// TestUpgradesNeedCreate: who may get must not be able to execute, and who posts was authorized already (KEP-4006).
func TestUpgradesNeedCreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, sub := range []string{"exec", "attach", "portforward"} {
		w.denied.Insert("jane create ns pods " + sub + " web")
		path := "pods/web/" + sub + "?command=cat&stdout=true"
		w.wantStatus(http.MethodGet, path, 403, `pods "web" is forbidden: no rule`)
		w.wantStatus(http.MethodGet, path, 403, `pods "web" is forbidden: no rule`, "Connection", "Upgrade", "Upgrade", "websocket")
	}
	if len(w.kubelet.requests()) > 0 {
		t.Error("the kubelet was asked")
	}
	w.asked = nil
	w.wantStatus(http.MethodPost, "pods/web/exec?command=cat&stdout=true", 400, "Upgrade request required")
	if len(w.asked) > 0 {
		t.Errorf("a POST was authorized again: %v", w.asked)
	}
}

// TestUpgradeOfNodesNeedsCreate: the kubelet executes too (kubernetes/kubernetes#119640).
func TestUpgradeOfNodesNeedsCreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.denied.Insert("jane create  nodes proxy node")
	path := "nodes/node/proxy/exec/ns/web/main?command=where&output=1"
	for _, upgrade := range []string{"websocket", "SPDY/3.1"} {
		w.wantStatus(http.MethodGet, path, 403, `nodes "node" is forbidden: no rule`, "Connection", "upgrade", "Upgrade", upgrade)
	}
	if len(w.kubelet.requests()) > 0 {
		t.Error("the kubelet was asked")
	}
	if _, body := w.do(http.MethodGet, "nodes/node/proxy/pods"); body != "kubelet GET /pods" {
		t.Errorf("a request that is no upgrade: got %q", body)
	}
}

func TestStreamErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pods["waiting"] = newPod("waiting", "", "", "main")
	w.pods["lost"] = newPod("lost", "gone", "", "main")
	w.pods["nowhere"] = newPod("nowhere", "bare", "", "main")
	w.nodes["bare"] = &core.Node{}
	for _, test := range []struct {
		path, message string
		code          int
	}{
		{"pods/none/exec", `pods "none" not found`, 404},
		{"pods/two/exec", "a container name must be specified for pod two, choose one of: [a b]", 400},
		{"pods/two/attach?container=c", "container c is not valid for pod two", 400},
		{"pods/waiting/exec", "pod waiting does not have a host assigned", 400},
		{"pods/waiting/portforward", "pod waiting does not have a host assigned", 400},
		{"pods/lost/attach", `nodes "gone" not found`, 404},
		{"pods/nowhere/exec", "no preferred addresses found; known addresses: []", 500},
		{"pods/web/exec", "Upgrade request required", 400},
		{"pods/two/log", "a container name must be specified for pod two, choose one of: [a b]", 400},
		{"pods/none/log", `pods "none" not found`, 404},
		{"pods/lost/log", `nodes "gone" not found`, 404},
		{"pods/web/log?tailLines=-1",
			`PodLogOptions "web" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0`, 422},
	} {
		w.wantStatus(http.MethodGet, test.path, test.code, test.message)
	}
}
