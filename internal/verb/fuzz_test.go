package verb_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"github.com/kayak-k8s/kayak/internal/managedfields"
)

// These fuzzers throw bytes at whole verbs. Whatever they are, the answer is no error of the server's, and what was accepted is
// an object that the server accepts again.

const fuzzedPod = `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","namespace":"default","labels":{"a":"b"},"finalizers":["x.io/a"]},` +
	`"spec":{"terminationGracePeriodSeconds":5,"containers":[{"name":"c","image":"i","env":[{"name":"A","value":"1"}],` +
	`"ports":[{"containerPort":80,"protocol":"TCP"}]}],"tolerations":[{"key":"k","operator":"Exists"}],"volumes":[{"name":"v","emptyDir":{}}]}}`

func newFuzzed(f *testing.F) *fixture {
	fx := newFixture(f, nil)
	fx.Fields = managedfields.New()
	fx.Authorizer = allowAll{}
	return fx
}

// renew makes the pod what it is at the beginning of every round, or fails.
func (f *fixture) renew(t *testing.T) {
	t.Helper()
	f.catchUp(t)
	if w := f.do(t, "PUT", podPath, "application/json", fuzzedPod); w.Code == http.StatusOK {
		return
	}
	// The round before has left something that an update does not get back from.
	f.do(t, "PATCH", podPath, mergePatch, `{"metadata":{"finalizers":null}}`)
	f.do(t, "DELETE", podPath+"?gracePeriodSeconds=0", "", "")
	f.must(t, "POST", "/api/v1/namespaces/default/pods", fuzzedPod)
}

const podPath = "/api/v1/namespaces/default/pods/p"

// isServersFault reports whether an answer blames the server. Upstream blames itself, too, for what is applied and does not fit
// the schema, for an object that names a resourceVersion at its creation, and for a patch of a list's element without its key.
func isServersFault(code int, body string) bool {
	return code >= http.StatusInternalServerError &&
		!strings.Contains(body, "resourceVersion should not be set on objects to be created") &&
		!strings.Contains(body, "failed to create typed patch object") &&
		!strings.Contains(body, "does not contain declared merge key")
}

var fuzzedMedia = []string{
	"application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor", "", "application/json;stream=watch",
}

func FuzzBody(f *testing.F) {
	fx := newFuzzed(f)
	pod, err := runtime.Decode(legacyscheme.Codecs.UniversalDecoder(), []byte(fuzzedPod))
	if err != nil {
		f.Fatal(err)
	}
	for i, media := range fuzzedMedia[:3] {
		info, _ := runtime.SerializerInfoForMediaType(legacyscheme.Codecs.SupportedMediaTypes(), media)
		body, err := runtime.Encode(legacyscheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), pod)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(i, body)
	}
	f.Add(1, []byte("a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]"))
	f.Add(0, []byte(strings.Repeat("[", 20000)))
	f.Add(0, []byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p"},"spec":{"priority":1e999999999}}`))
	f.Fuzz(func(t *testing.T, media int, body []byte) {
		contentType := fuzzedMedia[uint(media)%uint(len(fuzzedMedia))]
		for _, validation := range []string{"Strict", "Ignore"} {
			w := fx.do(t, "POST", "/api/v1/namespaces/default/pods?dryRun=All&fieldValidation="+validation, contentType, string(body))
			if isServersFault(w.Code, w.Body.String()) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if w.Code == http.StatusCreated {
				fx.acceptsAgain(t, w.Body.Bytes())
			}
		}
	})
}

// acceptsAgain creates, in a dry run, what was the answer to a create.
func (f *fixture) acceptsAgain(t *testing.T, answer []byte) {
	t.Helper()
	var obj map[string]any
	if err := json.Unmarshal(answer, &obj); err != nil {
		t.Fatal(err)
	}
	metadata := obj["metadata"].(map[string]any)
	delete(metadata, "managedFields")
	again, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	w := f.do(t, "POST", "/api/v1/namespaces/default/pods?dryRun=All&fieldValidation=Strict", "application/json", string(again))
	if w.Code != http.StatusCreated {
		t.Errorf("what was answered to a create is not accepted: %d %s\n%s", w.Code, w.Body, again)
	}
}

// fuzzPatch changes a pod by patches of one type.
func fuzzPatch(f *testing.F, media string, seeds ...string) {
	fx := newFuzzed(f)
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	query := "?fieldManager=fuzz"
	if media == applyPatch {
		query += "&force=true"
	}
	f.Fuzz(func(t *testing.T, patch []byte) {
		fx.renew(t)
		w := fx.do(t, "PATCH", podPath+query, media, string(patch))
		if isServersFault(w.Code, w.Body.String()) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if w.Code != http.StatusOK {
			return
		}
		// What the object has become can be written as it is, and that changes nothing.
		fx.catchUp(t)
		after := fx.do(t, "GET", podPath, "", "")
		if after.Code != http.StatusOK {
			return // the patch took away the last that had kept it
		}
		again := fx.do(t, "PUT", podPath, "application/json", after.Body.String())
		if again.Code != http.StatusOK || version(t, again.Body.Bytes()) != version(t, after.Body.Bytes()) {
			t.Errorf("written as it is: %d\n%s\nbefore:\n%s", again.Code, again.Body, after.Body)
		}
	})
}

func version(t *testing.T, body []byte) string {
	t.Helper()
	var obj struct {
		Metadata struct{ ResourceVersion string }
	}
	if err := json.Unmarshal(body, &obj); err != nil {
		t.Fatal(err)
	}
	return obj.Metadata.ResourceVersion
}

func FuzzJSONPatch(f *testing.F) {
	fuzzPatch(f, "application/json-patch+json",
		`[{"op":"replace","path":"/spec/containers/0/image","value":"j"}]`,
		`[{"op":"test","path":"/metadata/labels/a","value":"b"},{"op":"move","from":"/metadata/labels","path":"/metadata/annotations"}]`,
		`[{"op":"copy","from":"/spec/containers/0","path":"/spec/containers/-"},{"op":"remove","path":"/spec/tolerations"}]`,
		`[{"op":"add","path":"","value":{}}]`)
}

func FuzzMergePatch(f *testing.F) {
	fuzzPatch(f, mergePatch,
		`{"metadata":{"labels":{"a":null,"c":"d"}}}`, `{"spec":{"containers":null}}`, `{"metadata":null}`, `null`, `{"spec":{"tolerations":[{"key":"z"}]}}`)
}

func FuzzStrategicMergePatch(f *testing.F) {
	fuzzPatch(f, "application/strategic-merge-patch+json",
		`{"spec":{"containers":[{"name":"c","image":"j"}]}}`, `{"spec":{"containers":[{"$patch":"delete","name":"c"}]}}`,
		`{"metadata":{"$deleteFromPrimitiveList/finalizers":["x.io/a"]}}`, `{"spec":{"$setElementOrder/containers":[{"name":"c"}]}}`,
		`{"spec":{"$patch":"replace","containers":[]}}`, `{"spec":{"$retainKeys":["containers"],"volumes":[{"name":"v","$retainKeys":["name"]}]}}`)
}

func FuzzApply(f *testing.F) {
	fuzzPatch(f, applyPatch,
		`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","labels":{"x":"y"}}}`,
		"kind: Pod\napiVersion: v1\nspec:\n  containers:\n  - name: c\n    image: k\n  - name: d\n    image: e\n",
		`{"kind":"Pod","apiVersion":"v1","metadata":{"finalizers":["x.io/a","x.io/a"]}}`)
}

func FuzzDeleteOptions(f *testing.F) {
	fx := newFuzzed(f)
	f.Add(0, []byte(`{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":3,"preconditions":{"uid":"x"},"propagationPolicy":"Orphan"}`))
	f.Add(1, []byte("orphanDependents: true\ndryRun: [All]"))
	f.Fuzz(func(t *testing.T, media int, body []byte) {
		fx.renew(t)
		contentType := fuzzedMedia[uint(media)%uint(len(fuzzedMedia))]
		if w := fx.do(t, "DELETE", podPath, contentType, string(body)); isServersFault(w.Code, w.Body.String()) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
