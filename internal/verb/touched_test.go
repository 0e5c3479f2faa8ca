package verb

import (
	"encoding/json"
	"maps"
	"math/rand"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	apitesting "k8s.io/kubernetes/pkg/api/testing"
	"sigs.k8s.io/randfill"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
	"github.com/kayak-k8s/kayak/internal/request"
)

// TestTouched patches random objects at random, by the part that is touched and as a whole: there must be no difference.
func TestTouched(t *testing.T) {
	t.Parallel()
	for seed := range int64(150) {
		p := &patchMaker{Rand: rand.New(rand.NewSource(seed))}
		fill := fuzzer.FuzzerFor(apitesting.FuzzerFuncs, rand.NewSource(seed), legacyscheme.Codecs).NumElements(0, 2)
		for _, obj := range []runtime.Object{
			&corev1.Pod{}, &corev1.Node{}, &corev1.ConfigMap{}, &corev1.Service{}, &corev1.Secret{}, &corev1.PersistentVolume{},
			&appsv1.Deployment{}, &networkingv1.Ingress{}, &corev1.Event{},
		} {
			other := obj.DeepCopyObject()
			fill.Fill(obj)
			fill.Fill(other)
			patch := p.patch(t, obj, other)
			want, wantErr := patchedAsAWhole(obj, patch)
			got, gotErr := patchedInPart(obj, patch)
			for try := 0; wantErr != gotErr && try < 50; try++ { // of two errors, the order of a map says which is found
				_, wantErr = patchedAsAWhole(obj, patch)
			}
			if wantErr != gotErr {
				t.Fatalf("seed %d: error %q, want %q\npatch %v", seed, gotErr, wantErr, patch)
			}
			if diff := cmp.Diff(toJSON(t, want), toJSON(t, got)); diff != "" {
				t.Fatalf("seed %d: %T (-want +got):\n%s\npatch %v", seed, obj, diff, patch)
			}
		}
	}
}

func TestTouchedKeepsTheRestApart(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
	patch := map[string]any{"status": map[string]any{"phase": "Running"}}
	part := touchedBy(patch, pod)
	if part == nil {
		t.Fatal("everything is touched")
	}
	document, err := part.document(pod)
	if err != nil || len(document) != 1 {
		t.Fatalf("document %v, %v", document, err)
	}
	completed := part.completed(&corev1.Pod{Status: corev1.PodStatus{Phase: "Running"}}, pod).(*corev1.Pod)
	completed.Labels["a"], completed.Spec.Containers[0].Name = "changed", "changed"
	if pod.Labels["a"] != "b" || pod.Spec.Containers[0].Name != "c" || pod.Status.Phase != "" || completed.Status.Phase != "Running" {
		t.Errorf("the object that was patched has become %v", pod)
	}
}

// patchedAsAWhole is how upstream does it (endpoints/handlers/patch.go, applyPatchToObject).
func patchedAsAWhole(obj runtime.Object, patch map[string]any) (runtime.Object, string) {
	document, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, err.Error()
	}
	return restored(document, patch, obj)
}

func restored(document, patch map[string]any, like runtime.Object) (runtime.Object, string) {
	target, err := legacyscheme.Scheme.New(mustKind(like))
	if err != nil {
		return nil, err.Error()
	}
	patched, err := strategicpatch.StrategicMergeMapPatch(document, runtime.DeepCopyJSON(patch), target)
	if err != nil {
		return nil, err.Error()
	}
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(patched, target, true)
	switch {
	case err == nil:
		return target, ""
	case runtime.IsStrictDecodingError(err):
		return target, err.Error()
	}
	return nil, err.Error()
}

func patchedInPart(obj runtime.Object, patch map[string]any) (runtime.Object, string) {
	part := touchedBy(patch, obj)
	document, err := part.document(obj)
	if err != nil {
		return nil, err.Error()
	}
	target, text := restored(document, patch, obj)
	if target == nil {
		return nil, text
	}
	return part.completed(target, obj), text
}

func toJSON(t *testing.T, obj runtime.Object) string {
	t.Helper()
	if obj == nil {
		return ""
	}
	text, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// patchMaker makes patches out of parts of objects.
type patchMaker struct{ *rand.Rand }

// patch changes some of obj to what other has, takes some away, and now and then says something special.
func (p *patchMaker) patch(t *testing.T, obj, other runtime.Object) map[string]any {
	t.Helper()
	from, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		t.Fatal(err)
	}
	to, err := runtime.DefaultUnstructuredConverter.ToUnstructured(other)
	if err != nil {
		t.Fatal(err)
	}
	return p.between(from, to)
}

func (p *patchMaker) between(from, to map[string]any) map[string]any {
	patch := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(from)) {
		switch inner, ok := to[name].(map[string]any); {
		case p.Intn(12) == 0:
			patch[name] = nil
		case p.Intn(2) == 0:
		case ok && p.Intn(4) > 0:
			old, _ := from[name].(map[string]any)
			patch[name] = p.between(old, inner)
		case to[name] != nil:
			patch[name] = to[name]
		}
	}
	switch p.Intn(40) {
	case 0:
		patch["$patch"] = "replace"
	case 1:
		patch["unknown"] = "x"
	case 2:
		patch["$retainKeys"] = []any{"name"}
	case 3:
		patch["metadata"] = "no map"
	case 4:
		patch["$setElementOrder/finalizers"] = []any{"a"}
	}
	return patch
}

func mustKind(obj runtime.Object) (gvk schema.GroupVersionKind) {
	kinds, _, err := legacyscheme.Scheme.ObjectKinds(obj)
	if err != nil {
		panic(err)
	}
	return kinds[0]
}

// TestMergePatchInPart compares a JSON merge patch of the part that is touched with one of the whole document.
func TestMergePatchInPart(t *testing.T) {
	t.Parallel()
	table := kind.NewTable(must(builtin.Kinds(builtin.Options{}))...)
	fill := fuzzer.FuzzerFor(apitesting.FuzzerFuncs, rand.NewSource(1), legacyscheme.Codecs).NumElements(0, 2)
	inPart := 0
	for seed := range int64(60) {
		maker := &patchMaker{Rand: rand.New(rand.NewSource(seed))}
		for _, gvr := range []schema.GroupVersionResource{
			{Version: "v1", Resource: "pods"}, {Version: "v1", Resource: "nodes"}, {Version: "v1", Resource: "secrets"}, {Version: "v1", Resource: "services"},
			{Group: "apps", Version: "v1", Resource: "deployments"}, {Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"},
		} {
			r := table.Resource(gvr.Group, gvr.Version, gvr.Resource)
			obj, other := stored(t, r, fill), stored(t, r, fill)
			from, to := must(r.Convert(obj)), must(r.Convert(other))
			body, err := json.Marshal(maker.patch(t, from, to))
			if err != nil {
				t.Fatal(err)
			}
			p := &patcher{
				ctx: t.Context(), call: &Call{Resource: r, Info: &request.Info{}}, typ: types.MergePatchType, body: body,
				options: &metav1.PatchOptions{FieldValidation: "Strict"},
			}
			got := p.applyMergeInPart(obj)
			if got == nil {
				continue
			}
			inPart++
			want, err := p.applyJSONAsAWhole(obj)
			if err != nil {
				t.Fatalf("seed %d, %v: as a whole: %v\n%s", seed, gvr, err, body)
			}
			if diff := cmp.Diff(toJSON(t, must(r.Convert(want))), toJSON(t, must(r.Convert(got)))); diff != "" {
				t.Fatalf("seed %d, %v (-whole +part):\n%s\n%s", seed, gvr, diff, body)
			}
		}
	}
	if inPart < 40 {
		t.Errorf("only %d patches were applied in part", inPart)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// stored is a random object as it comes out of the store.
func stored(t *testing.T, r *kind.Resource, fill *randfill.Filler) runtime.Object {
	t.Helper()
	obj := r.New()
	fill.Fill(obj)
	return must(r.Decode(must(r.Kind.Encode(obj)), 1))
}
