package custom_test

import (
	"compress/gzip"
	"io"
	"os"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kayak-k8s/kayak"
)

// realDefinition reads one of the definitions in testdata, which are those of the public modules that they are named after, without
// the lines that are templates: cert-manager v1.18.0, prometheus-operator v0.83.0, cluster-api v1.10.0, gateway-api v1.3.0.
func realDefinition(t testing.TB, name string) string {
	t.Helper()
	file := must(os.Open("testdata/" + name + ".yaml.gz"))(t)
	defer file.Close()
	reader := must(gzip.NewReader(file))(t)
	return string(must(io.ReadAll(reader))(t))
}

// TestRealDefinitions establishes definitions that many clusters have, and has objects of them accepted and refused.
func TestRealDefinitions(t *testing.T) {
	t.Parallel()
	c := start(t, kayak.Config{})
	for _, test := range []struct {
		definition, resource, valid, invalid, cause string
	}{
		{
			"cert-manager-certificates", "cert-manager.io/v1/certificates",
			"apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: a}\nspec: {secretName: s, dnsNames: [example.com], issuerRef: {name: i}}",
			"apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: b}\nspec: {secretName: s, issuerRef: {name: i}, privateKey: {algorithm: DSA}}",
			`spec.privateKey.algorithm: Unsupported value: "DSA"`,
		},
		{
			"prometheus-operator-servicemonitors", "monitoring.coreos.com/v1/servicemonitors",
			"apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {name: a}\nspec: {selector: {matchLabels: {a: b}}, endpoints: [{port: web, interval: 30s}]}",
			"apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {name: b}\nspec: {selector: {}, endpoints: [{interval: often}]}",
			`spec.endpoints[0].interval in body should match`,
		},
		{
			"cluster-api-clusters", "cluster.x-k8s.io/v1beta1/clusters",
			"apiVersion: cluster.x-k8s.io/v1beta1\nkind: Cluster\nmetadata: {name: a}\nspec: {clusterNetwork: {pods: {cidrBlocks: [10.0.0.0/16]}}}",
			"apiVersion: cluster.x-k8s.io/v1beta1\nkind: Cluster\nmetadata: {name: b}\nspec: {clusterNetwork: {pods: {}}}",
			`spec.clusterNetwork.pods.cidrBlocks: Required value`,
		},
		{
			"gateway-api-httproutes", "gateway.networking.k8s.io/v1/httproutes",
			"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec: {rules: [{backendRefs: [{name: b, port: 80}]}]}",
			"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: b}\nspec: {rules: [{backendRefs: [{name: b}]}]}",
			`Must have port for Service reference`,
		},
	} {
		c.define(t, realDefinition(t, test.definition))
		parts := strings.Split(test.resource, "/")
		r := c.dynamic.Resource(schema.GroupVersionResource{Group: parts[0], Version: parts[1], Resource: parts[2]}).Namespace("default")
		if _, err := r.Create(t.Context(), object(t, "%s", test.valid), metav1.CreateOptions{FieldValidation: "Strict"}); err != nil {
			t.Errorf("%s: %v", test.definition, err)
		}
		_, err := r.Create(t.Context(), object(t, "%s", test.invalid), metav1.CreateOptions{})
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), test.cause) {
			t.Errorf("%s: %v", test.definition, err)
		}
	}
	for _, path := range []string{"/openapi/v3/apis/gateway.networking.k8s.io/v1", "/openapi/v3/apis/cert-manager.io/v1"} {
		body := must(c.discovery.RESTClient().Get().AbsPath(path).DoRaw(t.Context()))(t)
		if !strings.Contains(string(body), `"x-kubernetes-group-version-kind"`) || !strings.Contains(string(body), "fieldValidation") {
			t.Errorf("%s: %.200s", path, body)
		}
	}
	index := must(c.discovery.OpenAPIV3().Paths())(t)
	if index["apis/cluster.x-k8s.io/v1beta1"] == nil || index["apis/apps/v1"] == nil {
		t.Error("the index of OpenAPI v3 lacks something")
	}
	document := must(c.discovery.OpenAPISchema())(t) // v2, in protobuf
	found := map[string]bool{}
	for _, d := range document.Definitions.AdditionalProperties {
		if found[d.Name] {
			t.Errorf("%s is there twice", d.Name)
		}
		found[d.Name] = true
	}
	if !found["io.cert-manager.v1.Certificate"] || !found["io.k8s.api.core.v1.Pod"] {
		t.Error("the document of OpenAPI v2 lacks something")
	}
	body := must(c.discovery.RESTClient().Get().AbsPath("/openapi/v2").SetHeader("Accept", "application/json").DoRaw(t.Context()))(t)
	if !strings.Contains(string(body), "io.cert-manager.v1.Certificate") {
		t.Error("the JSON of OpenAPI v2 lacks something")
	}
}
