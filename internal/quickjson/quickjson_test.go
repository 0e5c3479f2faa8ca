package quickjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"reflect"
	"strings"
	"testing"

	fuzz "sigs.k8s.io/randfill"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	kjson "sigs.k8s.io/json"
)

// objects are one empty object of every kind of Kubernetes, in every version.
func objects(t testing.TB) map[string]func() runtime.Object {
	made := map[string]func() runtime.Object{}
	for gvk := range clientscheme.Scheme.AllKnownTypes() {
		if gvk.Version == runtime.APIVersionInternal || strings.HasSuffix(gvk.Kind, "List") || strings.HasSuffix(gvk.Kind, "Options") || gvk.Kind == "WatchEvent" {
			continue
		}
		made[gvk.String()] = func() runtime.Object {
			obj, err := clientscheme.Scheme.New(gvk)
			if err != nil {
				t.Fatal(err)
			}
			return obj
		}
	}
	return made
}

func filler(seed int64) *fuzz.Filler {
	codecs := serializer.NewCodecFactory(clientscheme.Scheme)
	return fuzzer.FuzzerFor(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs), rand.NewSource(seed), codecs).NilChance(.3).NumElements(0, 3).MaxDepth(9)
}

// Every kind, filled with whatever, is written as encoding/json writes it, and what is read is what sigs.k8s.io/json reads.
func TestAllKinds(t *testing.T) {
	t.Parallel()
	read, all := 0, 0
	for name, make := range objects(t) {
		fill := filler(int64(len(name)))
		for range 20 {
			obj := make()
			fill.Fill(obj)
			want, wantErr := json.Marshal(obj)
			got, err := Marshal(obj)
			if !bytes.Equal(got, want) || (err == nil) != (wantErr == nil) {
				t.Fatalf("%s is written as\n%s\nnot as\n%s\n%v, %v", name, got, want, err, wantErr)
			}
			if err != nil {
				continue
			}
			all++
			if checkRead(t, want, make) {
				read++
			}
		}
	}
	if read < all/2 {
		t.Errorf("only %d of %d documents were read", read, all)
	}
}

// checkRead reads a document both ways.
func checkRead(t testing.TB, document []byte, make func() runtime.Object) bool {
	t.Helper()
	before := bytes.Clone(document)
	got, want := make(), make()
	ok := Unmarshal(document, got)
	if !bytes.Equal(before, document) {
		t.Fatalf("%s was changed", before)
	}
	if !ok {
		return false
	}
	strict, err := kjson.UnmarshalStrict(document, want)
	if err != nil || len(strict) > 0 {
		t.Fatalf("%s was read, but: %v %v", document, err, strict)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s was read as\n%#v\nnot as\n%#v", document, got, want)
	}
	return true
}

// checkMap reads a document into maps both ways, and writes it.
func checkMap(t testing.TB, document []byte) bool {
	t.Helper()
	got, ok := UnmarshalMap(document)
	if !ok {
		return false
	}
	want := map[string]any{}
	strict, err := kjson.UnmarshalStrict(document, &want)
	if err != nil || len(strict) > 0 || !reflect.DeepEqual(got, want) {
		t.Fatalf("%s was read as\n%#v\nnot as\n%#v: %v %v", document, got, want, err, strict)
	}
	wantText, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := Marshal(got); err != nil || !bytes.Equal(text, wantText) {
		t.Fatalf("written as\n%s\nnot as\n%s: %v", text, wantText, err)
	}
	return true
}

// documents are what is usual and what is not; taken says that they are read.
func documents() []struct {
	text  string
	taken bool
} {
	pod := func(spec string) string { return `{"metadata":{"name":"p"},"spec":` + spec + `}` }
	return []struct {
		text  string
		taken bool
	}{
		{`{}`, true}, {` { } `, true}, {`{}x`, false}, {`{}{}`, false}, {``, false}, {`[]`, false}, {`null`, true}, {`{"metadata"}`, false},
		{`{"metadata":{"name":"a","labels":{"a":"b","c":null,"ü":"ß"},"creationTimestamp":null}}`, true},
		{`{"metadata":{"creationTimestamp":"2026-01-01T00:00:00Z","deletionTimestamp":null,"generation":-0}}`, true},
		{`{"metadata":{"creationTimestamp":"yesterday"}}`, false},
		{`{"metadata":{"name":"a","name":"b"}}`, false}, {`{"metadata":{"labels":{"a":"b","a":"c"}}}`, false},
		{`{"metadata":{"Name":"a"}}`, false}, {`{"metadata":{"unknown":1}}`, false}, {`{"metadata":{"name":1}}`, false},
		{`{"metadata":{"name":"\u0041\n\t\"\\\/\b\f\r\u00e9\u20ac"}}`, true}, {`{"metadata":{"name":"\ud83d\ude00"}}`, false}, {`{"metadata":{"name":"\x"}}`, false},
		{"{\"metadata\":{\"name\":\"a\nb\"}}", false}, {"{\"metadata\":{\"name\":\"\xff\"}}", false}, {"{\"metadata\":{\"name\":\"\\n\xff\"}}", false},
		{`{"metadata":{"name":"a`, false}, {`{"metadata":{"name":"a\`, false}, {`{"metadata":{"name":"\u00`, false}, {`{"m\u0065tadata":{}}`, true},
		{pod(`{"containers":[],"volumes":null,"nodeSelector":{}}`), true}, {pod(`{"containers":[{"name":"c"},{"name":"d","args":["a"]}]}`), true},
		{pod(`{"containers":[{"name":"c"},]}`), false}, {pod(`{"containers":[{"name":"c"}`), false}, {pod(`{"containers":{}}`), false}, {pod(`[]`), false},
		{pod(`{"priority":1}`), true}, {pod(`{"priority":01}`), false}, {pod(`{"priority":1.0}`), false}, {pod(`{"priority":1e1}`), false},
		{pod(`{"priority":2147483648}`), false}, {pod(`{"priority":-}`), false}, {pod(`{"priority":null,"hostNetwork":null}`), true},
		{pod(`{"hostNetwork":true,"enableServiceLinks":false}`), true}, {pod(`{"hostNetwork":truely}`), false}, {pod(`{"hostNetwork":"true"}`), false},
		{pod(`{"overhead":{"cpu":"100m","memory":5,"x":"1e3"}}`), true}, {pod(`{"overhead":{"cpu":{}}}`), false}, {pod(`{"overhead":{"cpu":1.5}}`), false},
		{`{"metadata":{"managedFields":[{"manager":"m","fieldsType":"FieldsV1","fieldsV1":{"f:a":{".":{},"k:{\"b\":1}":{}}}}]}}`, true},
		{`{"metadata":{"managedFields":[{"fieldsV1":{"f:a" : {  }, "f:b":{}}}]}}`, true}, {`{"metadata":{"managedFields":[{"fieldsV1":{"f:a":}}]}}`, false},
		{`{"metadata":{"managedFields":[{"fieldsV1":{"f:<a>":{},"f:b\\":{}}}]}}`, true}, {`{"metadata":{"managedFields":[{"fieldsV1":{]}}]}}`, false},
		{`{"a":[1,"b",null,true,false,{"c":[]},[[]],-5,9223372036854775807],"d":"<>&\u2028\u2029"}`, false},
	}
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	pod := objects(t)["/v1, Kind=Pod"]
	for _, d := range documents() {
		if got := checkRead(t, []byte(d.text), pod); got != d.taken {
			t.Errorf("%s: read %t", d.text, got)
		}
		checkMap(t, []byte(d.text))
	}
	if !checkMap(t, []byte(`{"a":[1,"b",null,true,false,{"c":[]},[[]],-5,9223372036854775807,-0],"d":"<>&\u2028\u2029\u007f\u0001"}`)) {
		t.Error("a map was not read")
	}
	if Unmarshal([]byte(`{}`), metav1.ObjectMeta{}) || Unmarshal([]byte(`{}`), (*metav1.ObjectMeta)(nil)) || Unmarshal([]byte(`{}`), &[]string{}) {
		t.Error("read into what is no struct")
	}
}

func TestOnlyObjects(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`{}`: true, `{"a":{}}`: true, `{"a":{},"b":{"c":{}}}`: true, `{"k:{\"a\":1}":{".":{}}}`: true,
		``: false, `{`: false, `}`: false, `,`: false, `"`: false, `{}}`: false, `{}{}`: false, `{"a":{}"b":{}}`: false, `{"a":{},}`: false, `{,"a":{}}`: false,
		`{"a":{}},"b":{}`: false, `{{}}`: false, `{"a"}`: false, `{"a":}`: false, `{"a":1}`: false, `{"a":{}`: false, `{"a\n":{}}`: false, `{"a" :{}}`: false,
		`{"<":{}}`: false, `{"a\`: false, `{"a`: false, `{"a":`: false, `{"ü":{}}`: false, `[]`: false, `{"a":{},"b":{}},`: false, `{"":{}}`: true, `:{}`: false,
	} {
		if got := onlyObjects(text); got != want {
			t.Errorf("onlyObjects(%s) = %t", text, got)
		}
		if want && !json.Valid([]byte(text)) {
			t.Errorf("%s is no JSON", text)
		}
	}
}

// What encoding/json does with values that cannot be addressed, with embedded structs and with names of all sorts.
func TestMarshalOddities(t *testing.T) {
	t.Parallel()
	type embedded struct{ A, B string }
	type odd struct {
		embedded
		metav1.Time
		C string `json:"c,omitzero"`
	}
	now := metav1.Now()
	for _, v := range []any{
		&odd{}, odd{}, nil, (*odd)(nil), &now, &struct {
			A string `json:"a<b"`
		}{}, &struct {
			A int `json:",string"`
		}{5}, &struct{ F float64 }{1e21},
		&struct{ M map[string]metav1.Time }{map[string]metav1.Time{"a": now}}, &struct{ U uint8 }{3}, &struct{ A []uint8 }{[]uint8{1}}, &struct{ A [2]int }{},
		&struct{ M map[int]string }{map[int]string{1: "a"}}, &struct{ S string }{"\xff"}, &struct{ S []string }{nil}, map[string]any{"a": 1.5, "b": []any(nil), "c": map[string]any(nil)},
		map[string]any{"a\xff": nil}, map[string]any(nil), map[string]any{"a": int64(1), "b": 1}, []any{}, "a",
	} {
		want, wantErr := json.Marshal(v)
		got, err := Marshal(v)
		if !bytes.Equal(got, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Errorf("%#v is written as %s, not as %s (%v, %v)", v, got, want, err, wantErr)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, d := range documents() {
		f.Add([]byte(d.text))
	}
	pod := objects(f)["/v1, Kind=Pod"]
	f.Fuzz(func(t *testing.T, document []byte) {
		checkRead(t, document, pod)
		checkMap(t, document)
		if onlyObjects(string(document)) && !json.Valid(document) {
			t.Errorf("%s is no JSON", document)
		}
	})
}

func BenchmarkPod(b *testing.B) {
	text, err := os.ReadFile("../managedfields/testdata/pod.json")
	if err != nil {
		b.Fatal(err)
	}
	make := objects(b)["/v1, Kind=Pod"]
	pod := make()
	if _, err := kjson.UnmarshalStrict(text, pod); err != nil {
		b.Fatal(err)
	}
	for name, do := range map[string]func(){
		"read/quick":     func() { Unmarshal(text, make()) },
		"read/upstream":  func() { _, _ = kjson.UnmarshalStrict(text, make()) },
		"write/quick":    func() { _, _ = Marshal(pod) },
		"write/upstream": func() { _, _ = json.Marshal(pod) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				do()
			}
		})
	}
}
