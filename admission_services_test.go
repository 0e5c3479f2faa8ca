package kayak_test

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/cert"
	"k8s.io/utils/ptr"

	"github.com/kayak-k8s/kayak"
)

// startServiceWebhook starts a webhook that says that it is a service, at an address, and returns its port and authority.
func startServiceWebhook(t *testing.T, address, service string) (w *webhook, port int32, ca []byte) {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Skipf("this machine has no address %s: %v", address, err)
	}
	ca, key, err := cert.GenerateSelfSignedCertKey(service+".default.svc", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(ca, key)
	if err != nil {
		t.Fatal(err)
	}
	w = &webhook{answer: func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if strings.HasPrefix(r.Name, "bad") {
			return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: "this is a bad name", Code: http.StatusTeapot}}
		}
		return allow(r)
	}}
	w.Server = httptest.NewUnstartedServer(http.HandlerFunc(w.serve))
	_ = w.Listener.Close()
	w.Listener, w.TLS = listener, &tls.Config{Certificates: []tls.Certificate{pair}}
	w.StartTLS()
	t.Cleanup(w.Close)
	_, text, _ := net.SplitHostPort(listener.Addr().String())
	number, _ := strconv.Atoi(text)
	return w, int32(number), ca //nolint:gosec // a port
}

func service(name string, spec corev1.ServiceSpec) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
}

func createService(t *testing.T, c kubernetes.Interface, s *corev1.Service) *corev1.Service {
	t.Helper()
	created, err := c.CoreV1().Services("default").Create(t.Context(), s, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// A webhook that is a service is asked at its cluster IP, by the name that its certificate has.
func TestWebhookIsService(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, kayak.Config{ServiceClusterIPRange: []netip.Prefix{netip.MustParsePrefix("127.77.0.0/24")}}).RESTConfig())
	const address = "127.77.0.77"
	w, port, ca := startServiceWebhook(t, address, "hook")
	at := func(service string, port int32) registration.WebhookClientConfig {
		return registration.WebhookClientConfig{CABundle: ca, Service: &registration.ServiceReference{
			Namespace: "default", Name: service, Port: &port, Path: ptr.To("/review"),
		}}
	}
	ports := []corev1.ServicePort{{Port: port}}
	createService(t, c, service("headless", corev1.ServiceSpec{ClusterIP: "None", Ports: ports}))
	createService(t, c, service("named-otherwise", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: address}))
	moved := at("hook", port)
	moved.Service.Path = ptr.To("/moved")
	tests := []struct {
		name, want string
		config     registration.WebhookClientConfig
	}{
		{"absent", `service "absent" not found`, at("absent", port)},
		{"headless", `cannot route to service with ClusterIP "None"`, at("headless", port)},
		{"port", `no service port 1 found for service "hook"`, at("hook", 1)},
		{"name", "certificate is valid for hook.default.svc, not named-otherwise.default.svc", at("named-otherwise", port)},
		{"redirect", "the server responded with a redirect", moved},
	}
	hook := w.validating("service.example.com", rule("", "v1", "configmaps"))
	hook.ClientConfig, hook.AdmissionReviewVersions = at("hook", port), []string{"v1beta1"}
	hook.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"test": "works"}}
	configureValidating(t, c, "works", hook)
	create := func(name, test string) error {
		m := configMap(name)
		m.Labels = map[string]string{"test": test}
		_, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), m, metav1.CreateOptions{})
		return err
	}
	if err := create("early", "works"); !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), `service "hook" not found`) {
		t.Errorf("before there is the service: %v", err)
	}
	createService(t, c, service("hook", corev1.ServiceSpec{ClusterIP: address, Ports: ports}))
	if err := create("good", "works"); err != nil {
		t.Fatal(err)
	}
	var status apierrors.APIStatus
	err := create("bad", "works")
	if want := `admission webhook "service.example.com" denied the request: this is a bad name`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	} else if status, _ = err.(apierrors.APIStatus); status.Status().Code != http.StatusTeapot { //nolint:errorlint // not wrapped
		t.Errorf("the code is %d", status.Status().Code)
	}
	if last, n := w.last(); n != 2 || w.versions[0] != "admission.k8s.io/v1beta1" || last.Namespace != "default" {
		t.Errorf("asked %d times, in %v: %+v", n, w.versions, last)
	}
	for _, test := range tests {
		for _, policy := range []registration.FailurePolicyType{registration.Fail, registration.Ignore} {
			name := test.name + "-" + strings.ToLower(string(policy))
			h := w.validating(name+".example.com", rule("", "v1", "configmaps"))
			h.FailurePolicy, h.ClientConfig = &policy, test.config
			h.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"test": name}}
			configureValidating(t, c, name, h)
			err := create(name, name)
			if policy == registration.Ignore && err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if policy == registration.Fail && (!apierrors.IsInternalError(err) || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%s: got %v, want %s", name, err, test.want)
			}
		}
	}
}
