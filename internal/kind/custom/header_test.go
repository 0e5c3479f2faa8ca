package custom

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// FuzzPlainAt: what is found in the bytes is what is found in the decoded object.
func FuzzPlainAt(f *testing.F) {
	for _, seed := range []string{
		`{"spec":{"a":"x"}}`, `{"spec":{"a":7}}`, `{"spec":{"a":-0}}`, `{"spec":{"a":1.0}}`, `{"spec":{"a":1e3}}`, `{"spec":{"a":true}}`, `{"spec":{"a":null}}`,
		`{"spec":{"a":"\u00e4"}}`, `{"spec":[]}`, `{"spec":{"a":{}}}`, `{"spec":{"a":"x"},"spec":{"a":"y"}}`, `{ "spec" : { "b" : 1 , "a" : "x y" } }`, `{"spec":{"a":9223372036854775808}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var object map[string]any
		if utiljson.Unmarshal([]byte(text), &object) != nil || object == nil {
			return
		}
		got, ok := plainAt([]byte(text), "spec.a")
		if !ok {
			return
		}
		want, found, err := unstructured.NestedFieldNoCopy(object, "spec", "a")
		if err != nil || !found || fmt.Sprint(want) != got {
			t.Errorf("%s: %q, decoded %v", text, got, want)
		}
	})
}

// TestPlainAt: the usual is found.
func TestPlainAt(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{`"x"`: "x", `7`: "7", `true`: "true", `""`: ""} {
		if got, ok := plainAt([]byte(strings.Replace(`{"spec":{"b":{"a":1},"a":%}}`, "%", text, 1)), "spec.a"); !ok || got != want {
			t.Errorf("%s: %q %v", text, got, ok)
		}
	}
}
