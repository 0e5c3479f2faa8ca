package verb_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	clientscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/kayak-k8s/kayak/internal/managedfields"
)

const (
	hugePod     = `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"%s","labels":{"commit":"1e99999"}},"spec":{"containers":[{"name":"c","image":"i:12e345678","resources":{"limits":{"memory":%s}}}]}}`
	refusedText = "quantities must have no more than 4 digits in their exponent and 1000 characters"
)

// A few bytes that would be a number of hundreds of megabytes are refused before anybody writes it out: in every form of
// body and of patch. (kube-apiserver writes it out; a test like this one would not end.)
func TestHugeQuantities(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.Fields = managedfields.New()
	const pods = "/api/v1/namespaces/default/pods"
	f.must(t, "POST", pods, fmt.Sprintf(hugePod, "p", `"1e3"`))
	huge := []string{`"1e999999999"`, `"1E-999999999"`, `"-.5e+999999999"`, `1e999999999`, `"` + strings.Repeat("9", 1_000_000) + `"`, `"  1e999999999"`}
	for _, q := range huge {
		pod := fmt.Sprintf(hugePod, "q", q)
		f.refused(t, "POST", pods, "application/json", pod)
		f.refused(t, "POST", pods, "application/yaml", pod)
		f.refused(t, "PUT", pods+"/p", "application/json", fmt.Sprintf(hugePod, "p", q))
		f.refused(t, "PATCH", pods+"/p/resize?fieldValidation=Ignore", "application/merge-patch+json", fmt.Sprintf(hugePod, "p", q))
		f.refused(t, "PATCH", pods+"/p/resize?fieldValidation=Ignore", "application/json-patch+json",
			`[{"op":"replace","path":"/spec/containers/0/resources/limits/memory","value":`+q+`}]`)
		if q[0] == '"' { // a number that is too large for float64 is refused as such
			f.refused(t, "PATCH", pods+"/p/resize", "application/strategic-merge-patch+json", fmt.Sprintf(hugePod, "p", q))
		}
		f.refused(t, "PATCH", pods+"/p?fieldManager=m", "application/apply-patch+yaml", fmt.Sprintf(hugePod, "p", q))
	}
	f.refused(t, "POST", pods, "application/yaml", fmt.Sprintf(hugePod, "q", `"1\x65999999999"`))
	f.refused(t, "POST", pods, "application/json", fmt.Sprintf(hugePod, "q", `"1e999999999","memory":"1"`)) // the first counts, too
	f.refused(t, "PATCH", pods+"/p?fieldManager=m", "application/apply-patch+yaml", fmt.Sprintf(hugePod, "p", `"1\u0065999999999"`))
	f.refused(t, "PATCH", pods+"/p/resize", "application/strategic-merge-patch+json", fmt.Sprintf(hugePod, "p", `"1\u0065999999999"`))
	// From where it is harmless to where it is not:
	f.must(t, "PUT", pods+"/p", strings.Replace(fmt.Sprintf(hugePod, "p", `"1e3"`), "1e99999", "1e999999999", 1))
	f.refused(t, "PATCH", pods+"/p/resize", "application/json-patch+json",
		`[{"op":"copy","from":"/metadata/labels/commit","path":"/spec/containers/0/resources/limits/memory"}]`)
	f.refused(t, "POST", "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers", "application/json",
		`{"metadata":{"name":"h","annotations":{"autoscaling.alpha.kubernetes.io/metrics":"[{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"targetAverageValue\":\"1e999999999\"}}]"}}}`)
}

func (f *fixture) refused(t *testing.T, method, path, contentType, body string) {
	t.Helper()
	w := f.do(t, method, path, contentType, body)
	if (w.Code != http.StatusBadRequest && w.Code != http.StatusUnprocessableEntity) || !strings.Contains(w.Body.String(), refusedText) {
		t.Errorf("%s %s %s %.300s: answer %d %.500s", method, path, contentType, body, w.Code, w.Body)
	}
}

func TestHugeQuantityInProtobuf(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	// The library cannot be made to hold such a quantity. So one of the same length is replaced.
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"commit": "1e99999"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"memory": resource.MustParse("12345678901")}
	var b bytes.Buffer
	if err := protobuf.NewSerializer(clientscheme.Scheme, clientscheme.Scheme).Encode(pod, &b); err != nil {
		t.Fatal(err)
	}
	send := func(body []byte) *httptest.ResponseRecorder {
		return f.do(t, "POST", "/api/v1/namespaces/default/pods?dryRun=All", "application/vnd.kubernetes.protobuf", string(body))
	}
	if w := send(b.Bytes()); w.Code != http.StatusCreated {
		t.Fatalf("an ordinary one: answer %d %s", w.Code, w.Body)
	}
	huge := bytes.Replace(b.Bytes(), []byte("12345678901"), []byte("1e999999999"), 1)
	if w := send(huge); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), refusedText) {
		t.Fatalf("answer %d %s", w.Code, w.Body)
	}
}

// What only looks like such a number passes: commits in labels and images, and the data of config maps.
func TestNumbersThatAreNoQuantities(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	for _, contentType := range []string{"application/json", "application/yaml"} {
		for path, body := range map[string]string{
			"/api/v1/namespaces/default/pods":       fmt.Sprintf(hugePod, "p", `"1e9999"`),
			"/api/v1/namespaces/default/configmaps": `{"metadata":{"name":"a"},"data":{"memory":"1e999999999"}}`,
		} {
			if w := f.do(t, "POST", path+"?dryRun=All", contentType, body); w.Code != http.StatusCreated {
				t.Errorf("%s: answer %d %s", path, w.Code, w.Body)
			}
		}
	}
}

// A body with a million structs in it is looked at once, however it is nested.
func TestQuantitiesAreLookedForInLinearTime(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	const pods = "/api/v1/namespaces/default/pods"
	f.refused(t, "POST", pods, "application/json", `{"metadata":{"name":"p"},"spec":{"containers":[`+strings.Repeat(`{},`, 900_000)+
		`{"resources":{"limits":{"memory":"1e999999999"}}}]}}`)
}
