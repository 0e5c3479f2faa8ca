package verb_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// lazily opens a watch and returns what reads the objects of its events, as they are on the wire.
func (f *fixture) lazily(t *testing.T, url, accept string) func() []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	in := bufio.NewReader(response.Body)
	return func() []byte {
		if accept == "application/json" {
			line, err := in.ReadBytes('\n')
			if err != nil {
				t.Fatal(err)
			}
			_, object, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("}\n")), []byte(`"object":`))
			return object
		}
		var length [4]byte
		if _, err := io.ReadFull(in, length[:]); err != nil {
			t.Fatal(err)
		}
		frame := make([]byte, binary.BigEndian.Uint32(length[:]))
		if _, err := io.ReadFull(in, frame); err != nil {
			t.Fatal(err)
		}
		var e metav1.WatchEvent
		if err := e.Unmarshal(frame); err != nil {
			t.Fatal(err)
		}
		return e.Object.Raw
	}
}

// Whatever form a write is answered in, and whoever watches: the answer, the event and what a get returns are the same bytes. A
// watch in the form of the answer finds its event encoded.
func TestAnswerEventAndGetAreTheSame(t *testing.T) {
	t.Parallel()
	const collection = "/api/v1/namespaces/default/pods"
	const pod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","annotations":{"resourceVersion":"0","a":"\"resourceVersion\":\"0\""}},
		"spec":{"containers":[{"name":"c","image":"i"}]}}`
	for _, watchers := range []string{"application/json", acceptProtobuf} {
		for _, answers := range []string{"application/json", acceptProtobuf} {
			t.Run(fmt.Sprint(watchers, answers), func(t *testing.T) {
				t.Parallel()
				f := newFixture(t, nil)
				url, _ := f.listen(t)
				f.catchUp(t)
				accept := watchers
				if accept == acceptProtobuf {
					accept += ";stream=watch"
				}
				next := f.lazily(t, url+collection+"?watch=1&resourceVersion=0", accept)
				resource := f.table.Resource("", "v1", "pods")
				for _, write := range []struct{ method, path, contentType, body string }{
					{"POST", collection, "", pod},
					{"PUT", collection + "/p", "", strings.Replace(pod, `"a":`, `"b":`, 1)},
					{"PATCH", collection + "/p/status", "application/strategic-merge-patch+json", `{"status":{"message":"m","phase":"Running"}}`},
					{"PATCH", collection + "/p", "application/merge-patch+json", `{"metadata":{"labels":{"l":"v"}}}`},
				} {
					answer := f.inForm(t, write.method, write.path, write.contentType, answers, write.body)
					event := next()
					record := f.State.Snapshot().Get("/registry/pods/default/p")
					if kept := record.Kept(resource.ItemID(answers == acceptProtobuf)); watchers == answers && kept == nil {
						t.Errorf("%s %s: not kept encoded", write.method, write.path)
					}
					if got := f.inForm(t, "GET", collection+"/p", "", answers, ""); !bytes.Equal(got, answer) {
						t.Errorf("%s %s: answered\n%q\nstored\n%q", write.method, write.path, answer, got)
					}
					got := bytes.TrimSuffix(f.inForm(t, "GET", collection+"/p", "", watchers, ""), []byte("\n"))
					if !bytes.Equal(event, got) {
						t.Errorf("%s %s: event\n%q\nstored\n%q", write.method, write.path, event, got)
					}
				}
			})
		}
	}
}

// inForm sends a request and returns the body of its answer, in a form.
func (f *fixture) inForm(t *testing.T, method, path, contentType, accept, body string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	f.serve(w, r)
	if w.Code >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}
