package authn

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	tokencache "k8s.io/apiserver/pkg/authentication/token/cache"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/client-go/kubernetes/fake"
)

// authority is a certificate authority.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t)}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	a.cert = a.sign(template, template, a.key.Public(), a.key)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(template, parent *x509.Certificate, public, key any) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// leaf issues a certificate for clients; change makes it another.
func (a *authority) leaf(name string, groups []string, change func(*x509.Certificate)) tls.Certificate {
	key := newKey(a.t)
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: name, Organization: groups},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	cert := a.sign(template, a.cert, key.Public(), a.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// server is one for others to answer over TLS: an issuer, a webhook.
func (a *authority) server(handler http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(handler)
	pair := a.leaf("server", nil, func(c *x509.Certificate) {
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	a.t.Cleanup(s.Close)
	return s
}

// objects are those that tokens depend on.
type objects struct {
	mu       sync.Mutex // guards the maps
	accounts map[string]*corev1.ServiceAccount
	pods     map[string]*corev1.Pod
	nodes    map[string]*corev1.Node
	secrets  map[string]*corev1.Secret
}

func find[T any](o *objects, m map[string]*T, key string) (*T, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if object, ok := m[key]; ok {
		return object, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "objects"}, key)
}

func (o *objects) GetServiceAccount(_ context.Context, ns, name string) (*corev1.ServiceAccount, error) {
	return find(o, o.accounts, ns+"/"+name)
}
func (o *objects) GetPod(_ context.Context, ns, name string) (*corev1.Pod, error) {
	return find(o, o.pods, ns+"/"+name)
}
func (o *objects) GetSecret(_ context.Context, ns, name string) (*corev1.Secret, error) {
	return find(o, o.secrets, ns+"/"+name)
}
func (o *objects) GetNode(_ context.Context, name string) (*corev1.Node, error) {
	return find(o, o.nodes, name)
}
func (o *objects) GetValidatingWebhookConfiguration(context.Context, string) (*admissionregistrationv1.ValidatingWebhookConfiguration, error) {
	return nil, apierrors.NewNotFound(schema.GroupResource{}, "")
}
func (o *objects) GetMutatingWebhookConfiguration(context.Context, string) (*admissionregistrationv1.MutatingWebhookConfiguration, error) {
	return nil, apierrors.NewNotFound(schema.GroupResource{}, "")
}

func newAccount(namespace, name, uid string) *corev1.ServiceAccount {
	account := &corev1.ServiceAccount{}
	account.Namespace, account.Name, account.UID = namespace, name, types.UID(uid)
	return account
}

// harness is a server that says who asks.
type harness struct {
	t       testing.TB
	ca      *authority
	chain   *Chain
	keys    *ServiceAccountKeys
	key     *ecdsa.PrivateKey
	objects *objects
	server  *httptest.Server
	log     *logBuffer
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// answer is what the server says of a request.
type answer struct {
	User   user.DefaultInfo
	Header http.Header
}

func newHarness(t testing.TB, config Config) *harness {
	t.Helper()
	h := &harness{t: t, ca: newAuthority(t, "own"), key: newKey(t), log: &logBuffer{}, objects: &objects{
		accounts: map[string]*corev1.ServiceAccount{"ns/robot": newAccount("ns", "robot", "u1")},
		pods:     map[string]*corev1.Pod{}, nodes: map[string]*corev1.Node{}, secrets: map[string]*corev1.Secret{},
	}}
	config = config.WithDefaults()
	if err := config.Check(); err != nil {
		t.Fatal(err)
	}
	var err error
	h.chain, h.keys, err = New(t.Context(), config, Environment{
		CA: h.ca.pem(), ServiceAccountKey: h.key,
		Objects: Objects{ServiceAccountTokenGetter: h.objects, Secrets: fake.NewClientset().CoreV1()},
		ID:      "test", Logger: slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	h.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := h.chain.Authenticate(r)
		if err != nil {
			slog.New(slog.NewTextHandler(h.log, nil)).Warn("refused", "error", err)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(answer{Header: r.Header, User: user.DefaultInfo{
			Name: who.GetName(), UID: who.GetUID(), Groups: who.GetGroups(), Extra: who.GetExtra(),
		}})
	}))
	serving := h.ca.leaf("server", nil, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })
	h.server.TLS = &tls.Config{Certificates: []tls.Certificate{serving}, ClientAuth: tls.RequestClientCert}
	h.server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return WithConnection(ctx) }
	h.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	h.server.StartTLS()
	t.Cleanup(h.server.Close)
	return h
}

// client returns one with a certificate, or without.
func (h *harness) client(pairs ...tls.Certificate) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	if len(pairs) > 0 { // sent whatever the server says that it accepts
		transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pairs[0], nil }
	}
	h.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// ask makes a request with headers, which are names and values. nil: it was refused.
func (h *harness) ask(client *http.Client, headers ...string) *answer {
	h.t.Helper()
	r, err := http.NewRequest(http.MethodGet, h.server.URL+"/api", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1]) // spelled as it is
	}
	response, err := client.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	if response.StatusCode == http.StatusUnauthorized {
		return nil
	}
	a := &answer{}
	if err := json.Unmarshal(body, a); err != nil {
		h.t.Fatalf("%d %s: %v", response.StatusCode, body, err)
	}
	return a
}

// expect asks, and checks who the server takes the client for; "" is nobody.
func (h *harness) expect(what, want string, client *http.Client, headers ...string) *answer {
	h.t.Helper()
	a := h.ask(client, headers...)
	got := ""
	if a != nil {
		got = a.User.Name
	}
	if got != want {
		h.t.Errorf("%s: %q, want %q", what, got, want)
	}
	return a
}

// file writes a file and returns its path.
func file(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after 30 s", what)
		}
	}
}

// chainLog is the log of the harness.
func (h *harness) chainLog() *slog.Logger { return slog.New(slog.NewTextHandler(h.log, nil)) }

func (h *harness) env() Objects {
	return Objects{ServiceAccountTokenGetter: h.objects, Secrets: fake.NewClientset().CoreV1()}
}

// requestWith is a request on a connection with a certificate.
func requestWith(t testing.TB, pair tls.Certificate) *http.Request {
	r := (&http.Request{Header: http.Header{"User-Agent": {"x"}, "Accept": {"application/json"}}}).WithContext(WithConnection(t.Context()))
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{pair.Leaf}}
	return r
}

// upstreamChain puts upstream's plugins together as kube-apiserver does (kubernetes/pkg/kubeapiserver/authenticator).
func upstreamChain(t testing.TB, h *harness) func(*http.Request) error {
	pool := x509.NewCertPool()
	pool.AddCert(h.ca.cert)
	config := Config{}.WithDefaults()
	accounts, err := newServiceAccounts(&config.ServiceAccounts, config.Audiences, h.keys.Public, h.env())
	if err != nil {
		t.Fatal(err)
	}
	token := tokencache.New(tokenunion.New(accounts...), true, 10*time.Second, 0)
	chain := union.NewFailOnError(group.NewAuthenticatedGroupAdder(union.New(
		x509request.NewDynamic(verifyOptions(func() *x509.CertPool { return pool }), x509request.CommonNameUserConversion),
		bearertoken.New(token), websocket.NewProtocolAuthenticator(token),
	)), anonymous.NewAuthenticator(nil))
	handler := filters.WithAuthentication(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), chain,
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("refused") }), config.Audiences, nil)
	return func(r *http.Request) error {
		handler.ServeHTTP(nil, r)
		return nil
	}
}
