package kayak_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	imagepolicy "k8s.io/api/imagepolicy/v1alpha1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kayak-k8s/kayak"
)

// pluginConfiguration writes a file with the configurations of plugins, by their names.
func pluginConfiguration(t *testing.T, configurations map[string]string) string {
	t.Helper()
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"
	for name, configuration := range configurations {
		text += "- name: " + name + "\n  configuration: " + configuration + "\n"
	}
	path := filepath.Join(t.TempDir(), "admission.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// startWith starts a server with plugins besides those that are on by default.
func startWith(t *testing.T, configurations map[string]string, plugins ...string) *kayak.Server {
	t.Helper()
	config := kayak.Config{Admission: kayak.AdmissionConfig{Enable: plugins, Disable: []string{"ServiceAccount"}}}
	if configurations != nil {
		config.Admission.ConfigFile = pluginConfiguration(t, configurations)
	}
	return start(t, config)
}

func forbidden(t *testing.T, what string, err error, text string) {
	t.Helper()
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: got %v, want 403 with %s", what, err, text)
	}
}

// A node may change what is its own only.
func TestNodeRestriction(t *testing.T) {
	t.Parallel()
	server := startWith(t, nil, "NodeRestriction")
	n1, err := kubernetes.NewForConfig(server.ConfigFor("system:node:n1", "system:nodes", "system:authenticated"))
	if err != nil {
		t.Fatal(err)
	}
	node := func(name string, labels map[string]string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	}
	nodes := n1.CoreV1().Nodes()
	_, err = nodes.Create(t.Context(), node("n2", nil), metav1.CreateOptions{})
	forbidden(t, "another node", err, `nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"`)
	_, err = nodes.Create(t.Context(), node("n1", map[string]string{"node-restriction.kubernetes.io/a": "b"}), metav1.CreateOptions{})
	forbidden(t, "a label", err, `node "n1" is not allowed to set the following labels: node-restriction.kubernetes.io/a`)
	if _, err = nodes.Create(t.Context(), node("n1", nil), metav1.CreateOptions{}); err != nil {
		t.Errorf("the node itself: %v", err)
	}
	_, err = n1.CoreV1().Pods("default").Create(t.Context(), pod("p"), metav1.CreateOptions{})
	forbidden(t, "a pod", err, `pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods`)
	admin := client(t, server.RESTConfig())
	for _, name := range []string{"n1", "n2"} {
		p := pod("on-" + name)
		p.Spec.NodeName = name
		if _, err := admin.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	err = n1.CoreV1().Pods("default").Delete(t.Context(), "on-n2", metav1.DeleteOptions{})
	forbidden(t, "another node's pod", err, `node "n1" can only delete pods with spec.nodeName set to itself`)
	if err := n1.CoreV1().Pods("default").Delete(t.Context(), "on-n1", metav1.DeleteOptions{}); err != nil {
		t.Errorf("the node's pod: %v", err)
	}
}

// Events are let through as fast as is configured.
func TestEventRateLimit(t *testing.T) {
	t.Parallel()
	c := client(t, startWith(t, map[string]string{
		"EventRateLimit": `{apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration, limits: [{type: Namespace, qps: 1, burst: 2}]}`,
	}, "EventRateLimit").RESTConfig())
	events := c.CoreV1().Events("default")
	for i := range 100 {
		_, err := events.Create(t.Context(), &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Name: fmt.Sprint("e", i)},
			InvolvedObject: corev1.ObjectReference{Namespace: "default", Name: "p", Kind: "Pod"},
		}, metav1.CreateOptions{})
		switch {
		case err == nil:
		case i >= 2 && apierrors.IsTooManyRequests(err) && strings.Contains(err.Error(), "limit reached on type Namespace for key default"):
			if _, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("m"), metav1.CreateOptions{}); err != nil {
				t.Errorf("what is no event: %v", err)
			}
			return
		default:
			t.Fatalf("event %d: %v", i, err)
		}
	}
	t.Error("100 events went through")
}

// A backend says which images may be used, and its absence counts as configured.
func TestImagePolicyWebhook(t *testing.T) {
	t.Parallel()
	backend := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review imagepolicy.ImageReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Status = imagepolicy.ImageReviewStatus{Allowed: true}
		for _, container := range review.Spec.Containers {
			if strings.HasPrefix(container.Image, "bad/") {
				review.Status = imagepolicy.ImageReviewStatus{Reason: container.Image + " in " + review.Spec.Namespace}
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(backend.Close)
	configuration := func(server string, open bool) map[string]string {
		dir := t.TempDir()
		ca, file := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "kubeconfig")
		text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
			clusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}], users: [{name: u, user: {token: t}}]}`, server, ca)
		pemText := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: backend.Certificate().Raw})
		for path, content := range map[string][]byte{ca: pemText, file: []byte(strings.ReplaceAll(text, "\t", " "))} {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return map[string]string{"ImagePolicyWebhook": fmt.Sprintf("{imagePolicy: {kubeConfigFile: %q, retryBackoff: 1, defaultAllow: %v}}", file, open)}
	}
	create := func(server *kayak.Server, name, image string) error {
		p := pod(name)
		p.Spec.Containers[0].Image = image
		_, err := client(t, server.RESTConfig()).CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
		return err
	}
	server := startWith(t, configuration(backend.URL, false), "ImagePolicyWebhook")
	if err := create(server, "good", "good/image"); err != nil {
		t.Error(err)
	}
	forbidden(t, "a bad image", create(server, "bad", "bad/image"), "image policy webhook backend denied one or more images: bad/image in default")
	forbidden(t, "no backend", create(startWith(t, configuration("https://127.0.0.1:1", false), "ImagePolicyWebhook"), "p", "i"), "connection refused")
	if err := create(startWith(t, configuration("https://127.0.0.1:1", true), "ImagePolicyWebhook"), "p", "i"); err != nil {
		t.Errorf("no backend, which is allowed: %v", err)
	}
}

// Namespaces say where their pods may go, and what these tolerate.
func TestPodPlacement(t *testing.T) {
	t.Parallel()
	c := client(t, startWith(t, map[string]string{
		"PodNodeSelector": "{podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: zone=a, special: zone=b}}",
	}, "PodNodeSelector", "PodTolerationRestriction").RESTConfig())
	namespaces := map[string]map[string]string{
		"plain":   nil,
		"special": {"scheduler.alpha.kubernetes.io/node-selector": "zone=b,disk=ssd"},
		"tolerant": {
			"scheduler.alpha.kubernetes.io/defaultTolerations":   `[{"key":"gpu","operator":"Exists","effect":"NoSchedule"}]`,
			"scheduler.alpha.kubernetes.io/tolerationsWhitelist": `[{"key":"gpu","operator":"Exists"},{"operator":"Exists","effect":"NoExecute"}]`,
		},
	}
	for name, annotations := range namespaces {
		n := namespaceObject(name)
		n.Annotations = annotations
		if _, err := c.CoreV1().Namespaces().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	p, err := c.CoreV1().Pods("plain").Create(t.Context(), pod("p"), metav1.CreateOptions{})
	if err != nil || p.Spec.NodeSelector["zone"] != "a" {
		t.Errorf("the cluster's selector: %v %v", err, p.Spec.NodeSelector)
	}
	elsewhere := pod("elsewhere")
	elsewhere.Spec.NodeSelector = map[string]string{"zone": "c"}
	_, err = c.CoreV1().Pods("special").Create(t.Context(), elsewhere, metav1.CreateOptions{})
	forbidden(t, "another zone", err, "pod node label selector conflicts with its namespace node label selector")
	_, err = c.CoreV1().Pods("special").Create(t.Context(), pod("p"), metav1.CreateOptions{})
	forbidden(t, "a selector that the configuration does not allow", err, "pod node label selector labels conflict with its namespace whitelist")
	p, err = c.CoreV1().Pods("tolerant").Create(t.Context(), pod("p"), metav1.CreateOptions{})
	if err != nil || !slices.ContainsFunc(p.Spec.Tolerations, func(t corev1.Toleration) bool { return t.Key == "gpu" }) {
		t.Errorf("the namespace's tolerations: %v %v", err, p.Spec.Tolerations)
	}
	other := pod("other")
	other.Spec.Tolerations = []corev1.Toleration{{Key: "other", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
	_, err = c.CoreV1().Pods("tolerant").Create(t.Context(), other, metav1.CreateOptions{})
	// Upstream's answer is a 500 too.
	if want := "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist"; err == nil || err.Error() != want {
		t.Errorf("another toleration: got %v, want %s", err, want)
	}
}

// What else there is that looks at one sort of objects.
func TestOtherPlugins(t *testing.T) {
	t.Parallel()
	c := client(t, startWith(t, nil, "LimitPodHardAntiAffinityTopology", "DenyServiceExternalIPs", "ExtendedResourceToleration").RESTConfig())
	p := pod("p")
	p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
		{TopologyKey: "zone", LabelSelector: &metav1.LabelSelector{}},
	}}}
	_, err := c.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
	forbidden(t, "an affinity", err, "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key kubernetes.io/hostname is allowed")
	_, err = c.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "s"},
		Spec:       corev1.ServiceSpec{ExternalIPs: []string{"192.0.2.1"}, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	forbidden(t, "an external IP", err, "Use of external IPs is denied by admission control")
	p = pod("gpu")
	p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"example.com/gpu": resource.MustParse("1")}
	p, err = c.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
	if err != nil || !slices.ContainsFunc(p.Spec.Tolerations, func(t corev1.Toleration) bool { return t.Key == "example.com/gpu" }) {
		t.Errorf("a pod with a device: %v, tolerations %v", err, p.Spec.Tolerations)
	}
}

// A quota counts what is in its scope; and some things need a quota that has them in its scope.
func TestQuotaScopes(t *testing.T) {
	t.Parallel()
	c := client(t, startWith(t, map[string]string{
		"ResourceQuota": `{apiVersion: apiserver.config.k8s.io/v1, kind: ResourceQuotaConfiguration, limitedResources: [{resource: pods,
    matchScopes: [{scopeName: PriorityClass, operator: In, values: [precious]}]}]}`,
	}).RESTConfig())
	for _, name := range []string{"high", "precious"} {
		if _, err := c.SchedulingV1().PriorityClasses().Create(t.Context(), &schedulingv1.PriorityClass{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Value: 1000,
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	one := corev1.ResourceList{"pods": resource.MustParse("1")}
	quota := func(name string, spec corev1.ResourceQuotaSpec) {
		t.Helper()
		spec.Hard = one
		q, err := c.CoreV1().ResourceQuotas("default").Create(t.Context(),
			&corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		// The quota controller would do this.
		q.Status = corev1.ResourceQuotaStatus{Hard: one, Used: corev1.ResourceList{"pods": resource.MustParse("0")}}
		if _, err := c.CoreV1().ResourceQuotas("default").UpdateStatus(t.Context(), q, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	quota("best-effort", corev1.ResourceQuotaSpec{Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}})
	quota("terminating", corev1.ResourceQuotaSpec{Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating}})
	quota("high", corev1.ResourceQuotaSpec{ScopeSelector: &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
		{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{"high"}},
	}}})
	burstable := func(name string) *corev1.Pod {
		p := pod(name)
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("1m")}
		return p
	}
	create := func(p *corev1.Pod) error {
		_, err := c.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
		return err
	}
	for scope, kind := range map[string]func(name string) *corev1.Pod{
		"best-effort": pod,
		"terminating": func(name string) *corev1.Pod {
			p := burstable(name)
			p.Spec.ActiveDeadlineSeconds = new(int64)
			*p.Spec.ActiveDeadlineSeconds = 100
			return p
		},
		"high": func(name string) *corev1.Pod {
			p := burstable(name)
			p.Spec.PriorityClassName = "high"
			return p
		},
	} {
		if err := create(kind(scope + "-1")); err != nil {
			t.Errorf("%s: %v", scope, err)
		}
		forbidden(t, scope, create(kind(scope+"-2")), "exceeded quota: "+scope+", requested: pods=1, used: pods=1, limited: pods=1")
	}
	for i := range 3 {
		if err := create(burstable(fmt.Sprint("free-", i))); err != nil {
			t.Errorf("a pod in no scope: %v", err)
		}
	}
	precious := burstable("precious")
	precious.Spec.PriorityClassName = "precious"
	// Upstream's answer is a 500 too.
	err := create(precious)
	if want := "insufficient quota to match these scopes: [{PriorityClass In [precious]}]"; err == nil || err.Error() != want {
		t.Errorf("a pod that needs a quota: got %v, want %s", err, want)
	}
}

// Plugins are ready, and find what they need, when the APIs of what they go by are switched off.
func TestAdmissionWithoutAPIs(t *testing.T) {
	t.Parallel()
	all, _ := kayak.AdmissionPlugins()
	var enable []string
	for _, name := range all {
		switch name {
		case "AlwaysDeny", "ServiceAccount", "ImagePolicyWebhook", "EventRateLimit": // the last two need a configuration
		default:
			enable = append(enable, name)
		}
	}
	for _, runtimeConfig := range []map[string]string{
		{"api/all": "false", "api/v1": "true"},
		{"admissionregistration.k8s.io/v1": "false", "scheduling.k8s.io/v1": "false", "storage.k8s.io/v1": "false", "node.k8s.io/v1": "false"},
	} {
		c := client(t, start(t, kayak.Config{
			RuntimeConfig: runtimeConfig,
			Admission:     kayak.AdmissionConfig{Enable: enable, Disable: []string{"ServiceAccount"}},
		}).RESTConfig())
		p := pod("p")
		p.Spec.PriorityClassName = "system-node-critical"
		created, err := c.CoreV1().Pods("kube-system").Create(t.Context(), p, metav1.CreateOptions{})
		if err != nil || created.Spec.Priority == nil || *created.Spec.Priority != 2000001000 {
			t.Errorf("%v: a pod with a priority class: %v", runtimeConfig, err)
		}
		if _, err := c.CoreV1().ConfigMaps("made").Create(t.Context(), configMap("m"), metav1.CreateOptions{}); err != nil {
			t.Errorf("%v: %v", runtimeConfig, err)
		}
		_, err = c.CoreV1().PersistentVolumeClaims("default").Create(t.Context(), &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: "claim"},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Errorf("%v: %v", runtimeConfig, err)
		}
		if err := c.CoreV1().Pods("kube-system").Delete(t.Context(), "p", metav1.DeleteOptions{}); err != nil {
			t.Errorf("%v: %v", runtimeConfig, err)
		}
	}
}
