package verb

import (
	"bytes"
	"math/rand"
	"reflect"
	"testing"
	"time"

	crdfuzzer "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/fuzzer"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	kubetesting "k8s.io/kubernetes/pkg/api/testing"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
)

// What is promised of a write is, to the byte, what encoding the stored object gives: for every kind, in every version, as JSON and
// protobuf, also where strings of the object look like the place that is left open.
func TestPromisedIsWhatIsRead(t *testing.T) {
	t.Parallel()
	kinds, err := builtin.Kinds(builtin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	served := kind.NewTable(kinds...)
	funcs := fuzzer.MergeFuzzerFuncs(kubetesting.FuzzerFuncs, crdfuzzer.Funcs)
	promised, stored, random := 0, 0, rand.New(rand.NewSource(5))
	for _, k := range served.Kinds() {
		if !k.Stored() || k.Codec.Written == nil {
			continue
		}
		fill := fuzzer.FuzzerFor(funcs, rand.NewSource(3), k.Codec.Serializer.(serializer.CodecFactory))
		for i := range 40 {
			obj := k.New()
			if i > 0 { // an empty object as well
				fill.Fill(obj)
			}
			accessor, err := meta.Accessor(obj)
			if err != nil {
				t.Fatal(err)
			}
			if i%4 == 3 { // as if a strategy had taken things away, which reading gives defaults for
				forget(random, reflect.ValueOf(obj).Elem())
			}
			if i == 1 {
				accessor.SetName(`"resourceVersion":"0"`)
				accessor.SetUID(`\"resourceVersion":"0"`)
			}
			value, err := k.Encode(obj)
			if err != nil {
				continue
			}
			const revision = 1234567
			want, err := k.Decode(value, revision)
			if err != nil {
				t.Fatal(k.GroupResource(), err)
			}
			got, asStored, err := k.Written(obj, value, 0)
			if err != nil {
				t.Fatal(k.GroupResource(), err)
			}
			if got == nil {
				continue
			}
			for _, version := range k.Versions {
				r := served.Resource(k.Group, version, k.Resource)
				if item := r.StoredItem(value); asStored && item != nil {
					wantItem, err := r.EncodeItem(want, true)
					if err != nil {
						t.Fatal(err)
					}
					if gotItem := cutOut(item, true).with(revision); !bytes.Equal(gotItem, wantItem) {
						t.Fatalf("%v: stored\n%q\nis not\n%q", r.GVR(), gotItem, wantItem)
					}
					stored++
				}
				for _, protobuf := range []bool{false, true} {
					wantText, err := r.EncodeItem(want, protobuf)
					if err != nil {
						t.Fatal(err)
					}
					text, err := r.EncodeItem(got, protobuf)
					if err != nil {
						t.Fatal(err)
					}
					holed := cutOut(text, protobuf)
					if holed == nil {
						t.Fatalf("%v: no resourceVersion in\n%q", r.GVR(), text)
					}
					if gotText := holed.with(revision); !bytes.Equal(gotText, wantText) {
						t.Fatalf("%v: promised\n%q\nis not\n%q", r.GVR(), gotText, wantText)
					}
					promised++
				}
			}
		}
	}
	if promised < 100 || stored < 1000 {
		t.Errorf("only %d objects were promised, and %d stored as they are read", promised, stored)
	}
}

// forget sets one in ten of the fields that may be left out to nothing.
func forget(random *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type().PkgPath() == "k8s.io/apimachinery/pkg/api/resource" || v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			field := v.Field(i)
			if !field.CanSet() {
				continue
			}
			if kind := field.Kind(); kind != reflect.Struct && random.Intn(10) == 0 {
				field.SetZero()
				continue
			}
			forget(random, field)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			forget(random, v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			forget(random, v.Index(i))
		}
	}
}

func TestCutOutGivesUp(t *testing.T) {
	t.Parallel()
	for _, item := range []string{"", "{}", `{"metadata":{}}`, `{"a":{"resourceVersion":"0"}}`, `{"metadata":{"resourceVersion":"01"}}`} {
		if cutOut([]byte(item), false) != nil {
			t.Errorf("cut something out of %s", item)
		}
	}
	for _, item := range []string{"", "\n", "\n\x05", "\n\x00", "\n\x03\n\x01a", "\x12\x032\x010", "\n\x02\xff\xff"} {
		if cutOut([]byte(item), true) != nil {
			t.Errorf("cut something out of %q", item)
		}
	}
}
