package kayak_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"gopkg.in/go-jose/go-jose.v2/jwt"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/kubernetes/pkg/serviceaccount"

	"github.com/kayak-k8s/kayak"
)

// whois says who the server takes the bearer of a token for: "" is nobody.
func whois(t testing.TB, c kubernetes.Interface, token string, audiences ...string) authenticationv1.TokenReviewStatus {
	t.Helper()
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}}
	review, err := c.AuthenticationV1().TokenReviews().Create(t.Context(), review, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status
}

// seen asks with headers, and returns whom the server says that it forbids, or the code if it is none of 403.
func seen(t testing.TB, server *kayak.Server, headers ...string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL()+"/api/v1/nodes", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if user := regexp.MustCompile(`User \\"([^"\\]*)\\"`).FindSubmatch(body); response.StatusCode == http.StatusForbidden && user != nil {
		return string(user[1])
	}
	return fmt.Sprint(response.StatusCode)
}

func newToken(t testing.TB, c kubernetes.Interface, name string, spec authenticationv1.TokenRequestSpec) string {
	t.Helper()
	request, err := c.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), name, &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// TestTokensOfServiceAccounts: a token is good for requests and in reviews, for its audiences, and no more when the account or
// what it is bound to is gone. What was just used is remembered for ten seconds; so each look here is with a token of its own.
func TestTokensOfServiceAccounts(t *testing.T) {
	t.Parallel()
	server := start(t, kayak.Config{})
	c, ctx := client(t, server.RESTConfig()), t.Context()
	account := func(name string) {
		if _, err := c.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	account("robot")
	const robot = "system:serviceaccount:default:robot"
	if got := seen(t, server, "Authorization", "Bearer "+newToken(t, c, "robot", authenticationv1.TokenRequestSpec{})); got != robot {
		t.Errorf("a request by %s", got)
	}
	vault := newToken(t, c, "robot", authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}})
	if got := seen(t, server, "Authorization", "Bearer "+vault); got != "401" {
		t.Errorf("a token for others is good here: %s", got)
	}
	if got := whois(t, c, vault, "vault", "other"); got.User.Username != robot || strings.Join(got.Audiences, ",") != "vault" {
		t.Errorf("a review for vault: %+v", got)
	}
	if got := whois(t, c, vault); got.Authenticated || !strings.Contains(got.Error, "is invalid for the target audiences") {
		t.Errorf("a review for the server: %+v", got)
	}

	secret, err := c.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ref := &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: "s", UID: secret.UID}
	bound := []string{}
	for range 2 {
		bound = append(bound, newToken(t, c, "robot", authenticationv1.TokenRequestSpec{BoundObjectRef: ref}))
	}
	plain := newToken(t, c, "robot", authenticationv1.TokenRequestSpec{})
	if got := whois(t, c, bound[0]); got.User.Username != robot {
		t.Errorf("bound to a Secret: %+v", got)
	}
	if err := c.CoreV1().Secrets("default").Delete(ctx, "s", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := whois(t, c, bound[1]); got.Authenticated || !strings.Contains(got.Error, "service account token has been invalidated") {
		t.Errorf("bound to a Secret that is gone: %+v", got)
	}
	// As a real kube-apiserver says it.
	for token, want := range map[string]string{
		"x": "invalid bearer token",
		"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL2t1YmVybmV0ZXMuZGVmYXVsdC5zdmMuY2x1c3Rlci5sb2NhbCJ9.AAAA": "[invalid bearer token, go-jose/go-jose: error in cryptographic primitive]",
		"eyJhbGciOiJub25lIn0.eyJpc3MiOiJrdWJlcm5ldGVzL3NlcnZpY2VhY2NvdW50In0.AAAA":                           "[invalid bearer token, go-jose/go-jose: error in cryptographic primitive]",
	} {
		if got := whois(t, c, token); got.Authenticated || got.Error != want {
			t.Errorf("a review of %.20s: %+v, want %s", token, got, want)
		}
	}
	if err := c.CoreV1().ServiceAccounts("default").Delete(ctx, "robot", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := seen(t, server, "Authorization", "Bearer "+plain); got != "401" {
		t.Errorf("of an account that is gone: %s", got)
	}
	account("robot")
	if got := seen(t, server, "Authorization", "Bearer "+plain); got != "401" {
		t.Errorf("of an account that was made again: %s", got)
	}
}

func TestMaxTokenExpiration(t *testing.T) {
	t.Parallel()
	server := start(t, kayak.Config{Authentication: kayak.AuthenticationConfig{
		ServiceAccounts: kayak.ServiceAccountsConfig{MaxExpiration: time.Hour, Issuers: []string{"https://new.example", "https://old.example"}},
	}})
	c, ctx := client(t, server.RESTConfig()), t.Context()
	if _, err := c.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	day := int64(86400)
	request, err := c.CoreV1().ServiceAccounts("default").CreateToken(ctx, "robot",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if *request.Spec.ExpirationSeconds != 3600 || strings.Join(request.Spec.Audiences, ",") != "https://new.example,https://old.example" {
		t.Errorf("%+v", request.Spec)
	}
}

func TestBootstrapTokens(t *testing.T) {
	t.Parallel()
	server := start(t, kayak.Config{Authentication: kayak.AuthenticationConfig{BootstrapTokens: true}})
	c, ctx := client(t, server.RESTConfig()), t.Context()
	secret := func(id string, change map[string]string) {
		data := map[string]string{"token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
			"auth-extra-groups": "system:bootstrappers:worker"}
		for key, value := range change {
			data[key] = value
		}
		_, err := c.CoreV1().Secrets("kube-system").Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + id}, Type: "bootstrap.kubernetes.io/token", StringData: data,
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	secret("aaaaaa", nil)
	secret("bbbbbb", map[string]string{"usage-bootstrap-authentication": "false"})
	secret("cccccc", map[string]string{"expiration": "2020-01-01T00:00:00Z"})
	good := whois(t, c, "aaaaaa.0123456789abcdef")
	if good.User.Username != "system:bootstrap:aaaaaa" ||
		strings.Join(good.User.Groups, ",") != "system:bootstrappers,system:bootstrappers:worker,system:authenticated" {
		t.Errorf("good: %+v", good)
	}
	for _, token := range []string{
		"aaaaaa.0123456789abcdee", "bbbbbb.0123456789abcdef", "cccccc.0123456789abcdef", "dddddd.0123456789abcdef", "../aaa.0123456789abcdef",
	} {
		if got := whois(t, c, token); got.Authenticated {
			t.Errorf("%s is good for %s", token, got.User.Username)
		}
	}
}

// syncBuffer can be written and read at the same time.
type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestNoSecretInTheLog uses every kind of credential, good and bad, with a log that says all there is to say. None is in it.
func TestNoSecretInTheLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	log := &syncBuffer{}
	server := start(t, kayak.Config{
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.Level(-100)})),
		Authentication: kayak.AuthenticationConfig{
			BootstrapTokens: true,
			TokenFile:       write("tokens", "canary-static,jane,1\ncanary-static,joe,1\n"),
			BasicFile:       write("basic", "canary-password,alice,1\n"),
		},
	})
	c, ctx := client(t, server.RESTConfig()), context.WithoutCancel(t.Context())
	if _, err := c.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token := newToken(t, c, "robot", authenticationv1.TokenRequestSpec{})
	secrets := []string{
		"canary-static", "canary-password", "canary-other", token, token[:len(token)-3], "canary.0123456789canary", "canary-wrong",
	}
	bearer := func(s string) []string { return []string{"Authorization", "Bearer " + s} }
	basic := func(name, password string) []string {
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth(name, password)
		secrets = append(secrets, strings.TrimPrefix(r.Header.Get("Authorization"), "Basic "))
		return []string{"Authorization", r.Header.Get("Authorization")}
	}
	for _, test := range []struct {
		headers []string
		want    string
	}{
		{bearer("canary-static"), "joe"}, {bearer("canary-other"), "401"},
		{bearer(token), "system:serviceaccount:default:robot"}, {bearer(token[:len(token)-3]), "401"},
		{bearer("canary.0123456789canary"), "401"},
		{basic("alice", "canary-password"), "alice"}, {basic("alice", "canary-wrong"), "401"}, {basic("canary-nobody", "canary-wrong"), "401"},
		{append(bearer("canary-other"), "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Protocol",
			"base64url.bearer.authorization.k8s.io.Y2FuYXJ5LW90aGVy, v5.channel.k8s.io"), "401"},
	} {
		if got := seen(t, server, test.headers...); got != test.want {
			t.Errorf("%.30q: %s, want %s", test.headers, got, test.want)
		}
	}
	whois(t, c, token)
	whois(t, c, "canary-other")
	text := log.String()
	if !strings.Contains(text, "unable to authenticate the request") || !strings.Contains(text, "msg=HTTP") {
		t.Fatal("the log says too little for this test")
	}
	parts := strings.Split(token, ".")
	for _, secret := range append(secrets, parts[2], "Y2FuYXJ5LW90aGVy", "PRIVATE KEY") {
		if strings.Contains(text, secret) {
			t.Errorf("%.40q is in the log", secret)
		}
	}
}

// TestOpenIDDiscovery: the documents are where upstream has them, and what is asked of them in another way is refused as there.
func TestOpenIDDiscovery(t *testing.T) {
	t.Parallel()
	server := start(t, kayak.Config{})
	config := server.RESTConfig()
	for _, test := range []struct {
		method, path, accept string
		code                 int
		mediaType, message   string
	}{
		{"GET", "/.well-known/openid-configuration", "", 200, "application/json", ""},
		{"GET", "/openid/v1/jwks", "", 200, "application/jwk-set+json", ""},
		{"POST", "/openid/v1/jwks", "", 405, "application/json", "the server does not allow this method on the requested resource"},
		{"GET", "/openid/v1/jwks", "text/html", 406, "application/json", "406: Not Acceptable\n\nAvailable representations: application/jwk-set+json"},
		{"GET", "/.well-known/openid-configuration", "text/html", 406, "application/json", "406: Not Acceptable\n\nAvailable representations: application/json"},
	} {
		r, _ := http.NewRequestWithContext(t.Context(), test.method, server.URL()+test.path, nil)
		if test.accept != "" {
			r.Header.Set("Accept", test.accept)
		}
		pair, err := tls.X509KeyPair(config.CertData, config.KeyData)
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}}
		response, err := (&http.Client{Transport: transport}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		transport.CloseIdleConnections()
		var status metav1.Status
		_ = json.Unmarshal(body, &status)
		if response.StatusCode != test.code || response.Header.Get("Content-Type") != test.mediaType || status.Message != test.message {
			t.Errorf("%s %s %s: %d %s %s", test.method, test.path, test.accept, response.StatusCode, response.Header.Get("Content-Type"), body)
		}
		if test.code == 200 && response.Header.Get("Cache-Control") != "public, max-age=3600" {
			t.Errorf("%s: Cache-Control %s", test.path, response.Header.Get("Cache-Control"))
		}
	}
}

// TestSecretTokenIsMarkedAsUsed: using a token in a Secret leaves the date at the Secret, as upstream's tracking of old tokens wants.
func TestSecretTokenIsMarkedAsUsed(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	data, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sa.key")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	server := start(t, kayak.Config{Authentication: kayak.AuthenticationConfig{ServiceAccounts: kayak.ServiceAccountsConfig{SigningKeyFile: path}}})
	c, ctx := client(t, server.RESTConfig()), t.Context()
	account, err := c.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	generator, err := serviceaccount.JWTTokenGenerator(serviceaccount.LegacyIssuer, key)
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "robot-token", Namespace: "default"}}
	token, err := generator.GenerateToken(ctx, &jwt.Claims{Subject: "system:serviceaccount:default:robot"}, map[string]any{
		"kubernetes.io/serviceaccount/namespace": "default", "kubernetes.io/serviceaccount/secret.name": "robot-token",
		"kubernetes.io/serviceaccount/service-account.name": "robot", "kubernetes.io/serviceaccount/service-account.uid": account.UID,
	})
	if err != nil {
		t.Fatal(err)
	}
	secret.Data = map[string][]byte{"token": []byte(token)}
	if _, err := c.CoreV1().Secrets("default").Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	before := time.Now().UTC().Format(time.DateOnly)
	if got := seen(t, server, "Authorization", "Bearer "+token); got != "system:serviceaccount:default:robot" {
		t.Fatalf("a request by %s", got)
	}
	secret, err = c.CoreV1().Secrets("default").Get(ctx, "robot-token", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := secret.Labels[serviceaccount.LastUsedLabelKey]; got < before || got > time.Now().UTC().Format(time.DateOnly) {
		t.Errorf("last used %q", got)
	}
}
