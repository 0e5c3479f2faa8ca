package builtin

import (
	"bytes"
	"reflect"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/core"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// What is answered after a write, without reading what was stored, is what reading it gives: in every version, as JSON and protobuf.
func TestWrittenIsWhatIsRead(t *testing.T) {
	t.Parallel()
	kinds, err := Kinds(Options{})
	if err != nil {
		t.Fatal(err)
	}
	served := kind.NewTable(kinds...)
	quick, all := 0, 0
	for _, k := range served.Kinds() {
		if !k.Stored() || k.Codec.Written == nil {
			continue
		}
		fill := filler(k, 7)
		for i := range 30 {
			obj := k.New()
			if i > 0 { // an empty object as well
				fill.Fill(obj)
			}
			value, err := k.Encode(obj)
			if err != nil {
				continue
			}
			all++
			if written, _ := k.Codec.Written(obj.DeepCopyObject(), nil); written != nil {
				quick++
			}
			want, err := k.Decode(value, 5)
			if err != nil {
				t.Fatal(k.GroupResource(), err)
			}
			got, err := k.Reread(obj, value, 5)
			if err != nil {
				t.Fatal(k.GroupResource(), err)
			}
			for _, version := range k.Versions {
				r := served.Resource(k.Group, version, k.Resource)
				for _, protobuf := range []bool{false, true} {
					wantText, err := r.EncodeItem(want, protobuf)
					if err != nil {
						t.Fatal(err)
					}
					gotText, err := r.EncodeItem(got, protobuf)
					if err != nil || !bytes.Equal(gotText, wantText) {
						t.Fatalf("%v: an object is shown as\n%s\nnot as\n%s: %v", r.GVR(), gotText, wantText, err)
					}
				}
			}
		}
	}
	if quick < all/20 {
		t.Errorf("of %d objects only %d need not be read", all, quick)
	}
}

// What protobuf gives back otherwise is read; what is usual is not.
func TestWrittenGivesUp(t *testing.T) {
	t.Parallel()
	kinds, err := Kinds(Options{})
	if err != nil {
		t.Fatal(err)
	}
	served := kind.NewTable(kinds...)
	pods, secrets := served.Resource("", "v1", "pods"), served.Resource("", "v1", "secrets")
	pod := func(change func(*core.Pod)) runtime.Object {
		obj, err := pods.Codec.Sharing().ConvertToVersion(&v1.Pod{Spec: v1.PodSpec{
			Containers: []v1.Container{{Name: "c", Image: "i"}}, Volumes: []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}}},
		}}, pods.Codec.Hub)
		if err != nil {
			t.Fatal(err)
		}
		change(obj.(*core.Pod))
		return obj
	}
	for name, test := range map[string]struct {
		obj   runtime.Object
		quick bool
	}{
		"usual":          {pod(func(*core.Pod) {}), true},
		"empty labels":   {pod(func(p *core.Pod) { p.Labels = map[string]string{} }), true},
		"empty list":     {pod(func(p *core.Pod) { p.Spec.Containers[0].Args = []string{} }), true},
		"empty secrets":  {pod(func(p *core.Pod) { p.Spec.ImagePullSecrets = []core.LocalObjectReference{} }), true},
		"no quantities":  {pod(func(p *core.Pod) { p.Spec.Containers[0].Resources.Limits = core.ResourceList{} }), true},
		"secret":         {&core.Secret{Data: map[string][]byte{"a": []byte("b")}}, true},
		"secret of null": {&core.Secret{Data: map[string][]byte{"a": nil}}, false},
	} {
		of := pods
		if _, ok := test.obj.(*core.Secret); ok {
			of = secrets
		}
		accessor, err := meta.Accessor(test.obj)
		if err != nil {
			t.Fatal(err)
		}
		accessor.SetName("n")
		if got, _ := of.Codec.Written(test.obj, nil); (got != nil) != test.quick {
			t.Errorf("%s: need not be read: %t", name, got != nil)
		}
	}
}

// What a kind stores itself is read as the scheme's codec reads it, which reads everything.
func TestOwnIsReadAsByCodec(t *testing.T) {
	t.Parallel()
	kinds, err := Kinds(Options{})
	if err != nil {
		t.Fatal(err)
	}
	all := 0
	for _, k := range kind.NewTable(kinds...).Kinds() {
		if !k.Stored() || k.Codec.Written == nil {
			continue
		}
		fill := filler(k, 11)
		for i := range 30 {
			obj := k.New()
			if i > 0 { // an empty object as well
				fill.Fill(obj)
			}
			value, err := k.Encode(obj)
			if err != nil {
				continue
			}
			want, _, err := k.Codec.Load.Decode(value, nil, k.New())
			if err != nil {
				t.Fatal(k.GroupResource(), err)
			}
			got, err := k.Decode(value, 0)
			if err != nil {
				t.Fatal(k.GroupResource(), err)
			}
			for _, obj := range []runtime.Object{got, want} {
				accessor, err := meta.Accessor(obj)
				if err != nil {
					t.Fatal(err)
				}
				accessor.SetResourceVersion("")
				if k.OnRead != nil {
					k.OnRead(obj)
				}
			}
			if all++; !equality.Semantic.DeepEqual(got, want) || !reflect.DeepEqual(got.GetObjectKind(), want.GetObjectKind()) {
				t.Fatalf("%v is read as\n%#v\nnot as\n%#v", k.GroupResource(), got, want)
			}
		}
	}
	if all < 500 {
		t.Errorf("only %d objects", all)
	}
}
