package kayak_test

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	registration "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/kayak-k8s/kayak"
)

// webhook is a webhook server over TLS, which remembers what it was asked.
type webhook struct {
	*httptest.Server
	mu     sync.Mutex
	answer func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse
	asked  []*admissionv1.AdmissionRequest
	// versions are the apiVersions of the reviews.
	versions []string
}

func startWebhook(t *testing.T, answer func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) *webhook {
	t.Helper()
	w := &webhook{answer: answer}
	w.Server = httptest.NewTLSServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.Close)
	return w
}

func (w *webhook) serve(rw http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/moved" {
		http.Redirect(rw, r, "/review", http.StatusTemporaryRedirect)
		return
	}
	var review admissionv1.AdmissionReview
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &review)
	}
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	w.asked = append(w.asked, review.Request)
	w.versions = append(w.versions, review.APIVersion)
	answer := w.answer
	w.mu.Unlock()
	review.Response = answer(review.Request)
	review.Response.UID = review.Request.UID
	review.Request = nil
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(review)
}

// last returns the last request, and how many there were.
func (w *webhook) last() (*admissionv1.AdmissionRequest, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.asked) == 0 {
		return nil, 0
	}
	return w.asked[len(w.asked)-1], len(w.asked)
}

func (w *webhook) ca() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.Certificate().Raw})
}

func (w *webhook) clientConfig(path string) registration.WebhookClientConfig {
	return registration.WebhookClientConfig{URL: ptr.To(w.URL + path), CABundle: w.ca()}
}

func rule(group, version string, resources ...string) []registration.RuleWithOperations {
	return []registration.RuleWithOperations{{
		Operations: []registration.OperationType{registration.OperationAll},
		Rule:       registration.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: resources},
	}}
}

func (w *webhook) validating(name string, rules []registration.RuleWithOperations) registration.ValidatingWebhook {
	return registration.ValidatingWebhook{
		Name: name, ClientConfig: w.clientConfig("/review"), Rules: rules, SideEffects: ptr.To(registration.SideEffectClassNone),
		AdmissionReviewVersions: []string{"v1"},
	}
}

func configureValidating(t *testing.T, c kubernetes.Interface, name string, webhooks ...registration.ValidatingWebhook) {
	t.Helper()
	_, err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(),
		&registration.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: webhooks}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func configureMutating(t *testing.T, c kubernetes.Interface, name string, webhooks ...registration.MutatingWebhook) {
	t.Helper()
	_, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(),
		&registration.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: webhooks}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// warnings collects what a server warns of.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, text)
}

func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	texts := w.texts
	w.texts = nil
	return texts
}

func allow(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Allowed: true}
}

func patch(text string) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Allowed: true, Patch: []byte(text), PatchType: ptr.To(admissionv1.PatchTypeJSONPatch)}
}

// Every object should have a label, as a webhook. It is in force from its creation to its deletion.
func TestWebhookRefuses(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, server *kayak.Server) {
		config, heard := server.RESTConfig(), &warnings{}
		config.WarningHandler = heard
		c := client(t, config)
		maps := c.CoreV1().ConfigMaps("default")
		w := startWebhook(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			var m corev1.ConfigMap
			_ = json.Unmarshal(r.Object.Raw, &m)
			if len(m.Labels) > 0 {
				return &admissionv1.AdmissionResponse{Allowed: true, Warnings: []string{"well done"}}
			}
			return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: "every object should have a label"}}
		})
		hook := w.validating("labels.example.com", rule("", "v1", "configmaps"))
		hook.Rules[0].Operations = []registration.OperationType{registration.Create}
		for i := range 5 {
			name := string(rune('a' + i))
			configureValidating(t, c, "labels", hook)
			_, err := maps.Create(t.Context(), configMap(name), metav1.CreateOptions{})
			if err == nil || err.Error() != `admission webhook "labels.example.com" denied the request: every object should have a label` {
				t.Fatalf("an object without labels: %v", err)
			}
			labelled := configMap(name + "-labelled")
			labelled.Labels = map[string]string{"a": "b"}
			if _, err := maps.Create(t.Context(), labelled, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if texts := heard.take(); len(texts) != 1 || texts[0] != "well done" {
				t.Fatalf("warnings %q", texts)
			}
			if err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(t.Context(), "labels", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := maps.Create(t.Context(), configMap(name), metav1.CreateOptions{}); err != nil {
				t.Fatalf("after the deletion: %v", err)
			}
		}
	})
}

// What admission does is counted under upstream's names, for each plugin and step.
func TestAdmissionMetrics(t *testing.T) {
	t.Parallel()
	config := start(t, kayak.Config{}).RESTConfig()
	c := client(t, config)
	w := startWebhook(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Allowed: r.Name != "refused", Result: &metav1.Status{Code: 403}}
	})
	absent := w.validating("counted-absent.example.com", rule("", "v1", "configmaps"))
	absent.ClientConfig.URL, absent.FailurePolicy = ptr.To("https://127.0.0.1:1/"), ptr.To(registration.Ignore)
	configureValidating(t, c, "counted", w.validating("counted.example.com", rule("", "v1", "configmaps")), absent)
	create(t, config, registrations("validatingadmissionpolicies"), "", `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: counted-policy}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]}
  validations: [{expression: "object.metadata.name != 'unfit'"}]
`)
	create(t, config, registrations("validatingadmissionpolicybindings"), "", `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: counted-binding}
spec: {policyName: counted-policy, validationActions: [Deny]}
`)
	for name, refused := range map[string]bool{"m": false, "refused": true, "unfit": true} {
		if _, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), configMap(name), metav1.CreateOptions{}); (err != nil) != refused {
			t.Fatalf("%s: %v", name, err)
		}
	}
	text, err := c.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const step, plugin = "apiserver_admission_step_admission_duration_seconds", "apiserver_admission_controller_admission_duration_seconds"
	for _, want := range []string{
		step + `_count{operation="CREATE",rejected="false",type="admit"} `,
		step + `_count{operation="CREATE",rejected="true",type="validate"} 2`,
		step + `_bucket{operation="CREATE",rejected="false",type="admit",le="0.005"} `,
		step + `_summary_count{operation="CREATE",rejected="true",type="validate"} 2`,
		plugin + `_count{name="NamespaceLifecycle",operation="CREATE",rejected="false",type="admit"} `,
		plugin + `_count{name="ValidatingAdmissionWebhook",operation="CREATE",rejected="true",type="validate"} 1`,
		plugin + `_count{name="ValidatingAdmissionPolicy",operation="CREATE",rejected="true",type="validate"} 1`,
		`apiserver_admission_webhook_admission_duration_seconds_count{name="counted.example.com",operation="CREATE",rejected="false",type="validating"} 1`,
		`apiserver_admission_webhook_admission_duration_seconds_count{name="counted.example.com",operation="CREATE",rejected="true",type="validating"} 1`,
		`apiserver_admission_webhook_rejection_count{error_type="no_error",name="counted.example.com",operation="CREATE",rejection_code="403",type="validating"} 1`,
		`apiserver_admission_webhook_request_total{code="200",name="counted.example.com",operation="CREATE",rejected="false",type="validating"} 1`,
		`apiserver_admission_webhook_fail_open_count{name="counted-absent.example.com",type="validating"} 2`,
		`apiserver_validating_admission_policy_check_total{enforcement_action="deny",error_type="invalid_error",policy="counted-policy",policy_binding="counted-binding"} 1`,
		`apiserver_validating_admission_policy_check_duration_seconds_count{enforcement_action="deny",error_type="invalid_error",policy="counted-policy",policy_binding="counted-binding"} 1`,
		"apiserver_cel_compilation_duration_seconds_count ",
	} {
		if !strings.Contains(string(text), "\n"+want) {
			t.Errorf("there is no %s", want)
		}
	}
}

// Webhooks change objects in the order of their configurations' names, and again if they ask for it.
func TestWebhookMutates(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, kayak.Config{}).RESTConfig())
	counter := startWebhook(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		var m corev1.ConfigMap
		_ = json.Unmarshal(r.Object.Raw, &m)
		if m.Data["late"] != "" {
			return patch(`[{"op":"add","path":"/data/seen","value":"late"}]`)
		}
		return patch(`[{"op":"add","path":"/data/first","value":"1"}]`)
	})
	late := startWebhook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return patch(`[{"op":"add","path":"/data/late","value":"2"}]`)
	})
	for name, w := range map[string]*webhook{"a": counter, "b": late} {
		configureMutating(t, c, name, registration.MutatingWebhook{
			Name: name + ".example.com", ClientConfig: w.clientConfig("/review"), Rules: rule("", "v1", "configmaps"),
			SideEffects: ptr.To(registration.SideEffectClassNone), AdmissionReviewVersions: []string{"v1beta1", "v1"},
			ReinvocationPolicy: ptr.To(registration.IfNeededReinvocationPolicy),
		})
	}
	created, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("m"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"key": "value", "first": "1", "late": "2", "seen": "late"}
	if diff := cmp.Diff(want, created.Data); diff != "" {
		t.Errorf("the data (- wanted, + got)\n%s", diff)
	}
	if _, n := counter.last(); n != 2 {
		t.Errorf("the first webhook was asked %d times", n)
	}
	if counter.versions[0] != "admission.k8s.io/v1beta1" {
		t.Errorf("it was asked in %s", counter.versions[0])
	}
}

// A webhook that does not answer, or not as it should, counts as its failure policy says.
func TestWebhookFails(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, kayak.Config{}).RESTConfig())
	w := startWebhook(t, allow)
	release := make(chan struct{})
	slow := startWebhook(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		<-release
		return allow(r)
	})
	t.Cleanup(func() { close(release) }) // before the server is closed
	tests := []struct {
		name   string
		change func(*registration.ValidatingWebhook)
		want   string
	}{
		{"slow", func(h *registration.ValidatingWebhook) {
			h.ClientConfig, h.TimeoutSeconds = slow.clientConfig("/review"), ptr.To[int32](1)
		}, "context deadline exceeded"},
		{"redirect", func(h *registration.ValidatingWebhook) { h.ClientConfig = w.clientConfig("/moved") }, "the server responded with a redirect"},
		{"certificate", func(h *registration.ValidatingWebhook) { h.ClientConfig.CABundle = nil }, "certificate signed by unknown authority"},
		{"absent", func(h *registration.ValidatingWebhook) { h.ClientConfig.URL = ptr.To("https://127.0.0.1:1/") }, "connection refused"},
		{"service", func(h *registration.ValidatingWebhook) {
			h.ClientConfig.URL = nil
			h.ClientConfig.Service = &registration.ServiceReference{Namespace: "default", Name: "nope"}
		}, `service "nope" not found`},
	}
	for _, test := range tests {
		for _, policy := range []registration.FailurePolicyType{registration.Fail, registration.Ignore} {
			h := w.validating("fails.example.com", rule("", "v1", "configmaps"))
			h.FailurePolicy = &policy
			h.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"test": test.name}}
			test.change(&h)
			configureValidating(t, c, "fails", h)
			m := configMap(test.name + "-" + strings.ToLower(string(policy)))
			m.Labels = map[string]string{"test": test.name}
			_, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), m, metav1.CreateOptions{})
			if policy == registration.Ignore && err != nil {
				t.Errorf("%s, ignored: %v", test.name, err)
			}
			if policy == registration.Fail && (!apierrors.IsInternalError(err) || !strings.Contains(err.Error(), test.want) ||
				!strings.Contains(err.Error(), `failed calling webhook "fails.example.com"`)) {
				t.Errorf("%s: %v", test.name, err)
			}
			if err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(t.Context(), "fails", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A webhook is asked about what it is configured for, and knows when it is only a try.
func TestWebhookMatches(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, kayak.Config{}).RESTConfig())
	w := startWebhook(t, allow)
	h := w.validating("match.example.com", rule("", "v1", "configmaps"))
	h.MatchConditions = []registration.MatchCondition{{Name: "named", Expression: "object.metadata.name.startsWith('x')"}}
	effects := w.validating("effects.example.com", rule("", "v1", "secrets"))
	effects.SideEffects = ptr.To(registration.SideEffectClassNoneOnDryRun)
	// Asked in an older version of the group than the request's.
	equivalent := w.validating("equivalent.example.com", rule("autoscaling", "v1", "horizontalpodautoscalers"))
	configureValidating(t, c, "match", h, effects, equivalent)
	maps := c.CoreV1().ConfigMaps("default")
	for i, name := range []string{"a", "x"} {
		if _, err := maps.Create(t.Context(), configMap(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, n := w.last(); n != i {
			t.Errorf("after %s: asked %d times", name, n)
		}
	}
	if _, err := maps.Create(t.Context(), configMap("x2"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Fatal(err)
	}
	if last, n := w.last(); n != 2 || last.DryRun == nil || !*last.DryRun {
		t.Errorf("dry run: asked %d times, %+v", n, last)
	}
	raw := []byte(`{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"h"},"spec":{"maxReplicas":2,` +
		`"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"d"}}}`)
	err := c.AutoscalingV2().RESTClient().Post().Namespace("default").Resource("horizontalpodautoscalers").Body(raw).Do(t.Context()).Error()
	if err != nil {
		t.Fatal(err)
	}
	last, _ := w.last()
	if last.Kind.Version != "v1" || last.RequestKind.Version != "v2" || !strings.Contains(string(last.Object.Raw), `"apiVersion":"autoscaling/v1"`) {
		t.Errorf("asked about %v, requested %v: %s", last.Kind, last.RequestKind, last.Object.Raw)
	}
}

// Which namespaces, and which versions, a webhook is for.
func TestWebhookSelects(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, kayak.Config{}).RESTConfig())
	w := startWebhook(t, allow)
	for name, labels := range map[string]map[string]string{"in": {"hooked": "yes"}, "out": nil} {
		n := namespaceObject(name)
		n.Labels = labels
		if _, err := c.CoreV1().Namespaces().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	selected := w.validating("selected.example.com", rule("", "v1", "configmaps"))
	selected.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"hooked": "yes"}}
	exact := w.validating("exact.example.com", rule("autoscaling", "v1", "horizontalpodautoscalers"))
	exact.MatchPolicy = ptr.To(registration.Exact)
	cluster := w.validating("cluster.example.com", rule("*", "*", "*"))
	cluster.Rules[0].Scope = ptr.To(registration.ClusterScope)
	cluster.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"cluster": "yes"}}
	configureValidating(t, c, "selects", selected, exact, cluster)
	asked := 0
	expect := func(what string, more int, err error) {
		t.Helper()
		asked += more
		if _, n := w.last(); err != nil || n != asked {
			t.Errorf("%s: asked %d times, not %d; %v", what, n, asked, err)
		}
	}
	for _, namespace := range []string{"in", "out"} {
		_, err := c.CoreV1().ConfigMaps(namespace).Create(t.Context(), configMap("m"), metav1.CreateOptions{})
		expect("namespace "+namespace, map[string]int{"in": 1}[namespace], err)
	}
	n, err := c.CoreV1().Namespaces().Get(t.Context(), "out", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n.Labels["hooked"] = "yes"
	if _, err := c.CoreV1().Namespaces().Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = c.CoreV1().ConfigMaps("out").Create(t.Context(), configMap("m2"), metav1.CreateOptions{})
	expect("a namespace that has the label now", 1, err)
	raw := []byte(`{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"h"},"spec":{"maxReplicas":2,` +
		`"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"d"}}}`)
	err = c.AutoscalingV2().RESTClient().Post().Namespace("out").Resource("horizontalpodautoscalers").Body(raw).Do(t.Context()).Error()
	expect("another version", 0, err)
	m := configMap("labelled")
	m.Labels = map[string]string{"cluster": "yes"}
	_, err = c.CoreV1().ConfigMaps("default").Create(t.Context(), m, metav1.CreateOptions{})
	expect("what is in a namespace", 0, err)
	_, err = c.CoreV1().PersistentVolumes().Create(t.Context(), &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "v", Labels: m.Labels},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:               corev1.ResourceList{"storage": resource.MustParse("1Gi")},
			AccessModes:            []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/v"}},
		},
	}, metav1.CreateOptions{})
	expect("what is in none", 1, err)
}

// The old object is what is stored, on every way of changing it.
func TestWebhookSeesTheOldObject(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, kayak.Config{}).RESTConfig())
	w := startWebhook(t, allow)
	configureValidating(t, c, "old", w.validating("old.example.com", rule("apps", "v1", "deployments", "deployments/*")))
	deployments := c.AppsV1().Deployments("default")
	labels := map[string]string{"app": "d"}
	d, err := deployments.Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "d", Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](1), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod("p").Spec},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stored := d
	check := func(what, subresource string, operation admissionv1.Operation) {
		t.Helper()
		last, _ := w.last()
		if last.Operation != operation || last.SubResource != subresource || last.UserInfo.Username == "" {
			t.Errorf("%s: asked about %s of %q by %q", what, last.Operation, last.SubResource, last.UserInfo.Username)
		}
		if subresource == "scale" {
			if !strings.Contains(string(last.OldObject.Raw), `"replicas":`+jsonOf(t, stored.Spec.Replicas)) {
				t.Errorf("%s: the old object is %s", what, last.OldObject.Raw)
			}
			return
		}
		var old appsv1.Deployment
		if err := json.Unmarshal(last.OldObject.Raw, &old); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		old.TypeMeta = metav1.TypeMeta{}
		if diff := cmp.Diff(jsonOf(t, stored), jsonOf(t, &old)); diff != "" {
			t.Errorf("%s: the old object (- stored, + seen)\n%s", what, diff)
		}
	}
	get := func() {
		if stored, err = deployments.Get(t.Context(), "d", metav1.GetOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	step := func(what, subresource string, change func() error) {
		t.Helper()
		get()
		if err := change(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		check(what, subresource, admissionv1.Update)
	}
	step("update", "", func() error {
		next := stored.DeepCopy()
		next.Labels["updated"] = "yes"
		_, err := deployments.Update(t.Context(), next, metav1.UpdateOptions{})
		return err
	})
	step("status", "status", func() error {
		next := stored.DeepCopy()
		next.Status.Replicas = 1
		_, err := deployments.UpdateStatus(t.Context(), next, metav1.UpdateOptions{})
		return err
	})
	for _, kind := range []types.PatchType{types.MergePatchType, types.StrategicMergePatchType} {
		step(string(kind), "", func() error {
			_, err := deployments.Patch(t.Context(), "d", kind, []byte(`{"metadata":{"annotations":{"a":"`+string(kind)+`"}}}`), metav1.PatchOptions{})
			return err
		})
	}
	step("json patch", "", func() error {
		_, err := deployments.Patch(t.Context(), "d", types.JSONPatchType, []byte(`[{"op":"add","path":"/metadata/labels/j","value":"p"}]`), metav1.PatchOptions{})
		return err
	})
	step("patch of status", "status", func() error {
		_, err := deployments.Patch(t.Context(), "d", types.MergePatchType, []byte(`{"status":{"replicas":2}}`), metav1.PatchOptions{}, "status")
		return err
	})
	step("apply", "", func() error {
		_, err := deployments.Patch(t.Context(), "d", types.ApplyPatchType,
			[]byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","labels":{"applied":"yes"}}}`),
			metav1.PatchOptions{FieldManager: "m"})
		return err
	})
	step("scale", "scale", func() error {
		scale, err := deployments.GetScale(t.Context(), "d", metav1.GetOptions{})
		if err != nil {
			return err
		}
		scale.Spec.Replicas = 3
		_, err = deployments.UpdateScale(t.Context(), "d", scale, metav1.UpdateOptions{})
		return err
	})
	get()
	if err := deployments.Delete(t.Context(), "d", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	check("delete", "", admissionv1.Delete)
}

func jsonOf(t *testing.T, obj any) string {
	t.Helper()
	text, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// All validating webhooks are asked at the same time.
func TestValidatingWebhooksAreParallel(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, kayak.Config{}).RESTConfig())
	var together sync.WaitGroup
	together.Add(2)
	w := startWebhook(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		together.Done()
		together.Wait() // each waits for the other
		return allow(r)
	})
	rules := rule("", "v1", "configmaps")
	configureValidating(t, c, "parallel", w.validating("a.example.com", rules), w.validating("b.example.com", rules))
	began := time.Now()
	if _, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("m"), metav1.CreateOptions{}); err != nil {
		t.Fatalf("after %v: %v", time.Since(began), err)
	}
}

// A policy changes objects, by a configuration that is applied and by a patch.
func TestMutatingPolicy(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, kayak.Config{}).RESTConfig())
	policies := c.AdmissionregistrationV1().RESTClient()
	post := func(resource, text string) {
		t.Helper()
		if err := policies.Post().Resource(resource).Body([]byte(text)).SetHeader("Content-Type", "application/yaml").Do(t.Context()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	post("mutatingadmissionpolicies", `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: defaults}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  reinvocationPolicy: Never
  variables: [{name: team, expression: "'team-' + object.metadata.name"}]
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: 'Object{metadata: Object.metadata{labels: {"team": variables.team}}}'
  - patchType: JSONPatch
    jsonPatch:
      expression: '[JSONPatch{op: "add", path: "/spec/containers/0/image", value: "example.com/" + object.spec.containers[0].image}]'
`)
	post("mutatingadmissionpolicybindings", `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: defaults}
spec: {policyName: defaults}
`)
	created, err := c.CoreV1().Pods("default").Create(t.Context(), pod("p"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if created.Labels["team"] != "team-p" || created.Spec.Containers[0].Image != "example.com/nginx:1" {
		t.Errorf("labels %v, image %s", created.Labels, created.Spec.Containers[0].Image)
	}
}
