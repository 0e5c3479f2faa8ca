package verb_test

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	clientscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/kayak-k8s/kayak/internal/managedfields"
)

const megabyte = 1 << 20

// Bodies of 3 MiB, or of a few bytes that want to become much, are refused for little memory, whatever reads them.
// It does not run beside other tests, which allocate as well.
func TestHostileBodiesTakeLittle(t *testing.T) {
	f := newFixture(t, nil)
	f.Fields = managedfields.New()
	const maps = "/api/v1/namespaces/default/configmaps"
	f.must(t, "POST", maps, `{"metadata":{"name":"a"}}`)
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s*%c]\n", c, c, strings.Repeat(fmt.Sprintf("*%c,", c-1), 8), c-1)
	}
	const (
		post, del              = "POST " + maps, "DELETE " + maps + "/a"
		put, patch             = "PUT " + maps + "/a", "PATCH " + maps + "/a?fieldManager=m"
		json, yaml, proto      = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
		jsonPatch, merge       = "application/json-patch+json", "application/merge-patch+json"
		strategic, apply       = "application/strategic-merge-patch+json", "application/apply-patch+yaml"
		revisions, definitions = "POST /apis/apps/v1/namespaces/default/controllerrevisions", "POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	)
	lists := strings.Repeat("[", 3*megabyte-100)
	objects := strings.Repeat(`{"a":`, 600_000)
	for _, test := range []struct {
		name, request, contentType, body string
	}{
		{"a bomb of anchors", post, yaml, bomb},
		{"a bomb of anchors to update", put, yaml, bomb},
		{"a bomb of anchors to apply", patch, apply, bomb},
		{"a bomb of anchors to delete", del, yaml, bomb},
		{"nested lists", post, json, `{"data":` + lists},
		{"nested objects", post, json, `{"data":` + objects},
		{"nested lists in YAML", post, yaml, `data: ` + lists},
		{"nested objects in YAML", post, yaml, `data: ` + objects},
		{"nested lists to apply", patch, apply, lists},
		{"nested lists to merge", patch, merge, `{"data":` + lists},
		{"nested lists to merge strategically", patch, strategic, `{"data":` + lists},
		{"nested lists in a JSON patch", patch, jsonPatch, `[{"op":"add","path":"/data","value":` + lists},
		{"nested lists to delete", del, json, lists},
		{"a raw extension", revisions, proto, nestedExtension(t)},
		{"managed fields", post, proto, nestedFields(t)},
		{"a schema", definitions, proto, nestedSchema(t)},
	} {
		method, path, _ := strings.Cut(test.request, " ")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w := f.do(t, method, path, test.contentType, test.body)
		runtime.ReadMemStats(&after)
		if w.Code < 400 && test.name != "managed fields" || w.Code >= http.StatusInternalServerError {
			t.Errorf("%s: answer %d %.500s", test.name, w.Code, w.Body)
		}
		if took := (after.TotalAlloc - before.TotalAlloc) / megabyte; took > 300 {
			t.Errorf("%s: %d MB", test.name, took)
		}
	}
}

func encodeProtobuf(t *testing.T, obj apiruntime.Object) string {
	t.Helper()
	var b bytes.Buffer
	if err := protobuf.NewSerializer(clientscheme.Scheme, clientscheme.Scheme).Encode(obj, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// In protobuf, JSON is just bytes, which are read later or not at all.
func nestedExtension(t *testing.T) string {
	revision := &appsv1.ControllerRevision{
		TypeMeta: metav1.TypeMeta{Kind: "ControllerRevision", APIVersion: "apps/v1"}, ObjectMeta: metav1.ObjectMeta{Name: "b"},
	}
	const depth = 1_400_000
	revision.Data.Raw = []byte(`{"a":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}`)
	return encodeProtobuf(t, revision)
}

func nestedFields(t *testing.T) string {
	const depth = 400_000
	return encodeProtobuf(t, &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: "b", ManagedFields: []metav1.ManagedFieldsEntry{{
			Manager: "m", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", FieldsType: "FieldsV1",
			FieldsV1: metav1.NewFieldsV1(strings.Repeat(`{"f:a":`, depth) + "{}" + strings.Repeat("}", depth)),
		}}},
	})
}

// A schema in a schema in a schema: what reads it goes down one call for each. It is put together by hand, because writing it
// takes the square of its depth.
func nestedSchema(t *testing.T) string {
	t.Helper()
	const spec, versions, schema, openAPI, not = 2, 7, 4, 1, 28
	path := []protowire.Number{spec, versions, schema, openAPI}
	for range 400_000 {
		path = append(path, not)
	}
	sizes := make([]int, len(path)+1)
	for i := len(path) - 1; i >= 0; i-- {
		sizes[i] = protowire.SizeTag(path[i]) + protowire.SizeBytes(sizes[i+1])
	}
	var raw []byte
	for i, number := range path {
		raw = protowire.AppendVarint(protowire.AppendTag(raw, number, protowire.BytesType), uint64(sizes[i+1]))
	}
	unknown := apiruntime.Unknown{
		TypeMeta: apiruntime.TypeMeta{Kind: "CustomResourceDefinition", APIVersion: "apiextensions.k8s.io/v1"}, Raw: raw,
	}
	message, err := unknown.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return "k8s\x00" + string(message)
}
