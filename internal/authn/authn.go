// Package authn finds out who makes a request.
//
// It is a chain of plugins (authenticator.Request, upstream's contract), tried one after another; the first that recognises
// what the client presents decides. A credential that is presented and bad is refused and never becomes anonymous; a client
// that presents none is system:anonymous where that is allowed. Everybody who is authenticated is in the group
// system:authenticated.
//
// A client certificate is verified once per connection, not once per request: verification is the largest part of
// authentication, and neither the certificate nor the connection change. The result lives in the connection's context (see
// [WithConnection]) and is good until the certificate expires or the CA bundle changes.
package authn

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
)

// Chain tries plugins in order.
type Chain struct {
	Plugins []authenticator.Request
	// Anonymous lets requests without credentials pass as system:anonymous.
	Anonymous bool
}

// ErrUnauthorized says that no plugin accepted the request.
var ErrUnauthorized = errors.New("Unauthorized")

// Authenticate returns the user, or an error that wraps ErrUnauthorized.
func (c *Chain) Authenticate(r *http.Request) (user.Info, error) {
	var errs []error
	for _, plugin := range c.Plugins {
		response, ok, err := plugin.AuthenticateRequest(r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if ok {
			return withGroup(response.User, user.AllAuthenticated), nil
		}
	}
	if len(errs) == 0 && c.Anonymous {
		return &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}, nil
	}
	return nil, errors.Join(append([]error{ErrUnauthorized}, errs...)...)
}

// withGroup returns u with a further group, u itself when it has it.
func withGroup(u user.Info, group string) user.Info {
	for _, g := range u.GetGroups() {
		if g == group {
			return u
		}
	}
	groups := append(append(make([]string, 0, len(u.GetGroups())+1), u.GetGroups()...), group)
	return &user.DefaultInfo{Name: u.GetName(), UID: u.GetUID(), Groups: groups, Extra: u.GetExtra()}
}

// NewTokens authenticates bearer tokens. No token is issued yet, so each one that is presented is bad. An Authorization header
// of any other scheme is no credential here, as upstream.
func NewTokens() authenticator.Request {
	return bearertoken.New(authenticator.TokenFunc(func(context.Context, string) (*authenticator.Response, bool, error) {
		return nil, false, nil
	}))
}

// Certificates authenticates client certificates: the common name is the user, organizations are groups.
type Certificates struct {
	request authenticator.Request
}

// NewCertificates trusts client certificates that chain up to the pool, which roots returns; it may return another pool when
// the bundle has changed.
func NewCertificates(roots func() *x509.CertPool) *Certificates {
	verify := func() (x509.VerifyOptions, bool) {
		pool := roots()
		return x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, pool != nil
	}
	upstream := x509request.NewDynamic(verify, x509request.CommonNameUserConversion)
	return &Certificates{request: &perConnection{roots: roots, verify: upstream}}
}

// AuthenticateRequest implements authenticator.Request.
func (c *Certificates) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	return c.request.AuthenticateRequest(r)
}

// connectionKey is the context key of a connection.
type connectionKey struct{}

// connection remembers what a connection's certificate was verified to.
type connection struct {
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
}

func (p *perConnection) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, false, nil
	}
	conn, ok := r.Context().Value(connectionKey{}).(*connection)
	if !ok {
		return p.verify.AuthenticateRequest(r)
	}
	roots := p.roots()
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if conn.response != nil && conn.roots == roots && time.Now().Before(conn.until) {
		return conn.response, true, nil
	}
	response, ok, err := p.verify.AuthenticateRequest(r)
	if ok && err == nil {
		// The group is added here, once, rather than for every request.
		response.User = withGroup(response.User, user.AllAuthenticated)
		conn.roots, conn.response, conn.until = roots, response, expiry(r.TLS.PeerCertificates)
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
