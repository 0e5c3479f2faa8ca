package connect

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	restclient "k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// TestLog: what the kubelet is asked.
func TestLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for path, want := range map[string]string{
		"pods/web/log":             "/containerLogs/ns/web/main",
		"pods/two/log?container=b": "/containerLogs/ns/two/b",
		"pods/web/log?follow=true&limitBytes=100&previous=true&sinceSeconds=60&tailLines=5&timestamps=true": "" +
			"/containerLogs/ns/web/main?follow=true&limitBytes=100&previous=true&sinceSeconds=60&tailLines=5&timestamps=true",
		"pods/web/log?sinceTime=2026-01-02T03:04:05Z": "/containerLogs/ns/web/main?sinceTime=2026-01-02T03%3A04%3A05Z",
	} {
		resp, body := w.do(http.MethodGet, path)
		if want = "kubelet GET " + want; body != want || resp.StatusCode != 200 {
			t.Errorf("%s\n got: %d %s\nwant: %s", path, resp.StatusCode, body, want)
		}
		flush := fmt.Sprint(strings.Contains(path, "follow"))
		if resp.Header.Get("Content-Type") != "text/plain" || resp.Header.Get("X-Flush") != flush {
			t.Errorf("%s: got headers %v", path, resp.Header)
		}
	}
	if seen := w.kubelet.requests(); seen[0].ProtoMajor != 2 || seen[0].TLS.PeerCertificates[0].Subject.CommonName == "" {
		t.Errorf("the kubelet was asked by %s", seen[0].Proto)
	}
}

// TestLogFollow: client-go sees each line when the kubelet has written it, and the kubelet sees it when the client leaves.
func TestLogFollow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	next, gone := make(chan string), make(chan struct{})
	w.kubelet.answerWith(func(rw http.ResponseWriter, r *http.Request) {
		for {
			rw.(http.Flusher).Flush()
			select {
			case line := <-next:
				_, _ = io.WriteString(rw, line)
			case <-r.Context().Done():
				close(gone)
				return
			}
		}
	})
	config := w.config()
	config.APIPath, config.GroupVersion, config.NegotiatedSerializer = "/api", &v1.SchemeGroupVersion, scheme.Codecs
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client, err := restclient.RESTClientForConfigAndClient(config, &http.Client{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := client.Get().Namespace("ns").Resource("pods").Name("web").SubResource("log").
		VersionedParams(&v1.PodLogOptions{Follow: true, TailLines: ptr.To[int64](1)}, scheme.ParameterCodec).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 100)
	for _, line := range []string{"one\n", "two\n"} {
		next <- line
		n, err := io.ReadFull(stream, buffer[:len(line)])
		if err != nil || string(buffer[:n]) != line {
			t.Errorf("got %q, %v", buffer[:n], err)
		}
	}
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
	<-gone
}

// TestLogErrors: what the kubelet answers becomes a Status.
func TestLogErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pods["waiting"] = newPod("waiting", "", "", "main")
	if resp, body := w.do(http.MethodGet, "pods/waiting/log"); resp.StatusCode != http.StatusNoContent || body != "" {
		t.Errorf("a pod without a node: got %d %q", resp.StatusCode, body)
	}
	for code, want := range map[int]string{
		400: `previous terminated container "main" in pod "web" not found`,
		404: `the server could not find the requested resource ( pods/log web)`,
		500: "Internal error occurred: broken",
		403: " ( pods/log web)",
	} {
		w.kubelet.answerWith(func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(code)
			_, _ = io.WriteString(rw, map[int]string{400: want, 500: "broken"}[code])
		})
		resp, body := w.do(http.MethodGet, "pods/web/log")
		if resp.StatusCode != code || !strings.Contains(body, strings.ReplaceAll(want, `"`, `\"`)) {
			t.Errorf("%d: got %d %s", code, resp.StatusCode, body)
		}
	}
}

// TestLogVerifiesTheKubelet: against the authorities that were given, unless the client says otherwise.
func TestLogVerifiesTheKubelet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Kubelet.CAFile = o.Kubelet.CertFile }) // which has signed nothing
	resp, body := w.do(http.MethodGet, "pods/web/log")
	if resp.StatusCode != 500 || !strings.Contains(body, "x509: ") || len(w.kubelet.requests()) > 0 {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
	_, body = w.do(http.MethodGet, "pods/web/log?insecureSkipTLSVerifyBackend=true")
	if body != "kubelet GET /containerLogs/ns/web/main" {
		t.Errorf("got %s", body)
	}
}
