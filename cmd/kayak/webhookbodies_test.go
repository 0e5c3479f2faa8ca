package main

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// What is sent to webhooks has secrets in it. It is not logged, however much is.
func TestWebhookBodiesAreNotLogged(t *testing.T) {
	t.Parallel()
	const secret, answer = "the-secret-itself", "the-answer-itself"
	var asked atomic.Int64
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		body, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(body, &review)
		if strings.Contains(string(body), secret) {
			asked.Add(1)
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true, AuditAnnotations: map[string]string{"a": answer}}
		review.Request = nil
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	}))
	defer hook.Close()
	p := serve(t, t.TempDir(), "-v", "10")
	c := p.client(t)
	_, err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &registration.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "w"},
		Webhooks: []registration.ValidatingWebhook{{
			Name: "w.example.com", SideEffects: ptr.To(registration.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
			ClientConfig: registration.WebhookClientConfig{
				URL: &hook.URL, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw}),
			},
			Rules: []registration.RuleWithOperations{{
				Operations: []registration.OperationType{registration.OperationAll},
				Rule:       registration.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "s", Annotations: map[string]string{"a": secret}},
	}, metav1.CreateOptions{})
	if err != nil || asked.Load() != 1 {
		t.Fatalf("asked %d times: %v", asked.Load(), err)
	}
	if err := p.terminate(); err != nil {
		t.Fatal(err)
	}
	log := p.stderr.String()
	if !strings.Contains(log, "level=DEBUG") {
		t.Errorf("the log is not as long as it might be: %s", log)
	}
	for _, text := range []string{secret, answer} {
		if strings.Contains(log, text) {
			t.Errorf("the log has %s", text)
		}
	}
}
