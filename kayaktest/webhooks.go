package kayaktest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	admissionclient "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/keyutil"
)

// WebhookOptions say which webhooks there are and who serves them. In the client configurations of all of them, the service is
// replaced by the address where they are served, with the service's path, and the CA bundle by the right one.
type WebhookOptions struct {
	// Paths are files and directories with ValidatingWebhookConfigurations and MutatingWebhookConfigurations, as controller-gen
	// writes them; what else is in them is passed over.
	Paths []string
	// Mutating and Validating are more of them.
	Mutating   []*admissionregistrationv1.MutatingWebhookConfiguration
	Validating []*admissionregistrationv1.ValidatingWebhookConfiguration
	// Handler serves the webhooks. Nil leaves that to the test, at Server.WebhookHost and WebhookPort with the certificate in
	// Server.WebhookCertDir: these go into the Options of controller-runtime's webhook server.
	Handler http.Handler
}

// webhookServer is where webhooks are served.
type webhookServer struct {
	address *net.TCPAddr
	certPEM []byte
	certDir string
	// close ends the serving.
	close func()
}

// WebhookHost is the address at which the test serves the webhooks, see WebhookOptions.
func (s *Server) WebhookHost() string { return s.webhook().address.IP.String() }

// WebhookPort is the port at which the test serves the webhooks, see WebhookOptions.
func (s *Server) WebhookPort() int { return s.webhook().address.Port }

// WebhookCertDir is the directory with the certificate of the webhooks, in files named tls.crt and tls.key.
func (s *Server) WebhookCertDir() string { return s.webhook().certDir }

func (s *Server) webhook() *webhookServer {
	s.t.Helper()
	if s.webhooks == nil {
		s.t.Fatal("kayaktest: the server was started without the option Webhooks")
	}
	return s.webhooks
}

// newWebhookServer makes a certificate, finds a port, and serves the handler there, unless it is nil, until it is closed.
func newWebhookServer(t testing.TB, handler http.Handler) (*webhookServer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &webhookServer{address: listener.Addr().(*net.TCPAddr), certDir: t.TempDir(), close: func() {}}
	pair, err := w.certificate()
	if handler == nil || err != nil {
		_ = listener.Close() // the test listens there
		return w, err
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: timeout, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ServeTLS(listener, "", "")
	}()
	w.close = func() {
		_ = server.Close()
		<-done
	}
	return w, nil
}

// certificate makes a certificate that is its own authority, and writes it to the directory.
func (w *webhookServer) certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "kayaktest-webhooks"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
		IPAddresses: []net.IP{w.address.IP}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	w.certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	for name, data := range map[string][]byte{"tls.crt": w.certPEM, "tls.key": keyPEM} {
		if err := os.WriteFile(filepath.Join(w.certDir, name), data, 0o600); err != nil {
			return tls.Certificate{}, err
		}
	}
	return tls.X509KeyPair(w.certPEM, keyPEM)
}

// url is where the webhook with the path is served.
func (w *webhookServer) url(path string) *string {
	u := url.URL{Scheme: "https", Host: w.address.String(), Path: path}
	text := u.String()
	return &text
}

// redirect points the client configuration of a webhook here.
func (w *webhookServer) redirect(c *admissionregistrationv1.WebhookClientConfig) {
	path := "/"
	if c.Service != nil && c.Service.Path != nil {
		path = *c.Service.Path
	} else if c.URL != nil {
		if u, err := url.Parse(*c.URL); err == nil {
			path = u.Path
		}
	}
	c.Service, c.URL, c.CABundle = nil, w.url(path), w.certPEM
}

// convert points the conversion webhooks of definitions here.
func (w *webhookServer) convert(crds []*apiextensionsv1.CustomResourceDefinition) {
	for i, crd := range crds {
		conversion := crd.Spec.Conversion
		if conversion == nil || conversion.Strategy != apiextensionsv1.WebhookConverter || conversion.Webhook == nil {
			continue
		}
		crds[i] = crd.DeepCopy()
		path := "/convert" // where controller-runtime has it
		c := crds[i].Spec.Conversion.Webhook.ClientConfig
		if c != nil && c.Service != nil && c.Service.Path != nil {
			path = *c.Service.Path
		}
		crds[i].Spec.Conversion.Webhook.ClientConfig = &apiextensionsv1.WebhookClientConfig{URL: w.url(path), CABundle: w.certPEM}
	}
}

// install creates the configurations.
func (w *webhookServer) install(ctx context.Context, config *rest.Config, o *WebhookOptions) error {
	documents, err := readAll(o.Paths)
	if err != nil {
		return err
	}
	mutating, validating := slices.Clone(o.Mutating), slices.Clone(o.Validating)
	version := admissionregistrationv1.SchemeGroupVersion.String()
	for _, d := range documents {
		if mutating, err = addDocument(mutating, d, "MutatingWebhookConfiguration", version); err != nil {
			return err
		}
		if validating, err = addDocument(validating, d, "ValidatingWebhookConfiguration", version); err != nil {
			return err
		}
	}
	client, err := admissionclient.NewForConfig(config)
	if err != nil {
		return err
	}
	for _, c := range mutating {
		c = c.DeepCopy()
		for i := range c.Webhooks {
			w.redirect(&c.Webhooks[i].ClientConfig)
		}
		if _, err := client.MutatingWebhookConfigurations().Create(ctx, c, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("cannot install the MutatingWebhookConfiguration %s: %w", c.Name, err)
		}
	}
	for _, c := range validating {
		c = c.DeepCopy()
		for i := range c.Webhooks {
			w.redirect(&c.Webhooks[i].ClientConfig)
		}
		if _, err := client.ValidatingWebhookConfigurations().Create(ctx, c, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("cannot install the ValidatingWebhookConfiguration %s: %w", c.Name, err)
		}
	}
	return nil
}
