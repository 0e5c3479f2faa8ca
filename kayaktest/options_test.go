package kayaktest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/pkg/features"

	"github.com/kayak-k8s/kayak/kayaktest"
)

const crdTemplate = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: %[1]ss.example.com
spec:
  group: example.com
  names: {kind: %[2]s, listKind: %[2]sList, plural: %[1]ss, singular: %[1]s}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
  - name: v2
    served: true
    storage: false
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// Definitions from a file, a directory and an object are established and served when Start returns: no request is a 404, not even
// the first.
func TestCRDsAreServed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, path := range []string{"dir/boat", "dir/ship", "raft"} {
		name := filepath.Base(path)
		file := filepath.Join(dir, path+".yaml")
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf(crdTemplate, name, strings.ToUpper(name[:1])+name[1:])
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	object := crd("tub")
	config := kayaktest.Start(t, kayaktest.CRDs(filepath.Join(dir, "dir"), filepath.Join(dir, "raft.yaml")), kayaktest.CRDObjects(object))
	definitions, err := crdclient.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	objects := dynamicClient(t, config)
	for name, versions := range map[string][]string{"boats": {"v1", "v2"}, "ships": {"v1", "v2"}, "rafts": {"v1", "v2"}, "tubs": {"v1"}} {
		crd, err := definitions.CustomResourceDefinitions().Get(t.Context(), name+".example.com", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		conditions := map[apiextensionsv1.CustomResourceDefinitionConditionType]apiextensionsv1.ConditionStatus{}
		for _, c := range crd.Status.Conditions {
			conditions[c.Type] = c.Status
		}
		if conditions[apiextensionsv1.Established] != apiextensionsv1.ConditionTrue {
			t.Errorf("%s has the conditions %v", name, conditions)
		}
		for _, version := range versions {
			resource := schema.GroupVersionResource{Group: "example.com", Version: version, Resource: name}
			if _, err := objects.Resource(resource).List(t.Context(), metav1.ListOptions{}); err != nil {
				t.Errorf("%s %s: %v", name, version, err)
			}
		}
	}
}

func dynamicClient(t testing.TB, config *rest.Config) dynamic.Interface {
	t.Helper()
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func crd(singular string) *apiextensionsv1.CustomResourceDefinition {
	kind := strings.ToUpper(singular[:1]) + singular[1:]
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: singular + "s.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: kind, ListKind: kind + "List", Plural: singular + "s", Singular: singular},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{
					OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: new(true)},
				},
			}},
		},
	}
}

// Webhooks are asked by the server: one changes, one refuses, one converts, all with a certificate that nobody has made by hand.
func TestWebhooksAreAsked(t *testing.T) {
	t.Parallel()
	converted := crd("boat")
	second := *converted.Spec.Versions[0].DeepCopy()
	second.Name, second.Storage = "v2", false
	converted.Spec.Versions = append(converted.Spec.Versions, second)
	converted.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{ConversionReviewVersions: []string{"v1"}},
	}
	none, mutate, validate := admissionregistrationv1.SideEffectClassNone, "/mutate", "/validate"
	rules := []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
	}}
	service := func(path *string) admissionregistrationv1.WebhookClientConfig {
		return admissionregistrationv1.WebhookClientConfig{
			Service: &admissionregistrationv1.ServiceReference{Namespace: "system", Name: "webhook-service", Path: path},
		}
	}
	for name, opts := range map[string][]kayaktest.Option{"socket": nil, "memory": {kayaktest.InMemory()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := kayaktest.Start(t, append(opts, kayaktest.CRDObjects(converted), kayaktest.Webhooks(kayaktest.WebhookOptions{
				Mutating: []*admissionregistrationv1.MutatingWebhookConfiguration{{
					ObjectMeta: metav1.ObjectMeta{Name: "mutating"},
					Webhooks: []admissionregistrationv1.MutatingWebhook{{
						Name: "mutating.example.com", SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, ClientConfig: service(&mutate), Rules: rules,
					}},
				}},
				Validating: []*admissionregistrationv1.ValidatingWebhookConfiguration{{
					ObjectMeta: metav1.ObjectMeta{Name: "validating"},
					Webhooks: []admissionregistrationv1.ValidatingWebhook{{
						Name: "validating.example.com", SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, ClientConfig: service(&validate), Rules: rules,
					}},
				}},
				Handler: webhooks(),
			}))...)
			webhooksAreAsked(t, config)
		})
	}
}

func webhooksAreAsked(t *testing.T, config *rest.Config) {
	maps := client(t, config).CoreV1().ConfigMaps("default")
	created, err := maps.Create(t.Context(), configMap("good"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if created.Labels["mutated"] != "yes" {
		t.Errorf("the labels are %v", created.Labels)
	}
	if _, err = maps.Create(t.Context(), configMap("bad"), metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), "not that one") {
		t.Errorf("the validating webhook was not asked: %v", err)
	}
	boats := func(version string) dynamic.ResourceInterface {
		return dynamicClient(t, config).Resource(schema.GroupVersionResource{Group: "example.com", Version: version, Resource: "boats"}).Namespace("default")
	}
	boat := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Boat", "metadata": map[string]any{"name": "a"},
	}}
	if _, err := boats("v1").Create(t.Context(), boat, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	other, err := boats("v2").Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if other.Object["convertedTo"] != "example.com/v2" {
		t.Errorf("the conversion webhook was not asked: %v", other.Object)
	}
}

// webhooks serves one of each sort, by path.
func webhooks() http.Handler {
	review := func(answer func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var review admissionv1.AdmissionReview
			if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			review.Response = answer(review.Request)
			review.Response.UID = review.Request.UID
			_ = json.NewEncoder(w).Encode(review)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/mutate", review(func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		patchType := admissionv1.PatchTypeJSONPatch
		return &admissionv1.AdmissionResponse{
			Allowed: true, PatchType: &patchType, Patch: []byte(`[{"op": "add", "path": "/metadata/labels", "value": {"mutated": "yes"}}]`),
		}
	}))
	mux.Handle("/validate", review(func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Allowed: r.Name != "bad", Result: &metav1.Status{Message: "not that one"}}
	}))
	mux.HandleFunc("/convert", func(w http.ResponseWriter, r *http.Request) {
		var review apiextensionsv1.ConversionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Response = &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
		for _, object := range review.Request.Objects {
			var converted map[string]any
			if err := json.Unmarshal(object.Raw, &converted); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			converted["apiVersion"], converted["convertedTo"] = review.Request.DesiredAPIVersion, review.Request.DesiredAPIVersion
			raw, _ := json.Marshal(converted)
			review.Response.ConvertedObjects = append(review.Response.ConvertedObjects, runtime.RawExtension{Raw: raw})
		}
		_ = json.NewEncoder(w).Encode(review)
	})
	return mux
}

// Not parallel: feature gates are the process's.
func TestFeatureGates(t *testing.T) {
	enabled := func() bool { return utilfeature.DefaultFeatureGate.Enabled(features.EvictionRequestAPI) }
	before, explicit := enabled(), utilfeature.DefaultMutableFeatureGate.ExplicitlySet(features.EvictionRequestAPI)
	for _, want := range []bool{false, true} {
		t.Run(fmt.Sprint(want), func(t *testing.T) {
			config := kayaktest.Start(t, kayaktest.FeatureGates(fmt.Sprintf("EvictionRequestAPI=%t", want)),
				kayaktest.RuntimeConfig("lifecycle.k8s.io/v1alpha1=true"))
			_, err := client(t, config).LifecycleV1alpha1().EvictionRequests("default").List(t.Context(), metav1.ListOptions{})
			if enabled() != want || want != (err == nil) || err != nil && !apierrors.IsNotFound(err) {
				t.Errorf("with EvictionRequestAPI=%t: %v", want, err)
			}
		})
	}
	if enabled() != before || utilfeature.DefaultMutableFeatureGate.ExplicitlySet(features.EvictionRequestAPI) != explicit {
		t.Errorf("after the test the feature gate is %t, and was %t", enabled(), before)
	}
	t.Run("parallel", func(t *testing.T) {
		t.Parallel()
		defer func() {
			if recover() == nil {
				t.Error("a parallel test could set feature gates")
			}
		}()
		kayaktest.New(t, kayaktest.FeatureGates("EvictionRequestAPI=true"))
	})
}

func TestAdmissionPlugins(t *testing.T) {
	t.Parallel()
	pulled := func(opts ...kayaktest.Option) (corev1.PullPolicy, error) {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
				Name: "a", Image: "a", ImagePullPolicy: corev1.PullNever,
			}}},
		}
		created, err := client(t, kayaktest.Start(t, opts...)).CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
		return created.Spec.Containers[0].ImagePullPolicy, err
	}
	if policy, err := pulled(); policy != corev1.PullNever || err != nil {
		t.Errorf("by default: %v, %v", policy, err)
	}
	if policy, err := pulled(kayaktest.AdmissionPlugins("AlwaysPullImages")); policy != corev1.PullAlways || err != nil {
		t.Errorf("with AlwaysPullImages: %v, %v", policy, err)
	}
	if policy, err := pulled(kayaktest.AdmissionPlugins("AlwaysPullImages"), kayaktest.AdmissionPlugins("-AlwaysPullImages")); policy != corev1.PullNever || err != nil {
		t.Errorf("with AlwaysPullImages taken back: %v, %v", policy, err)
	}
}

// logged is a test whose log can be read.
type logged struct {
	testing.TB
	mu    sync.Mutex
	lines []string
}

func (l *logged) Log(args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, strings.TrimSuffix(fmt.Sprintln(args...), "\n"))
}

// The log of requests has a line for each, those that are refused included, and a watch's when it ends.
func TestLogRequests(t *testing.T) {
	t.Parallel()
	l := &logged{TB: t}
	s := kayaktest.New(l, kayaktest.LogRequests(), kayaktest.Controllers())
	c := client(t, s.Config())
	if _, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, _ = client(t, s.ConfigFor("jane")).CoreV1().Secrets("default").Get(t.Context(), "b", metav1.GetOptions{})
	_, _ = client(t, bearer(s.Config(), "nobody's")).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	s.Inject(kayaktest.Fault{Match: kayaktest.Match{Verb: "delete"}, Drop: true})
	_ = c.CoreV1().ConfigMaps("default").Delete(t.Context(), "a", metav1.DeleteOptions{})
	watch, err := c.CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	watch.Stop()
	s.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, want := range []string{
		`^create /api/v1/namespaces/default/configmaps by kubernetes-admin: 201 Created in [0-9.]+[µm]?s$`,
		`^get /api/v1/namespaces/default/secrets/b by jane: 403 Forbidden in `,
		`^list /api/v1/namespaces/default/pods by nobody: 401 Unauthorized in `,
		`^delete /api/v1/namespaces/default/configmaps/a by kubernetes-admin: broken off in `,
		`^watch /api/v1/pods\?watch=true by kubernetes-admin: 200 OK in `,
	} {
		if !regexp.MustCompile("(?m)" + want).MatchString(strings.Join(l.lines, "\n")) {
			t.Errorf("no line matches %s in\n%s", want, strings.Join(l.lines, "\n"))
		}
	}
}

// AuditLog has an event for each request, with what the rules want of it; also of those that faults break off.
func TestAuditLog(t *testing.T) {
	t.Parallel()
	l := &logged{TB: t}
	s := kayaktest.New(l, kayaktest.Controllers(), kayaktest.AuditLog(auditv1.LevelMetadata,
		auditv1.PolicyRule{Level: auditv1.LevelNone, Users: []string{user.APIServerUser}},
		auditv1.PolicyRule{Level: auditv1.LevelRequest, Resources: []auditv1.GroupResources{{Resources: []string{"configmaps"}}}},
	))
	c := client(t, s.Config())
	if _, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, _ = client(t, s.ConfigFor("jane")).CoreV1().Secrets("default").Get(t.Context(), "b", metav1.GetOptions{})
	s.Inject(kayaktest.Fault{Match: kayaktest.Match{Verb: "delete"}, Drop: true})
	_ = c.CoreV1().ConfigMaps("default").Delete(t.Context(), "a", metav1.DeleteOptions{})
	s.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	var events []string
	for _, line := range l.lines {
		var event auditv1.Event
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		events = append(events, fmt.Sprintf("%s %s %s %s %d %t", event.Stage, event.Verb, event.User.Username, event.ObjectRef.Name,
			event.ResponseStatus.Code, event.RequestObject != nil))
	}
	want := []string{
		"ResponseComplete create kubernetes-admin a 201 true", "ResponseComplete get jane b 403 false",
		"Panic delete kubernetes-admin a 500 false",
	}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("(- wanted, + logged)\n%s", diff)
	}
}

// Log has what the server says, LogRequests does not take it away.
func TestLog(t *testing.T) {
	t.Parallel()
	l := &logged{TB: t}
	s := kayaktest.New(l, kayaktest.Log(), kayaktest.LogRequests(), kayaktest.Controllers())
	whoAmI(t, s.Config())
	s.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.Join(l.lines, "\n")
	if !strings.Contains(text, "msg=HTTP") || !strings.Contains(text, "selfsubjectreviews by kubernetes-admin: 201 Created") {
		t.Errorf("the log is\n%s", text)
	}
}

// bearer is a configuration with a token in place of a certificate.
func bearer(config *rest.Config, token string) *rest.Config {
	config = rest.AnonymousClientConfig(config)
	config.BearerToken = token
	return config
}

// A server that begins with a snapshot has the custom resources that were in it, and their API, at once.
func TestSnapshotOfCustomResources(t *testing.T) {
	t.Parallel()
	boats := schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "boats"}
	first := kayaktest.New(t, kayaktest.CRDObjects(crd("boat")))
	_, err := dynamicClient(t, first.Config()).Resource(boats).Namespace("default").Create(t.Context(), &unstructured.Unstructured{
		Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Boat", "metadata": map[string]any{"name": "a"}, "sails": int64(3)},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	snapshot := first.Snapshot()
	first.Stop()
	config := kayaktest.Start(t, kayaktest.FromSnapshot(snapshot))
	boat, err := dynamicClient(t, config).Resource(boats).Namespace("default").Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if boat.Object["sails"] != int64(3) {
		t.Errorf("it is %v", boat.Object)
	}
	resources, err := client(t, config).Discovery().ServerResourcesForGroupVersion("example.com/v1")
	if err != nil || len(resources.APIResources) != 1 {
		t.Errorf("discovery has %v, error %v", resources, err)
	}
}
