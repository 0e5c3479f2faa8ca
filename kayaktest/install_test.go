package kayaktest

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	admissionclient "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"
)

const crdFile = `# what controller-gen writes
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: boats.example.com
spec:
  group: example.com
  names: {kind: Boat, listKind: BoatList, plural: boats, singular: boat}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
`

func TestReadAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{"boats.yaml": crdFile, "notes.txt": "not YAML: {", "empty.yml": "---\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	documents, err := readAll([]string{dir, filepath.Join(dir, "boats.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	var crds []*apiextensionsv1.CustomResourceDefinition
	for _, d := range documents {
		if crds, err = addDocument(crds, d, "CustomResourceDefinition", "apiextensions.k8s.io/v1"); err != nil {
			t.Fatal(err)
		}
	}
	if len(crds) != 2 || crds[0].Name != "boats.example.com" || crds[0].Spec.Versions[0].Name != "v1" {
		t.Errorf("read %v", crds)
	}
	if _, err := readAll([]string{filepath.Join(dir, "missing")}); err == nil {
		t.Error("a path that does not exist was accepted")
	}
	old := document{path: "a.yaml", data: []byte("{}"), TypeMeta: metav1.TypeMeta{Kind: "CustomResourceDefinition", APIVersion: "apiextensions.k8s.io/v1beta1"}}
	if _, err := addDocument(crds, old, "CustomResourceDefinition", "apiextensions.k8s.io/v1"); err == nil {
		t.Error("a CustomResourceDefinition of v1beta1 was accepted")
	}
}

// The wait for a definition that cannot be established ends with what the server has to say about it.
func TestNamesNotAccepted(t *testing.T) {
	t.Parallel()
	s := New(t)
	client, err := crdclient.NewForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	crd := definition()
	crd.Name = "ships.example.com"
	crd.Spec.Names.Plural = "ships"
	stored, err := client.CustomResourceDefinitions().Create(t.Context(), crd, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stored.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{
		Type: apiextensionsv1.NamesAccepted, Status: apiextensionsv1.ConditionFalse, Reason: "ListKindConflict", Message: "it is taken",
		LastTransitionTime: metav1.Now(),
	}}
	pending := map[string]*apiextensionsv1.CustomResourceDefinition{crd.Name: crd}
	if _, err := client.CustomResourceDefinitions().UpdateStatus(t.Context(), stored, metav1.UpdateOptions{}); err != nil {
		t.Skip("the server keeps the status by itself: ", err)
	}
	err = established(t.Context(), client.CustomResourceDefinitions(), pending)
	if err == nil || !strings.Contains(err.Error(), "it is taken") {
		t.Errorf("error %v", err)
	}
}

// The wait ends when all definitions are established, whoever establishes them.
func TestEstablished(t *testing.T) {
	t.Parallel()
	s := New(t)
	client, err := crdclient.NewForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	crd := definition()
	for range 2 { // installed again, it is updated
		if err := applyCRD(t.Context(), client.CustomResourceDefinitions(), crd); err != nil {
			t.Fatal(err)
		}
	}
	var establishing sync.WaitGroup
	establishing.Go(func() {
		stored, err := client.CustomResourceDefinitions().Get(t.Context(), crd.Name, metav1.GetOptions{})
		if err != nil {
			t.Error(err)
			return
		}
		for _, condition := range []apiextensionsv1.CustomResourceDefinitionConditionType{apiextensionsv1.NamesAccepted, apiextensionsv1.Established} {
			stored.Status.Conditions = append(stored.Status.Conditions, apiextensionsv1.CustomResourceDefinitionCondition{
				Type: condition, Status: apiextensionsv1.ConditionTrue, LastTransitionTime: metav1.Now(),
			})
		}
		_, _ = client.CustomResourceDefinitions().UpdateStatus(t.Context(), stored, metav1.UpdateOptions{}) // the server may be faster
	})
	pending := map[string]*apiextensionsv1.CustomResourceDefinition{crd.Name: crd}
	if err := established(t.Context(), client.CustomResourceDefinitions(), pending); err != nil || len(pending) > 0 {
		t.Errorf("error %v, not established %v", err, pending)
	}
	establishing.Wait()
}

func definition() *apiextensionsv1.CustomResourceDefinition {
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "boats.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: "Boat", ListKind: "BoatList", Plural: "boats", Singular: "boat"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}},
			}},
		},
	}
}

// The configurations of webhooks lead to the handler, with a bundle that trusts it.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	none, path := admissionregistrationv1.SideEffectClassNone, "/validate"
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "boats"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "boats.example.com", SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				Service: &admissionregistrationv1.ServiceReference{Namespace: "system", Name: "webhook-service", Path: &path},
			},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"example.com"}, APIVersions: []string{"v1"}, Resources: []string{"boats"}},
			}},
		}},
	}
	s := New(t, Webhooks(WebhookOptions{
		Validating: []*admissionregistrationv1.ValidatingWebhookConfiguration{configuration},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "asked at "+r.URL.Path)
		}),
	}))
	client, err := admissionclient.NewForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	installed, err := client.ValidatingWebhookConfigurations().Get(t.Context(), "boats", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := installed.Webhooks[0].ClientConfig
	if c.Service != nil || c.URL == nil {
		t.Fatalf("the client configuration is %+v", c)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(c.CABundle)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Post(*c.URL, "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "asked at /validate" {
		t.Errorf("the webhook said %q, error %v", body, err)
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(s.WebhookCertDir(), "tls.crt"), filepath.Join(s.WebhookCertDir(), "tls.key")); err != nil {
		t.Error(err)
	}
	if configuration.Webhooks[0].ClientConfig.Service == nil {
		t.Error("the test's own object was changed")
	}
}
