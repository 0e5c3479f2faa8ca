package kayak_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	clientremote "k8s.io/client-go/tools/remotecommand"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"github.com/kayak-k8s/kayak"
)

// echo is a container runtime whose every command says its name and what it is told.
type echo struct{}

func (echo) ExecInContainer(_ context.Context, pod, _, container string, command []string, in io.Reader,
	out, _ io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	told, err := io.ReadAll(in)
	if err == nil {
		_, err = fmt.Fprintf(out, "%s %s %v %s", pod, container, command, told)
	}
	return err
}

// startKubelet starts what speaks like a kubelet, and returns its port.
func startKubelet(t *testing.T) int32 {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		options, err := remotecommand.NewOptions(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		remotecommand.ServeExec(w, r, echo{}, r.PathValue("pod"), "", r.PathValue("container"), r.URL.Query()["command"], options,
			time.Minute, time.Minute, remotecommand.SupportedStreamingProtocols)
	})
	mux.HandleFunc("/containerLogs/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "log of %s, %s lines", r.PathValue("pod"), r.URL.Query().Get("tailLines"))
	})
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return int32(number)
}

// A log and an exec go all the way: client, server, kubelet. Without leave to dial loopback addresses they do not.
func TestKubelet(t *testing.T) {
	t.Parallel()
	port := startKubelet(t)
	for _, allowed := range []bool{true, false} {
		server := start(t, kayak.Config{Kubelet: kayak.KubeletConfig{AddressTypes: []string{"InternalIP"}, AllowLoopback: allowed}})
		c := client(t, server.RESTConfig())
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}
		if _, err := c.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
		node.Status.DaemonEndpoints.KubeletEndpoint.Port = port
		if _, err := c.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "pod"},
			Spec:       corev1.PodSpec{NodeName: "node", Containers: []corev1.Container{{Name: "main", Image: "image"}}},
		}
		if _, err := c.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		lines := int64(7)
		log, err := c.CoreV1().Pods("default").GetLogs("pod", &corev1.PodLogOptions{TailLines: &lines}).DoRaw(t.Context())
		if got := string(log); allowed && (err != nil || got != "log of pod, 7 lines") || !allowed && err == nil {
			t.Errorf("allowed %v: log %q, %v", allowed, got, err)
		}
		request := c.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("pod").SubResource("exec").
			VersionedParams(&corev1.PodExecOptions{Container: "main", Command: []string{"a", "b"}, Stdin: true, Stdout: true}, scheme.ParameterCodec)
		spdy, err := clientremote.NewSPDYExecutor(server.RESTConfig(), "POST", request.URL())
		if err != nil {
			t.Fatal(err)
		}
		webSocket, err := clientremote.NewWebSocketExecutor(server.RESTConfig(), "GET", request.URL().String())
		if err != nil {
			t.Fatal(err)
		}
		for name, executor := range map[string]clientremote.Executor{"SPDY": spdy, "WebSocket": webSocket} {
			var out bytes.Buffer
			err := executor.StreamWithContext(t.Context(), clientremote.StreamOptions{Stdin: bytes.NewBufferString("told"), Stdout: &out})
			if got := out.String(); allowed && (err != nil || got != "pod main [a b] told") || !allowed && err == nil {
				t.Errorf("allowed %v: exec by %s: %q, %v", allowed, name, got, err)
			}
		}
	}
}
