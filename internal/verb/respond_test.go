package verb

import (
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// TestAnswerOfWhatIsWritten: what a write has been encoded as already is what it is answered with, and is not encoded again.
func TestAnswerOfWhatIsWritten(t *testing.T) {
	t.Parallel()
	for media, want := range map[wire.Media]string{
		wire.JSON:     `{"kind":"Pod","apiVersion":"v1","encoded":"before"}` + "\n",
		wire.Protobuf: "k8s\x00\n\t\n\x02v1\x12\x03Pod\x12\x05bytes\x1a\x00\"\x00",
	} {
		obj, item := &corev1.Pod{}, `{"encoded":"before"}`
		if media == wire.Protobuf {
			item = "bytes"
		}
		w := httptest.NewRecorder()
		c := &Call{
			Writer: w, Request: httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/", nil),
			Resource: &kind.Resource{Kind: &kind.Kind{Name: "Pod"}, Version: corev1.SchemeGroupVersion},
			written:  written{obj: obj, protobuf: media == wire.Protobuf, bytes: []byte(item)},
		}
		if err := (&API{}).respond(t.Context(), c, wire.Output{Media: media}, http.StatusOK, obj); err != nil {
			t.Fatal(err)
		}
		if got := w.Body.String(); got != want {
			t.Errorf("%v: answered %q, want %q", media, got, want)
		}
	}
}
