package controller_test

import (
	"context"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/kayak-k8s/kayak/kayaktest"
)

// Webhooks that envtest would install, served by controller-runtime's webhook server, as a manager does it: where to listen and the
// certificate come from the server of the test.
func TestWebhook(t *testing.T) {
	t.Parallel()
	none, path := admissionregistrationv1.SideEffectClassNone, "/validate"
	install := envtest.WebhookInstallOptions{
		ValidatingWebhooks: []*admissionregistrationv1.ValidatingWebhookConfiguration{{
			ObjectMeta: metav1.ObjectMeta{Name: "config-maps"},
			Webhooks: []admissionregistrationv1.ValidatingWebhook{{
				Name: "config-maps.example.com", SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
				ClientConfig: admissionregistrationv1.WebhookClientConfig{
					Service: &admissionregistrationv1.ServiceReference{Namespace: "system", Name: "webhook-service", Path: &path},
				},
				Rules: []admissionregistrationv1.RuleWithOperations{{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
				}},
			}},
		}},
	}
	// No controllers: they write ConfigMaps, too, before the webhook answers.
	server := kayaktest.New(t, kayaktest.Controllers(), kayaktest.Webhooks(kayaktest.WebhookOptions{
		Paths: install.Paths, Mutating: install.MutatingWebhooks, Validating: install.ValidatingWebhooks,
	}))
	hooks := webhook.NewServer(webhook.Options{
		Host: server.WebhookHost(), Port: server.WebhookPort(), CertDir: server.WebhookCertDir(),
	})
	hooks.Register(path, &admission.Webhook{Handler: admission.HandlerFunc(func(_ context.Context, r admission.Request) admission.Response {
		if r.Name == "bad" {
			return admission.Denied("not that one")
		}
		return admission.Allowed("")
	})})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- hooks.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for hooks.StartedChecker()(nil) != nil {
		select {
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
	maps := kubernetes.NewForConfigOrDie(server.Config()).CoreV1().ConfigMaps("default")
	if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "good"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "bad"}}, metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "not that one") {
		t.Errorf("the webhook was not asked: %v", err)
	}
}
