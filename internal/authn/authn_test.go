package authn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/user"
)

// counting is a verifier that counts how often it is asked.
type counting struct {
	calls int
	err   error
}

func (c *counting) AuthenticateRequest(*http.Request) (*authenticator.Response, bool, error) {
	c.calls++
	if c.err != nil {
		return nil, false, c.err
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: "jane", Groups: []string{"dev"}}}, true, nil
}

func request(ctx context.Context, notAfter time.Time) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{NotAfter: notAfter}}}
	return r
}

func TestVerifiedOncePerConnection(t *testing.T) {
	t.Parallel()
	verifier := &counting{}
	roots := x509.NewCertPool()
	p := &perConnection{roots: func() *x509.CertPool { return roots }, verify: verifier}
	later := time.Now().Add(time.Hour)
	ask := func(ctx context.Context, notAfter time.Time, calls int, what string) {
		t.Helper()
		response, ok, err := p.AuthenticateRequest(request(ctx, notAfter))
		if err != nil || !ok || response.User.GetName() != "jane" {
			t.Fatalf("%s: %v %v %v", what, response, ok, err)
		}
		if verifier.calls != calls {
			t.Fatalf("%s: verified %d times, want %d", what, verifier.calls, calls)
		}
	}
	first, second := WithConnection(t.Context()), WithConnection(t.Context())
	ask(first, later, 1, "the first request")
	ask(first, later, 1, "the second request")
	ask(second, later, 2, "another connection")
	roots = x509.NewCertPool()
	ask(first, later, 3, "other roots")
	expired := WithConnection(t.Context())
	ask(expired, time.Now().Add(-time.Second), 4, "an expired certificate")
	ask(expired, time.Now().Add(-time.Second), 5, "an expired certificate again")
}

// A certificate that was refused is refused again; what it was once good for is not remembered for a bad one.
func TestRefusalIsNotRemembered(t *testing.T) {
	t.Parallel()
	verifier := &counting{err: errors.New("unknown authority")}
	pool := x509.NewCertPool()
	p := &perConnection{roots: func() *x509.CertPool { return pool }, verify: verifier}
	ctx := WithConnection(t.Context())
	for range 2 {
		if _, ok, err := p.AuthenticateRequest(request(ctx, time.Now().Add(time.Hour))); ok || err == nil {
			t.Fatalf("%v %v", ok, err)
		}
	}
	if verifier.calls != 2 {
		t.Fatalf("verified %d times", verifier.calls)
	}
}

func TestChain(t *testing.T) {
	t.Parallel()
	none := authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) { return nil, false, nil })
	bad := &counting{err: errors.New("bad credential")}
	good := &counting{}
	for name, test := range map[string]struct {
		chain Chain
		want  string // "" for unauthorized
	}{
		"recognised":                 {Chain{Plugins: []authenticator.Request{none, good}}, "jane"},
		"recognised after a bad one": {Chain{Plugins: []authenticator.Request{bad, good}}, "jane"},
		"nothing given":              {Chain{Plugins: []authenticator.Request{none}, Anonymous: anonymous.NewAuthenticator(nil)}, "system:anonymous"},
		"nothing given, not allowed": {Chain{Plugins: []authenticator.Request{none}}, ""},
		"bad, never anonymous":       {Chain{Plugins: []authenticator.Request{bad, none}, Anonymous: anonymous.NewAuthenticator(nil)}, ""},
	} {
		got, err := test.chain.Authenticate(httptest.NewRequest(http.MethodGet, "/", nil))
		switch {
		case test.want == "":
			if !errors.Is(err, ErrUnauthorized) {
				t.Errorf("%s: %v, %v", name, got, err)
			}
		case err != nil || got.GetName() != test.want:
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
