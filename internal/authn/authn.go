// Package authn finds out who makes a request.
//
// It is a chain of plugins (authenticator.Request, upstream's contract), tried one after another; the first that recognises
// what the client presents decides. A credential that is presented and bad is refused and never becomes anonymous; a client
// that presents none is system:anonymous where that is allowed. Everybody who is authenticated is in the group
// system:authenticated. [New] makes the chain that a [Config] asks for, in upstream's order
// (kubernetes/pkg/kubeapiserver/authenticator/config.go):
//
//	front proxy           headers, believed only with the proxy's certificate        frontproxy.go
//	basic                 user and password from a file                              basic.go
//	client certificate    common name and organizations                              certificates.go
//	bearer token, in a header or as a WebSocket protocol                             tokens.go
//	    token file, service accounts (serviceaccounts.go, keys.go), bootstrap tokens,
//	    OIDC (jwt.go), webhook
//	anonymous             where allowed, only when nothing was presented
//
// # What is remembered
//
// A client certificate is verified once per connection, not once per request: verification is the largest part of
// authentication, and neither the certificate nor the connection change. The result lives in the connection's context (see
// [WithConnection]) and is good until the certificate expires or the CA bundle changes.
//
// A token that was good is good for ten seconds more without another look, as upstream; so a deleted service account loses its
// tokens ten seconds after its deletion at the latest. What was refused is never remembered. Passwords likewise.
//
// # Secrets
//
// No credential is in an error or a log, and what has done its work is taken out of the request, so that nothing behind this
// stage sees it: the Authorization header, the token among WebSocket protocols, and the headers of a front proxy, whoever sent
// them.
package authn

import (
	"errors"
	"net/http"
	"slices"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

// Chain tries plugins in order. It implements authenticator.Request; all of it may be called concurrently.
type Chain struct {
	Plugins []authenticator.Request
	// Anonymous is asked about requests without credentials; nil refuses them.
	Anonymous authenticator.Request
	// Audiences are those of this server. Who was found by a token that is for none of them is refused.
	Audiences authenticator.Audiences
	// Clear takes credentials out of a request that was authenticated, besides the Authorization header; nil does nothing.
	Clear func(http.Header)
	// Challenge, unless it is empty, is what a client that is refused is told in the header WWW-Authenticate.
	Challenge string
}

// ErrUnauthorized says that no plugin accepted the request.
var ErrUnauthorized = errors.New("Unauthorized")

// errAudience says so of a token for others. Whose it is and for whom is left out.
var errAudience = errors.New("unable to match the audience")

// Authenticate returns the user, or an error that wraps ErrUnauthorized, and takes the credentials out of the request.
func (c *Chain) Authenticate(r *http.Request) (user.Info, error) {
	response, ok, err := c.AuthenticateRequest(r)
	if err == nil && ok && !acceptable(c.Audiences, response.Audiences) {
		err = errAudience
	}
	if err != nil || !ok {
		return nil, errors.Join(ErrUnauthorized, err)
	}
	r.Header.Del("Authorization")
	if c.Clear != nil {
		c.Clear(r.Header)
	}
	return response.User, nil
}

// AuthenticateRequest implements authenticator.Request: it looks at the credentials and leaves those that were not accepted.
func (c *Chain) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	var errs []error
	for _, plugin := range c.Plugins {
		response, ok, err := plugin.AuthenticateRequest(r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if ok {
			return authenticated(response), true, nil
		}
	}
	if len(errs) == 0 && c.Anonymous != nil {
		return c.Anonymous.AuthenticateRequest(r)
	}
	return nil, false, utilerrors.NewAggregate(errs)
}

func acceptable(own, of authenticator.Audiences) bool {
	return len(own) == 0 || len(of) == 0 || slices.ContainsFunc(of, own.Has)
}

// authenticated returns the response with the user in system:authenticated, unless a plugin said that it is nobody
// (apiserver/pkg/authentication/group). The response itself is not changed: it may be remembered.
func authenticated(response *authenticator.Response) *authenticator.Response {
	u := response.User
	if u.GetName() == user.Anonymous {
		return response
	}
	groups := u.GetGroups()
	for _, g := range groups {
		if g == user.AllAuthenticated || g == user.AllUnauthenticated {
			return response
		}
	}
	groups = append(append(make([]string, 0, len(groups)+1), groups...), user.AllAuthenticated)
	return &authenticator.Response{
		Audiences: response.Audiences,
		User:      &user.DefaultInfo{Name: u.GetName(), UID: u.GetUID(), Groups: groups, Extra: u.GetExtra()},
	}
}
