package verb

import (
	"encoding/json"
	"testing"

	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
)

// Whatever is JSON has the kind that upstream's factory sees in it.
func FuzzQuickMeta(f *testing.F) {
	for _, text := range []string{
		`{"kind":"Pod","apiVersion":"v1","spec":{"a":[1,"]}",{"kind":"x"}]}}`, ` { "apiVersion" : "apps/v1" , "kind" : "Deployment" } `,
		`{"Kind":"Pod","apiVersion":"v1"}`, `{"kind":"Pod","kind":"Node"}`, `{"k\u0069nd":"Pod"}`, `{"kind":"P\u006fd"}`, `{"kind":null}`,
		`{"kind":1}`, `{}`, `[]`, `null`, `{"apiVersion":"a/b/c"}`, `{"a":"\\","kind":"Pod"}`, `{"a":"\"kind\":\"x\"","kind":"Pod"}`,
		`{"a":1,"kind":"Pod"}`, `{"a":{},"b":[],"kind":"Pod"}`, "{\"kind\":\"\xff\"}", `{"KIND":"Pod"}`, `{"apiversion":"v1"}`, "{\"\u212aind\":\"x\"}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !json.Valid(data) {
			_, _ = quickMeta{}.Interpret(data) // must only come back
			return
		}
		want, wantErr := jsonserializer.SimpleMetaFactory{}.Interpret(data)
		got, err := quickMeta{}.Interpret(data)
		if (err == nil) != (wantErr == nil) || err == nil && *got != *want || err != nil && err.Error() != wantErr.Error() {
			t.Errorf("%q: got %v, %v; want %v, %v", data, got, err, want, wantErr)
		}
	})
}

// The kind is found in a body of the usual form, without asking upstream.
func TestQuickKind(t *testing.T) {
	t.Parallel()
	kind, apiVersion, ok := quickKind([]byte(`{"metadata":{"name":"a\"}"},"apiVersion":"apps/v1","kind":"Deployment","spec":{}}`))
	if !ok || kind != "Deployment" || apiVersion != "apps/v1" {
		t.Errorf("got %q, %q, %v", kind, apiVersion, ok)
	}
}
