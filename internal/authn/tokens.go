package authn

import (
	"context"
	"errors"
	"net/http"
	"time"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	tokencache "k8s.io/apiserver/pkg/authentication/token/cache"
)

// goodFor is how long a token that was good is not looked at again (upstream's TokenSuccessCacheTTL).
const goodFor = 10 * time.Second

// tokens tries authenticators of tokens, one after another. It speaks for the audiences of this server unless the context names
// others, as that of a TokenReview does.
type tokens struct {
	list      []authenticator.Token
	audiences authenticator.Audiences
}

// newTokens returns what takes tokens from requests: an Authorization header, or a WebSocket protocol.
func newTokens(audiences authenticator.Audiences, list []authenticator.Token) []authenticator.Request {
	cached := tokencache.New(&tokens{list: list}, true, goodFor, 0)
	one := &tokens{list: []authenticator.Token{cached}, audiences: audiences}
	return []authenticator.Request{explained{bearertoken.New(one)}, websocket.NewProtocolAuthenticator(one)}
}

// errToken is what upstream's authenticator of its own loopback token, the first of all, says of every other token. A review of a
// token that is not good shows it to clients.
var errToken = errors.New("invalid bearer token")

// explained puts errToken before what was wrong with a token.
type explained struct{ authenticator.Request }

func (e explained) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	response, ok, err := e.Request.AuthenticateRequest(r)
	if err != nil {
		err = utilerrors.NewAggregate([]error{errToken, err})
	}
	return response, ok, err
}

// AuthenticateToken implements authenticator.Token. An error of one does not keep the next from knowing the token.
func (t *tokens) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	if _, ok := authenticator.AudiencesFrom(ctx); !ok && len(t.audiences) > 0 {
		ctx = authenticator.WithAudiences(ctx, t.audiences)
	}
	var errs []error
	for _, one := range t.list {
		response, ok, err := one.AuthenticateToken(ctx, token)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if ok {
			return authenticated(response), true, nil // here, so that it is remembered with its groups
		}
	}
	return nil, false, utilerrors.NewAggregate(errs)
}
