package custom_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/kayak-k8s/kayak"
)

// converter is a webhook that converts between v1, which has spec.hostPort, and v2, which has spec.host and spec.port.
type converter struct {
	*httptest.Server
	down, elsewhere atomic.Bool
	calls           atomic.Int64
	credentials     atomic.Bool // it was called with some
}

func newConverter(t *testing.T) *converter {
	c := &converter{}
	c.Server = httptest.NewTLSServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.Close)
	return c
}

func (c *converter) serve(w http.ResponseWriter, r *http.Request) {
	c.calls.Add(1)
	if r.Header.Get("Authorization") != "" || len(r.TLS.PeerCertificates) > 0 || r.UserAgent() != "kube-apiserver-admission" {
		c.credentials.Store(true)
	}
	if c.elsewhere.Load() && r.URL.Path != "/elsewhere" {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		return
	}
	if c.down.Load() {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	body, err := io.ReadAll(r.Body)
	review := &apiextensionsv1.ConversionReview{}
	if err != nil || json.Unmarshal(body, review) != nil {
		http.Error(w, "bad", http.StatusBadRequest)
		return
	}
	review.Response = &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: "Success"}}
	for _, raw := range review.Request.Objects {
		u := &unstructured.Unstructured{}
		_ = u.UnmarshalJSON(raw.Raw)
		u.SetAPIVersion(review.Request.DesiredAPIVersion)
		spec, _, _ := unstructured.NestedMap(u.Object, "spec")
		if strings.HasSuffix(review.Request.DesiredAPIVersion, "/v2") {
			host, port, _ := strings.Cut(fmt.Sprint(spec["hostPort"]), ":")
			spec = map[string]any{"host": host, "port": port}
		} else {
			spec = map[string]any{"hostPort": fmt.Sprintf("%v:%v", spec["host"], spec["port"])}
		}
		u.Object["spec"] = spec
		review.Response.ConvertedObjects = append(review.Response.ConvertedObjects, runtime.RawExtension{Object: u})
	}
	review.Request = nil
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

func (c *converter) definition() string {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw})
	encoded, _ := json.Marshal(ca)
	return fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: places.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: places, singular: place, kind: Place}
  conversion:
    strategy: Webhook
    webhook: {conversionReviewVersions: [v1], clientConfig: {url: %q, caBundle: %s}}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {hostPort: {type: string}}}}}}
  - name: v2
    served: true
    storage: false
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, required: [host], properties: {host: {type: string, minLength: 2}, port: {type: string}}}}}}
`, c.URL, encoded)
}

// TestConversionWebhook writes and reads two versions both ways, and has the webhook go down and come back.
func TestConversionWebhook(t *testing.T) {
	t.Parallel()
	hook := newConverter(t)
	c := start(t, kayak.Config{})
	ctx := t.Context()
	c.define(t, hook.definition())
	version := func(v string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: "example.com", Version: v, Resource: "places"}
	}
	v1, v2 := c.dynamic.Resource(version("v1")).Namespace("default"), c.dynamic.Resource(version("v2")).Namespace("default")
	const place = "apiVersion: example.com/%s\nkind: Place\nmetadata: {name: %s}\nspec: {%s}"
	must(v1.Create(ctx, object(t, place, "v1", "one", "hostPort: 'a:1'"), metav1.CreateOptions{}))(t)
	must(v2.Create(ctx, object(t, place, "v2", "two", "host: bb, port: '2'"), metav1.CreateOptions{}))(t)
	field := func(u *unstructured.Unstructured, name string) string {
		s, _, _ := unstructured.NestedString(u.Object, "spec", name)
		return s
	}
	if got := must(v2.Get(ctx, "one", metav1.GetOptions{}))(t); field(got, "host") != "a" || got.GetAPIVersion() != "example.com/v2" {
		t.Errorf("v1 as v2: %v", got)
	}
	if got := must(v1.Get(ctx, "two", metav1.GetOptions{}))(t); field(got, "hostPort") != "bb:2" {
		t.Errorf("v2 as v1: %v", got)
	}
	if list := must(v2.List(ctx, metav1.ListOptions{}))(t); len(list.Items) != 2 || field(&list.Items[1], "port") != "2" {
		t.Errorf("list: %v", list)
	}
	patched := must(v2.Patch(ctx, "two", types.MergePatchType, []byte(`{"spec":{"port":"3"}}`), metav1.PatchOptions{}))(t)
	if field(patched, "port") != "3" || patched.GetGeneration() != 2 {
		t.Errorf("patch: %v", patched)
	}
	applied := must(v2.Apply(ctx, "two", object(t, place, "v2", "two", "host: cc"), metav1.ApplyOptions{FieldManager: "m", Force: true}))(t)
	if field(applied, "host") != "cc" || field(applied, "port") != "3" {
		t.Errorf("apply: %v", applied)
	}
	w := must(v2.Watch(ctx, metav1.ListOptions{}))(t)
	defer w.Stop()
	must(v1.Create(ctx, object(t, place, "v1", "three", "hostPort: 'xx:3'"), metav1.CreateOptions{}))(t)
	for e := range w.ResultChan() {
		if u := e.Object.(*unstructured.Unstructured); u.GetName() == "three" {
			if e.Type != watch.Added || field(u, "host") != "xx" {
				t.Errorf("watch: %v", e)
			}
			break
		}
	}

	hook.down.Store(true)
	must(v1.Create(ctx, object(t, place, "v1", "four", "hostPort: 'yy:4'"), metav1.CreateOptions{}))(t) // needs no conversion
	if _, err := v2.Get(ctx, "four", metav1.GetOptions{}); err == nil || !strings.Contains(err.Error(), "conversion webhook for example.com/v1, Kind=Place failed") {
		t.Errorf("while the webhook is down: %v", err)
	}
	if _, err := v2.Create(ctx, object(t, place, "v2", "five", "host: zz"), metav1.CreateOptions{}); err == nil {
		t.Error("something that cannot be converted was stored")
	}
	hook.down.Store(false)
	if got := must(v2.Get(ctx, "four", metav1.GetOptions{}))(t); field(got, "host") != "yy" {
		t.Errorf("when it is back: %v", got)
	}

	hook.elsewhere.Store(true)
	must(v1.Create(ctx, object(t, place, "v1", "six", "hostPort: 'zz:6'"), metav1.CreateOptions{}))(t)
	if _, err := v2.Get(ctx, "six", metav1.GetOptions{}); err == nil || !strings.Contains(err.Error(), "redirect") {
		t.Errorf("it was followed elsewhere: %v", err)
	}
	if hook.credentials.Load() {
		t.Error("the webhook is told more of who calls it than by kube-apiserver")
	}
}

// warnings keeps what a client is warned of.
type warnings struct {
	mu   sync.Mutex
	text []string
}

func (w *warnings) HandleWarningHeader(code int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, fmt.Sprintf("%d %s", code, text))
}

func (w *warnings) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := strings.Join(w.text, "|")
	w.text = nil
	return text
}

// TestDeprecatedVersions: who uses one is warned, in the words of kube-apiserver or in those of the definition, in every answer.
func TestDeprecatedVersions(t *testing.T) {
	t.Parallel()
	c := start(t, kayak.Config{})
	ctx := t.Context()
	c.define(t, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: foos.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: foos, singular: foo, kind: Foo}
  versions:
  - {name: v1alpha1, served: true, storage: false, deprecated: true, schema: {openAPIV3Schema: {type: object}}}
  - {name: v1, served: true, storage: true, deprecated: true, deprecationWarning: 'stop "it"', schema: {openAPIV3Schema: {type: object}}}
  - {name: v2, served: true, storage: false, schema: {openAPIV3Schema: {type: object}}}
  - {name: v3, served: true, storage: false, schema: {openAPIV3Schema: {type: object}}}
  - {name: v4, served: false, storage: false, schema: {openAPIV3Schema: {type: object}}}
`)
	heard := &warnings{}
	config := rest.CopyConfig(c.config)
	config.WarningHandler = heard
	client := must(dynamic.NewForConfig(config))(t)
	for version, want := range map[string]string{
		"v1alpha1": "299 example.com/v1alpha1 Foo is deprecated; use example.com/v3 Foo", "v1": `299 stop "it"`, "v2": "", "v3": "",
	} {
		r := client.Resource(schema.GroupVersionResource{Group: "example.com", Version: version, Resource: "foos"}).Namespace("default")
		for verb, ask := range map[string]func() error{
			"create": func() error {
				_, err := r.Create(ctx, object(t, "apiVersion: example.com/%s\nkind: Foo\nmetadata: {name: f-%s}", version, version), metav1.CreateOptions{})
				return err
			},
			"list": func() error { _, err := r.List(ctx, metav1.ListOptions{}); return err },
			"get": func() error {
				if _, err := r.Get(ctx, "none", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
					return err
				}
				return nil
			},
			"watch": func() error {
				w, err := r.Watch(ctx, metav1.ListOptions{})
				if err == nil {
					w.Stop()
				}
				return err
			},
			"deletecollection": func() error { return r.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}) },
		} {
			if err := ask(); err != nil {
				t.Errorf("%s %s: %v", verb, version, err)
			}
			if got := heard.take(); got != want {
				t.Errorf("%s %s: %q, want %q", verb, version, got, want)
			}
		}
	}
}
