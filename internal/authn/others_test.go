package authn

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	jose "gopkg.in/go-jose/go-jose.v2"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/crypto/bcrypt"
)

// idp is a small OpenID provider.
type idp struct {
	t   testing.TB
	ca  *authority
	url string
	key any
}

func newIDP(t testing.TB) *idp {
	t.Helper()
	p := &idp{t: t, ca: newAuthority(t, "issuers")}
	key := newKey(t)
	p.key = &jose.JSONWebKey{Key: key, KeyID: "k1", Algorithm: "ES256", Use: "sig"}
	mux := http.NewServeMux()
	server := p.ca.server(mux)
	p.url = server.URL
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"response_types_supported":["id_token"],"subject_types_supported":["public"],`+
			`"id_token_signing_alg_values_supported":["ES256"]}`, p.url, p.url+"/keys")
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
	})
	return p
}

// token issues one; pairs are claims and values.
func (p *idp) token(pairs ...any) string {
	now := time.Now()
	claims := map[string]any{"iss": p.url, "aud": "kayak", "sub": "jane", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	for i := 0; i < len(pairs); i += 2 {
		claims[pairs[i].(string)] = pairs[i+1]
	}
	return sign(p.t, jose.ES256, p.key, claims)
}

func TestOIDC(t *testing.T) {
	t.Parallel()
	p := newIDP(t)
	h := newHarness(t, Config{OIDC: OIDC{
		Set: true, IssuerURL: p.url, ClientID: "kayak", CAFile: file(t, "ca", string(p.ca.pem())), SigningAlgs: []string{"ES256"},
		GroupsClaim: "groups", GroupsPrefix: "oidc:", RequiredClaims: map[string]string{"org": "acme"},
	}})
	good := p.token("org", "acme", "groups", []string{"dev"})
	var a *answer
	eventually(t, "the issuer is known", func() bool { a = h.ask(h.client(), bearer(good)...); return a != nil })
	if a.User.Name != p.url+"#jane" || !slices.Equal(a.User.Groups, []string{"oidc:dev", "system:authenticated"}) {
		t.Errorf("%+v", a.User)
	}
	h.expect("without a claim that is required", "", h.client(), bearer(p.token())...)
	h.expect("for others", "", h.client(), bearer(p.token("org", "acme", "aud", "other"))...)
	h.expect("expired", "", h.client(), bearer(p.token("org", "acme", "exp", time.Now().Add(-time.Hour).Unix()))...)
	h.expect("not yet valid", "", h.client(), bearer(p.token("org", "acme", "nbf", time.Now().Add(time.Hour).Unix()))...)
	other := *p
	other.key = newKey(t)
	h.expect("signed by another", "", h.client(), bearer(other.token("org", "acme"))...)
	h.expect("service accounts still", "system:serviceaccount:ns:robot", h.client(), bearer(sign(t, jose.ES256, h.key, claims()))...)
}

// TestAuthenticationConfiguration: several issuers, names by CEL, and another file taken over while the server runs. A file that is
// not valid changes nothing.
func TestAuthenticationConfiguration(t *testing.T) {
	t.Parallel()
	first, second := newIDP(t), newIDP(t)
	entry := func(p *idp, prefix string) string {
		ca, _ := json.Marshal(string(p.ca.pem()))
		return fmt.Sprintf(`{"issuer":{"url":%q,"audiences":["kayak"],"certificateAuthority":%s},
			"claimValidationRules":[{"expression":"claims.org == 'acme'","message":"only acme"}],
			"claimMappings":{"username":{"expression":"'%s' + claims.sub"},"groups":{"expression":"claims.roles"},
				"uid":{"expression":"claims.sub + '-uid'"},"extra":[{"key":"acme.com/team","valueExpression":"claims.team"}]},
			"userValidationRules":[{"expression":"!user.username.startsWith('system:')","message":"no system users"}]}`, p.url, ca, prefix)
	}
	config := func(entries ...string) string {
		return `{"apiVersion":"apiserver.config.k8s.io/v1","kind":"AuthenticationConfiguration","jwt":[` + strings.Join(entries, ",") + `]}`
	}
	path := file(t, "config", config(entry(first, "1:")))
	h := newHarness(t, Config{ConfigFile: path})
	claims := []any{"org", "acme", "roles", []string{"dev", "ops"}, "team", "red"}
	var a *answer
	eventually(t, "the first issuer is known", func() bool { a = h.ask(h.client(), bearer(first.token(claims...))...); return a != nil })
	if a.User.Name != "1:jane" || a.User.UID != "jane-uid" || !slices.Equal(a.User.Groups, []string{"dev", "ops", "system:authenticated"}) ||
		!slices.Equal(a.User.Extra["acme.com/team"], []string{"red"}) {
		t.Errorf("%+v", a.User)
	}
	h.expect("another org", "", h.client(), bearer(first.token("org", "other", "roles", []string{}, "team", ""))...)
	h.expect("an issuer that is not there", "", h.client(), bearer(second.token(claims...))...)

	write := func(data string) {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(config(entry(first, "1:"), `{"issuer":{"url":"http://no-tls"}}`))
	eventually(t, "the log says that it is not valid", func() bool {
		return strings.Contains(h.log.String(), "the new authentication configuration is not used")
	})
	h.expect("the one before", "1:jane", h.client(), bearer(first.token(append(claims, "n", 1)...))...)
	write(config(entry(first, "one:"), entry(second, "two:")))
	eventually(t, "the second issuer is known", func() bool { return h.ask(h.client(), bearer(second.token(claims...))...) != nil })
	h.expect("the second issuer", "two:jane", h.client(), bearer(second.token(append(claims, "n", 2)...))...)
	h.expect("the first issuer", "one:jane", h.client(), bearer(first.token(append(claims, "n", 2)...))...)
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "webhooks")
	var asked atomic.Int32
	server := ca.server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var review authenticationv1.TokenReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		if !slices.Equal(review.Spec.Audiences, []string{issuer}) {
			t.Errorf("asked for %q", review.Spec.Audiences)
		}
		answer := authenticationv1.TokenReview{TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"}}
		switch review.Spec.Token {
		case "good":
			answer.Status = authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{issuer},
				User: authenticationv1.UserInfo{Username: "jane", UID: "7", Groups: []string{"dev"}, Extra: map[string]authenticationv1.ExtraValue{"a": {"b"}}}}
		case "for others":
			answer.Status = authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{"vault"}, User: authenticationv1.UserInfo{Username: "jane"}}
		case "broken":
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}))
	kubeconfig := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"x","cluster":{"server":%q,"certificate-authority":%q}}],
		"users":[{"name":"x","user":{}}],"contexts":[{"name":"x","context":{"cluster":"x","user":"x"}}],"current-context":"x"}`,
		server.URL, file(t, "ca", string(ca.pem())))
	h := newHarness(t, Config{Webhook: Webhook{ConfigFile: file(t, "hook", kubeconfig), Version: "v1"}})
	for range 3 {
		if a := h.expect("good", "jane", h.client(), bearer("good")...); a == nil || a.User.UID != "7" || !slices.Equal(a.User.Extra["a"], []string{"b"}) {
			t.Errorf("%+v", a)
		}
		h.expect("bad", "", h.client(), bearer("bad")...)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times about two tokens", n)
	}
	h.expect("an error", "", h.client(), bearer("broken")...)
	h.expect("service accounts are not asked about", "system:serviceaccount:ns:robot", h.client(), bearer(sign(t, jose.ES256, h.key, claims()))...)
	if n := asked.Load(); n != 3 {
		t.Errorf("asked %d times about three tokens", n)
	}
}

func TestBasic(t *testing.T) {
	t.Parallel()
	hash, err := bcrypt.GenerateFromPassword([]byte("hashed"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, Config{BasicFile: file(t, "basic", "plain,alice,1,\"dev,ops\"\n"+string(hash)+",bob,2\n\"with,comma:and colon\",carol,3\n")})
	basic := func(name, password string) []string {
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth(name, password)
		return []string{"Authorization", r.Header.Get("Authorization")}
	}
	for range 2 { // the second from what is remembered
		if a := h.expect("alice", "alice", h.client(), basic("alice", "plain")...); a == nil || a.User.UID != "1" ||
			!slices.Equal(a.User.Groups, []string{"dev", "ops", "system:authenticated"}) || a.Header.Get("Authorization") != "" {
			t.Errorf("alice is %+v", a)
		}
		h.expect("bob", "bob", h.client(), basic("bob", "hashed")...)
		h.expect("carol", "carol", h.client(), basic("carol", "with,comma:and colon")...)
		h.expect("alice with another's", "", h.client(), basic("alice", "hashed")...)
		h.expect("bob with another's", "", h.client(), basic("bob", "plain")...)
		h.expect("bob with the hash", "", h.client(), basic("bob", string(hash))...)
		h.expect("bob with more than bcrypt looks at", "", h.client(), basic("bob", "hashed"+strings.Repeat("\x00", 100))...)
		h.expect("nobody", "", h.client(), basic("nobody", "plain")...)
		h.expect("no password", "", h.client(), basic("alice", "")...)
		h.expect("half a megabyte", "", h.client(), basic("alice", strings.Repeat("x", 500_000))...)
	}
	h.expect("not base64", "system:anonymous", h.client(), "Authorization", "Basic !")
	if header := (http.Header{}); true {
		h.chain.Refuse(header)
		if got := header.Get("WWW-Authenticate"); got != `Basic realm="kubernetes-master"` {
			t.Errorf("challenge %q", got)
		}
	}
	if log := h.log.String(); !strings.Contains(log, "basic authentication is on") || strings.Contains(log, "plain") || strings.Contains(log, "hashed") {
		t.Errorf("the log: %s", log)
	}
}

// BenchmarkAuthenticate is what finding out who asks costs per request. "upstream" are the same plugins in the way that
// kube-apiserver puts them together: the certificate is verified for every request.
func BenchmarkAuthenticate(b *testing.B) {
	h := newHarness(b, Config{})
	pair := h.ca.leaf("jane", []string{"dev"}, nil)
	token := "Bearer " + sign(b, jose.ES256, h.key, claims())
	certificate := requestWith(b, pair)
	run := func(name string, authenticate func(*http.Request) error, prepare func() *http.Request) {
		b.Run(name, func(b *testing.B) {
			r := prepare()
			b.ReportAllocs()
			for b.Loop() {
				if strings.HasPrefix(name, "token") {
					r.Header["Authorization"] = []string{token}
				}
				if err := authenticate(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	ours := func(r *http.Request) error { _, err := h.chain.Authenticate(r); return err }
	theirs := upstreamChain(b, h)
	withToken := func() *http.Request {
		return (&http.Request{Header: http.Header{"User-Agent": {"x"}, "Accept": {"application/json"}}}).WithContext(b.Context())
	}
	run("certificate", ours, func() *http.Request { return certificate })
	run("certificate/upstream", theirs, func() *http.Request { return certificate })
	run("token", ours, withToken)
	run("token/upstream", theirs, withToken)
}
