package authn

import (
	"context"
	"crypto/x509"
	"net/http"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
)

// Certificates authenticates client certificates: the common name is the user, organizations are groups, the attribute with
// OID 1.3.6.1.4.1.57683.2 is the UID. They must be made for client authentication.
type Certificates struct {
	request authenticator.Request
}

// NewCertificates trusts client certificates that chain up to the pool, which roots returns; it may return another pool when
// the bundle has changed.
func NewCertificates(roots func() *x509.CertPool) *Certificates {
	upstream := x509request.NewDynamic(verifyOptions(roots), x509request.CommonNameUserConversion)
	return &Certificates{request: &perConnection{roots: roots, verify: upstream}}
}

func verifyOptions(roots func() *x509.CertPool) x509request.VerifyOptionFunc {
	return func() (x509.VerifyOptions, bool) {
		pool := roots()
		return x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, pool != nil
	}
}

// AuthenticateRequest implements authenticator.Request.
func (c *Certificates) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	return c.request.AuthenticateRequest(r)
}

// connectionKey is the context key of a connection.
type connectionKey struct{}

// connection remembers what a connection's certificate was verified to.
type connection struct {
	client verified
	proxy  verified
}

// verified is one such result.
type verified struct {
	mu       sync.Mutex // guards the following fields
	roots    *x509.CertPool
	response *authenticator.Response
	until    time.Time
}

// WithConnection gives a new connection's context a place to remember its certificate; it fits http.Server.ConnContext.
func WithConnection(ctx context.Context) context.Context {
	return context.WithValue(ctx, connectionKey{}, &connection{})
}

// perConnection asks verify once per connection and set of roots.
type perConnection struct {
	roots  func() *x509.CertPool
	verify authenticator.Request
	// proxy says that it is about the front proxy's certificate, which is a question of its own.
	proxy bool
}

func (p *perConnection) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, false, nil
	}
	conn, ok := r.Context().Value(connectionKey{}).(*connection)
	if !ok {
		return p.verify.AuthenticateRequest(r)
	}
	known := &conn.client
	if p.proxy {
		known = &conn.proxy
	}
	roots := p.roots()
	known.mu.Lock()
	defer known.mu.Unlock()
	if known.response != nil && known.roots == roots && time.Now().Before(known.until) {
		return known.response, true, nil
	}
	response, ok, err := p.verify.AuthenticateRequest(r)
	if ok && err == nil {
		// The group is added here, once, rather than for every request.
		response = authenticated(response)
		known.roots, known.response, known.until = roots, response, expiry(r.TLS.PeerCertificates)
	}
	return response, ok, err
}

// expiry is when the first certificate of a chain expires.
func expiry(chain []*x509.Certificate) time.Time {
	until := chain[0].NotAfter
	for _, certificate := range chain[1:] {
		if certificate.NotAfter.Before(until) {
			until = certificate.NotAfter
		}
	}
	return until
}
