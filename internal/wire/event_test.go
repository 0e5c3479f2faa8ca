package wire

import (
	"bytes"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestItemEventIsEventOfObject: framing an item at once gives what framing it as an object, and that as an event, gives.
func TestItemEventIsEventOfObject(t *testing.T) {
	t.Parallel()
	kinds := []schema.GroupVersionKind{
		{Version: "v1", Kind: "Pod"},
		{Group: "apps", Version: "v1", Kind: "Deployment"},
		{Group: strings.Repeat("long.", 40) + "example.com", Version: "v1", Kind: "Long"},
	}
	for _, media := range []Media{JSON, Protobuf} {
		for _, gvk := range kinds {
			for _, size := range []int{0, 1, 100, 127, 128, 16300, 16384, 70000} {
				item := bytes.Repeat([]byte("x"), size)
				if media == JSON {
					item = []byte(`{}`)
					if size > 0 {
						item = []byte(`{"data":"` + strings.Repeat("x", size) + `"}`)
					}
				}
				object, err := Object(media, gvk, item)
				if err != nil {
					t.Fatal(err)
				}
				before := []byte("before")
				if media == JSON {
					appended, err := AppendObject(bytes.Clone(before), gvk, func(b []byte) ([]byte, error) { return append(b, item...), nil })
					if err != nil || !bytes.Equal(appended, append(bytes.Clone(before), object...)) {
						t.Fatalf("%v %d: appended %.200q, not %.200q", gvk, size, appended, object)
					}
				}
				want := AppendEvent(bytes.Clone(before), media, "MODIFIED", object)
				got := AppendItemEvent(bytes.Clone(before), media, "MODIFIED", gvk, item)
				if !bytes.Equal(got, want) {
					t.Fatalf("%v %v %d: got %.200q, want %.200q", media, gvk, size, got, want)
				}
			}
		}
	}
}
