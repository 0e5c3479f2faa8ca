package verb_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kayak-k8s/kayak/internal/state"
)

// TestWatchListIsList: a watch-list sends, in their order, the objects that a list has, whether they are kept, kept packed or made anew,
// and then says that this was all.
func TestWatchListIsList(t *testing.T) {
	t.Parallel()
	const n = 300
	for _, budget := range []int64{1, 2_000_000, 64 << 20} { // nothing is kept; packed; everything
		f := newFixture(t, nil, func(o *state.Options) { o.EncodingBytes = budget })
		f.putPods(t, n, 3000)
		for _, path := range []string{"/api/v1/pods", "/api/v1/namespaces/ns-3/pods"} {
			for _, selector := range []string{"", "app=app-7", "app!=app-7"} {
				for _, accept := range []string{acceptJSON, acceptMetadata, acceptProtobuf} {
					path := path + "?labelSelector=" + url.QueryEscape(selector)
					t.Run(fmt.Sprint(budget, path, accept), func(t *testing.T) {
						t.Parallel()
						list, _ := f.fetch(t, path, accept, false)
						events, _ := f.fetch(t, path+"&"+strings.Replace(watchList[1:], "timeoutSeconds=2", "timeoutSeconds=1", 1), accept, false)
						if accept == acceptProtobuf {
							sameMessages(t, list, events)
						} else {
							sameItems(t, list, events)
						}
					})
				}
			}
		}
	}
}

// sameItems compares a list with the events of a watch-list, in JSON.
func sameItems(t *testing.T, body, events []byte) {
	t.Helper()
	var list struct{ Items []json.RawMessage }
	if err := json.Unmarshal(body, &list); err != nil || len(list.Items) == 0 {
		t.Fatal(err, len(list.Items))
	}
	lines := bytes.SplitAfter(bytes.TrimSuffix(events, []byte("\n")), []byte("\n"))
	if len(lines) != len(list.Items)+1 {
		t.Fatalf("%d events for %d items", len(lines), len(list.Items))
	}
	for i, item := range list.Items {
		if !bytes.HasPrefix(item, []byte(`{"kind":`)) {
			item = append([]byte(`{"kind":"Pod","apiVersion":"v1",`), item[1:]...)
		}
		if want := `{"type":"ADDED","object":` + string(item) + "}\n"; string(lines[i]) != want {
			t.Fatalf("event %d: %s", i, firstDifference(lines[i], []byte(want)))
		}
	}
	if e := parseEvent(t, lines[len(lines)-1]); e.Type != "BOOKMARK" || e.Object.Annotations[metav1.InitialEventsAnnotationKey] != "true" {
		t.Errorf("the end is %v", e)
	}
}

// sameMessages compares a list with the events of a watch-list, in protobuf.
func sameMessages(t *testing.T, body, events []byte) {
	t.Helper()
	var list corev1.PodList
	decodeProtobuf(t, body, &list)
	for i := 0; len(events) > 0; i++ {
		size := int(binary.BigEndian.Uint32(events))
		var event metav1.WatchEvent
		if err := event.Unmarshal(events[frameLength : frameLength+size]); err != nil {
			t.Fatal(err)
		}
		events = events[frameLength+size:]
		var pod corev1.Pod
		decodeProtobuf(t, event.Object.Raw, &pod)
		pod.TypeMeta = metav1.TypeMeta{}
		switch {
		case i > len(list.Items):
			t.Fatalf("more than %d events", i)
		case i == len(list.Items):
			if event.Type != "BOOKMARK" || len(events) > 0 {
				t.Errorf("the end is %s", event.Type)
			}
		case event.Type != "ADDED" || !equality.Semantic.DeepEqual(pod, list.Items[i]):
			t.Fatalf("event %d: %s %s, not %s", i, event.Type, pod.Name, list.Items[i].Name)
		}
	}
}

// frameLength is the size of the length before an event in protobuf.
const frameLength = 4

// slowWriter takes the first of what it is sent only when a second is over.
type slowWriter struct {
	*httptest.ResponseRecorder
	waited bool
}

func (w *slowWriter) Write(p []byte) (int, error) {
	if !w.waited {
		w.waited = true
		<-time.After(time.Second)
	}
	return w.ResponseRecorder.Write(p)
}

// TestInitialEndsEarly: a watch whose time is over before everything has been sent does not say that everything has been.
func TestInitialEndsEarly(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	const objects, configMaps = 300, "/api/v1/namespaces/default/configmaps"
	for range objects {
		f.must(t, "POST", configMaps, `{"metadata":{"generateName":"a"},"data":{"a":"`+strings.Repeat("x", 4096)+`"}}`)
	}
	f.catchUp(t)
	path := configMaps + strings.Replace(watchList, "timeoutSeconds=2", "timeoutSeconds=1", 1)
	w := &slowWriter{ResponseRecorder: httptest.NewRecorder()}
	f.serve(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
	body := w.Body.String()
	if sent := strings.Count(body, `"ADDED"`); sent == 0 || sent == objects {
		t.Fatalf("%d objects were sent, which is not what is to be tested", sent)
	}
	if strings.Contains(body, metav1.InitialEventsAnnotationKey) {
		t.Error("it says that all has been sent")
	}
}
