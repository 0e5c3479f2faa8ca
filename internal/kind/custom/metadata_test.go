package custom

import (
	"encoding/json"
	"reflect"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// through is what upstream does to metadata.
func through(t *testing.T, metadata map[string]any) (map[string]any, bool) {
	t.Helper()
	obj := map[string]any{"metadata": runtime.DeepCopyJSON(metadata)}
	found, ok, unknown, err := objectmeta.GetObjectMetaWithOptions(obj, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil || !ok || len(unknown) > 0 {
		return nil, false
	}
	if err := objectmeta.SetObjectMeta(obj, found); err != nil {
		t.Fatal(err)
	}
	after, ok := obj["metadata"].(map[string]any)
	return after, ok
}

// FuzzSettledMetadata holds the look at metadata against upstream's way: what looks settled must come out of that as it is.
func FuzzSettledMetadata(f *testing.F) {
	for _, seed := range append(settledExamples, unsettledExamples...) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var metadata map[string]any
		if utiljson.Unmarshal([]byte(text), &metadata) != nil || metadata == nil || !settledMetadata(metadata) {
			return
		}
		after, ok := through(t, metadata)
		if !ok || !reflect.DeepEqual(after, metadata) {
			got, _ := json.Marshal(after)
			t.Errorf("%s\nbecomes %s", text, got)
		}
	})
}

var settledExamples = []string{
	`{}`,
	`{"name":"a","namespace":"b","labels":{"a":"b","c":""},"annotations":{"x":"y"}}`,
	`{"name":"a","uid":"u","resourceVersion":"7","generation":3,"creationTimestamp":"2026-01-02T03:04:05Z","finalizers":["a/b"]}`,
	`{"deletionTimestamp":"2026-01-02T03:04:05Z","deletionGracePeriodSeconds":0,"generateName":"x-","selfLink":"s"}`,
	`{"ownerReferences":[{"apiVersion":"v1","kind":"K","name":"n","uid":""},{"apiVersion":"v1","kind":"K","name":"n","uid":"u","controller":false,"blockOwnerDeletion":true}]}`,
	`{"managedFields":[{"manager":"m","operation":"Update","apiVersion":"v1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1","subresource":"status","fieldsV1":{"f:a":{".":{},"k:{\"a\":\"b\"}":{}}}}]}`,
	`{"managedFields":[{"fieldsV1":{}}]}`,
}

var unsettledExamples = []string{
	`{"creationTimestamp":null}`, `{"name":""}`, `{"name":1}`, `{"labels":{}}`, `{"labels":{"a":1}}`, `{"labels":null}`, `{"generation":0}`,
	`{"generation":1.5}`, `{"creationTimestamp":"2026-01-02T03:04:05+00:00"}`, `{"creationTimestamp":"2026-13-02T03:04:05Z"}`, `{"other":1}`,
	`{"ownerReferences":[{"apiVersion":"v1","kind":"K","name":"n"}]}`, `{"ownerReferences":[]}`, `{"ownerReferences":[null]}`, `{"finalizers":[1]}`,
	`{"managedFields":[{"fieldsV1":{"f:a":1}}]}`, `{"managedFields":[{"fieldsV1":null}]}`, `{"managedFields":[{"time":null}]}`, `{"Name":"a"}`,
	`{"ownerReferences":[{"apiVersion":"v1","kind":"K","name":"n","uid":"u","controller":null}]}`,
}

// TestSettledMetadata: the look is not only right, it also knows what is usual.
func TestSettledMetadata(t *testing.T) {
	t.Parallel()
	for want, examples := range map[bool][]string{true: settledExamples, false: unsettledExamples} {
		for _, text := range examples {
			var metadata map[string]any
			if err := utiljson.Unmarshal([]byte(text), &metadata); err != nil {
				t.Fatal(err)
			}
			if settledMetadata(metadata) != want {
				t.Errorf("%s: not %v", text, want)
			}
		}
	}
}
