package kayak_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	registration "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/kayak-k8s/kayak"
)

// create creates the objects of a YAML text, in a namespace if they are in one.
func create(t *testing.T, config *rest.Config, resource schema.GroupVersionResource, namespace string, texts ...string) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	for _, text := range texts {
		created, err := tryCreate(t.Context(), config, resource, namespace, text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, created)
	}
	return all
}

func tryCreate(ctx context.Context, config *rest.Config, resource schema.GroupVersionResource, namespace, text string) (*unstructured.Unstructured, error) {
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	obj := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &obj.Object); err != nil {
		return nil, err
	}
	if namespace == "" {
		return c.Resource(resource).Create(ctx, obj, metav1.CreateOptions{})
	}
	return c.Resource(resource).Namespace(namespace).Create(ctx, obj, metav1.CreateOptions{})
}

func registrations(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: resource}
}

var (
	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	widgets     = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}
)

const widgetDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              colour: {type: string}
              replicas: {type: integer}
              size: {type: integer, default: 7}
              parts:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items: {type: object, required: [name], properties: {name: {type: string}, count: {type: integer}, made: {type: string}}}
              tags: {type: array, items: {type: string}}
          status: {type: object, properties: {replicas: {type: integer}}}
`

// A policy's configuration is merged into a custom resource as its schema says: lists by their keys, with defaults.
func TestMutatingPolicyOfCustomResource(t *testing.T) {
	t.Parallel()
	config := start(t, kayak.Config{}).RESTConfig()
	create(t, config, definitions, "", widgetDefinition)
	create(t, config, registrations("mutatingadmissionpolicies"), "", `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: widgets}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [example.com], apiVersions: [v1], operations: [CREATE], resources: [widgets]}]
  reinvocationPolicy: Never
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: >-
        Object{spec: Object.spec{colour: "blue", parts: [
          Object.spec.parts{name: "wheel", made: "here"}, Object.spec.parts{name: "bell", count: 1}]}}
`, `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: wrong}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [example.com], apiVersions: [v1], operations: [CREATE], resources: [widgets]}]
  matchConditions: [{name: asked, expression: "object.metadata.name == 'wrong'"}]
  reinvocationPolicy: Never
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: 'Object{spec: Object.spec{tags: ["a"]}}'}
`)
	for _, name := range []string{"widgets", "wrong"} {
		create(t, config, registrations("mutatingadmissionpolicybindings"), "", fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: %[1]s}
spec: {policyName: %[1]s}
`, name))
	}
	const widget = `{apiVersion: example.com/v1, kind: Widget, metadata: {name: %s}, spec: {colour: red, parts: [{name: wheel, count: 4}], tags: [x]}}`
	created := create(t, config, widgets, "default", fmt.Sprintf(widget, "w"))[0]
	got := jsonOf(t, created.Object["spec"])
	want := `{"colour":"blue","parts":[{"count":4,"made":"here","name":"wheel"},{"count":1,"name":"bell"}],"size":7,"tags":["x"]}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// A list that is replaced as a whole must not be changed in part.
	_, err := tryCreate(t.Context(), config, widgets, "default", fmt.Sprintf(widget, "wrong"))
	if text := "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.tags"; err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %s", err, text)
	}
}

// Policies of a custom resource know its schema's types, and its objects can be parameters.
func TestPolicyWithCustomParameter(t *testing.T) {
	t.Parallel()
	config := start(t, kayak.Config{}).RESTConfig()
	policy := func() {
		create(t, config, registrations("validatingadmissionpolicies"), "", `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: limit}
spec:
  paramKind: {apiVersion: example.com/v1, kind: Widget}
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  validations: [{expression: "size(object.data) <= params.spec.size", messageExpression: "'at most ' + string(params.spec.size)"}]
`)
		create(t, config, registrations("validatingadmissionpolicybindings"), "", `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: limit}
spec: {policyName: limit, validationActions: [Deny], paramRef: {name: limit, parameterNotFoundAction: Deny}}
`)
	}
	policy() // before there is the kind of its parameters
	maps := client(t, config).CoreV1().ConfigMaps("default")
	refused := func(what, text string) {
		t.Helper()
		_, err := maps.Create(t.Context(), configMap("m"), metav1.CreateOptions{})
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Fatalf("%s: got %v, want %s", what, err, text)
		}
	}
	refused("without a kind", "failed to find resource referenced by paramKind: 'example.com/v1, Kind=Widget'")
	create(t, config, definitions, "", widgetDefinition)
	refused("without a parameter", "no params found for policy binding with `Deny` parameterNotFoundAction")
	create(t, config, widgets, "default", `{apiVersion: example.com/v1, kind: Widget, metadata: {name: limit}, spec: {size: 0}}`)
	refused("with a parameter", "at most 0")
}

// Policies and webhooks in files are read again when they change.
func TestStaticManifestsReload(t *testing.T) {
	t.Parallel()
	policies, webhooks := t.TempDir(), t.TempDir()
	write := func(dir, text string) {
		t.Helper()
		next := filepath.Join(t.TempDir(), "next")
		if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(dir, "a.yaml")); err != nil {
			t.Fatal(err)
		}
	}
	write(policies, staticPolicy("'a' in object.data"))
	w := startWebhook(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Allowed: r.Name != "hooked", Result: &metav1.Status{Message: "no hooks"}}
	})
	webhook := registration.ValidatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingWebhookConfiguration"},
		ObjectMeta: metav1.ObjectMeta{Name: "hook.static.k8s.io"},
		Webhooks:   []registration.ValidatingWebhook{w.validating("hook.example.com", rule("", "v1", "configmaps"))},
	}
	write(webhooks, jsonOf(t, webhook))
	server := start(t, kayak.Config{Admission: kayak.AdmissionConfig{ConfigFile: pluginConfiguration(t, map[string]string{
		"ValidatingAdmissionPolicy":  fmt.Sprintf("{apiVersion: apiserver.config.k8s.io/v1, kind: ValidatingAdmissionPolicyConfiguration, staticManifestsDir: %q}", policies),
		"ValidatingAdmissionWebhook": fmt.Sprintf("{apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, staticManifestsDir: %q}", webhooks),
	})}})
	c := client(t, server.RESTConfig())
	try := func(name string, data map[string]string) string {
		m := configMap(name)
		maps.Copy(m.Data, data)
		_, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), m, metav1.CreateOptions{DryRun: []string{"All"}})
		return fmt.Sprint(err)
	}
	becomes := func(name string, data map[string]string, want string) {
		t.Helper()
		got := ""
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if got = try(name, data); strings.Contains(got, want) {
				return
			}
		}
		t.Fatalf("got %s, want %s", got, want)
	}
	if got := try("m", nil); !strings.Contains(got, "failed expression: 'a' in object.data") {
		t.Fatalf("at the beginning: %s", got)
	}
	system := c.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	if m, err := system.Get(t.Context(), "extension-apiserver-authentication", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("what the server would make, and is not let: %v, %v", m, err)
	}
	if got := try("hooked", map[string]string{"a": ""}); !strings.Contains(got, `admission webhook "hook.example.com" denied the request: no hooks`) {
		t.Fatalf("at the beginning: %s", got)
	}
	write(policies, staticPolicy("'b' in object.data"))
	becomes("m", map[string]string{"a": ""}, "failed expression: 'b' in object.data")
	write(policies, "nonsense") // what was there before stays
	webhook.Webhooks[0].Rules = rule("", "v1", "secrets")
	write(webhooks, jsonOf(t, webhook))
	becomes("hooked", map[string]string{"b": ""}, "<nil>")
	if got := try("m", map[string]string{"a": ""}); !strings.Contains(got, "failed expression: 'b' in object.data") {
		t.Errorf("after nonsense: %s", got)
	}
	if err := os.Remove(filepath.Join(policies, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	becomes("m", nil, "<nil>")
	// The server has not given up what was refused at its start.
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err := system.Get(t.Context(), "extension-apiserver-authentication", metav1.GetOptions{}); err == nil {
			return
		}
	}
	t.Error("the server has given up its ConfigMap")
}

func staticPolicy(expression string) string {
	return fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: a.static.k8s.io}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  validations: [{expression: %q}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: a.static.k8s.io}
spec: {policyName: a.static.k8s.io, validationActions: [Deny]}
`, expression)
}
