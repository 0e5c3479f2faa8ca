package authn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"

	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	jose "gopkg.in/go-jose/go-jose.v2"
	"gopkg.in/go-jose/go-jose.v2/jwt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/client-go/util/keyutil"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/serviceaccount"
)

const issuer = "https://kubernetes.default.svc.cluster.local"

// claims are those of a good token for ns/robot.
func claims() map[string]any {
	now := time.Now()
	return map[string]any{
		"iss": issuer, "aud": []string{issuer}, "sub": "system:serviceaccount:ns:robot", "jti": "id-1",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{"namespace": "ns", "serviceaccount": map[string]string{"name": "robot", "uid": "u1"}},
	}
}

// with returns claims with one changed.
func with(c map[string]any, name string, value any) map[string]any {
	c[name] = value
	return c
}

// bound adds an object that the token is bound to.
func bound(kind, name, uid string) map[string]any {
	c := claims()
	c["kubernetes.io"].(map[string]any)[kind] = map[string]string{"name": name, "uid": uid}
	return c
}

func sign(t testing.TB, algorithm jose.SignatureAlgorithm, key any, claims any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func encode(v any) string {
	b, _ := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(b)
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

func TestServiceAccountTokens(t *testing.T) {
	t.Parallel()
	h := newHarness(t, Config{})
	h.objects.pods["ns/p"] = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "pu"}}
	h.objects.nodes["n"] = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "nu"}}
	h.objects.secrets["ns/s"] = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", UID: "su"}}
	longAgo, justNow := metav1.NewTime(time.Now().Add(-2*time.Minute)), metav1.NewTime(time.Now())
	h.objects.pods["ns/gone"] = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "gone", UID: "gu", DeletionTimestamp: &longAgo}}
	h.objects.pods["ns/going"] = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "going", UID: "gu", DeletionTimestamp: &justNow}}
	gone := newAccount("ns", "gone", "u2")
	gone.DeletionTimestamp = &longAgo
	h.objects.accounts["ns/gone"] = gone

	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := sign(t, jose.ES256, h.key, claims())
	parts := strings.Split(good, ".")
	now := time.Now()
	public, err := x509.MarshalPKIXPublicKey(h.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	own := func(c map[string]any) string { return sign(t, jose.ES256, h.key, c) }
	const robot = "system:serviceaccount:ns:robot"
	for name, test := range map[string]struct{ token, want string }{
		"good":                           {good, robot},
		"bound to a pod":                 {own(bound("pod", "p", "pu")), robot},
		"bound to a secret":              {own(bound("secret", "s", "su")), robot},
		"bound to a node":                {own(bound("node", "n", "nu")), robot},
		"bound to a pod, just deleted":   {own(bound("pod", "going", "gu")), robot},
		"bound to a pod, deleted":        {own(bound("pod", "gone", "gu")), ""},
		"bound to another pod":           {own(bound("pod", "p", "other")), ""},
		"bound to no pod":                {own(bound("pod", "none", "pu")), ""},
		"bound to another secret":        {own(bound("secret", "s", "other")), ""},
		"bound to no secret":             {own(bound("secret", "none", "su")), ""},
		"bound to another node":          {own(bound("node", "n", "other")), ""},
		"bound to no node":               {own(bound("node", "none", "nu")), ""},
		"of a deleted account":           {own(with(claims(), "kubernetes.io", map[string]any{"namespace": "ns", "serviceaccount": map[string]string{"name": "gone", "uid": "u2"}})), ""},
		"of an account made again":       {own(with(claims(), "kubernetes.io", map[string]any{"namespace": "ns", "serviceaccount": map[string]string{"name": "robot", "uid": "u0"}})), ""},
		"of no account":                  {own(with(claims(), "kubernetes.io", map[string]any{"namespace": "ns", "serviceaccount": map[string]string{"name": "none", "uid": "u1"}})), ""},
		"of an account outside":          {own(with(claims(), "kubernetes.io", map[string]any{"namespace": "../x", "serviceaccount": map[string]string{"name": "../robot", "uid": "u1"}})), ""},
		"expired":                        {own(with(claims(), "exp", now.Add(-2*time.Minute).Unix())), ""},
		"expired, within the leeway":     {own(with(claims(), "exp", now.Add(-30*time.Second).Unix())), robot},
		"not yet valid":                  {own(with(claims(), "nbf", now.Add(time.Hour).Unix())), ""},
		"issued in the future":           {own(with(claims(), "iat", now.Add(time.Hour).Unix())), ""},
		"for others":                     {own(with(claims(), "aud", []string{"vault"})), ""},
		"for others too":                 {own(with(claims(), "aud", []string{"vault", issuer})), robot},
		"of another issuer":              {own(with(claims(), "iss", "https://other.example")), ""},
		"signed by another of that kind": {sign(t, jose.ES256, newKey(t), claims()), ""},
		"signed by another kind":         {sign(t, jose.RS256, rsaKey, claims()), ""},
		"signed with the public key":     {sign(t, jose.HS256, public, claims()), ""},
		"alg none":                       {encode(map[string]string{"alg": "none"}) + "." + parts[1] + ".", ""},
		"alg none, still signed":         {encode(map[string]string{"alg": "none"}) + "." + parts[1] + "." + parts[2], ""},
		"the signature of another":       {encode(map[string]string{"alg": "ES256"}) + "." + encode(with(claims(), "sub", "admin")) + "." + parts[2], ""},
		"truncated":                      {good[:len(good)-10], ""},
		"without a signature":            {parts[0] + "." + parts[1] + ".", ""},
		"two parts":                      {parts[0] + "." + parts[1], ""},
		"four parts":                     {good + ".x", ""},
		"not base64":                     {"!." + parts[1] + "." + parts[2], ""},
		"not JSON":                       {parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte("{")) + "." + parts[2], ""},
		"a null of claims":               {parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte("null")) + "." + parts[2], ""},
		"the full serialization":         {`{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, ""},
		"nested deeply":                  {parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("[", 100_000))) + "." + parts[2], ""},
		"half a megabyte":                {strings.Repeat("x", 500_000), ""},
		"half a megabyte of dots":        {strings.Repeat(".", 500_000), ""},
	} {
		h.expect(name, test.want, h.client(), bearer(test.token)...)
	}

	extra := func(token string) map[string][]string {
		if a := h.expect("extras", robot, h.client(), bearer(token)...); a != nil {
			return a.User.Extra
		}
		return nil
	}
	c := bound("pod", "p", "pu")
	c["kubernetes.io"].(map[string]any)["node"] = map[string]string{"name": "n", "uid": "nu"}
	got := extra(own(c))
	for key, want := range map[string]string{
		"authentication.kubernetes.io/pod-name": "p", "authentication.kubernetes.io/pod-uid": "pu",
		"authentication.kubernetes.io/node-name": "n", "authentication.kubernetes.io/node-uid": "nu",
		"authentication.kubernetes.io/credential-id": "JTI=id-1",
	} {
		if !slices.Equal(got[key], []string{want}) {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	// Not taken for what it is not.
	for _, header := range []string{"Bearer", "Bearer ", "Bearer  " + good, "Basic " + good, good, "Token " + good} {
		h.expect("header "+header[:min(10, len(header))], "system:anonymous", h.client(), "Authorization", header)
	}
	h.expect("the scheme in capitals", robot, h.client(), "Authorization", "BEARER "+good)
	h.expect("the first of two headers", "", h.client(), "Authorization", "Bearer nonsense", "Authorization", "Bearer "+good)
	if a := h.ask(h.client(), bearer(good)...); a == nil || a.Header.Get("Authorization") != "" {
		t.Error("the token is still in the request")
	}
	if strings.Contains(h.log.String(), parts[2]) {
		t.Error("a token is in the log")
	}
}

// TestSecretTokens: tokens in Secrets are good while the Secret is there and has them.
func TestSecretTokens(t *testing.T) {
	t.Parallel()
	h := newHarness(t, Config{})
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "robot-token", UID: "s1"}}
	public, private := serviceaccount.LegacyClaims(*h.objects.accounts["ns/robot"], *secret)
	generator, err := serviceaccount.JWTTokenGenerator(serviceaccount.LegacyIssuer, h.key)
	if err != nil {
		t.Fatal(err)
	}
	token, err := generator.GenerateToken(t.Context(), public, private)
	if err != nil {
		t.Fatal(err)
	}
	h.expect("without its Secret", "", h.client(), bearer(token)...)
	set := func(change func(*corev1.Secret)) {
		s := secret.DeepCopy()
		s.Data = map[string][]byte{"token": []byte(token)}
		change(s)
		h.objects.mu.Lock()
		h.objects.secrets["ns/robot-token"] = s
		h.objects.mu.Unlock()
	}
	now := metav1.Now()
	set(func(s *corev1.Secret) { s.Data["token"] = []byte("another") })
	h.expect("with another in its Secret", "", h.client(), bearer(token)...)
	set(func(s *corev1.Secret) { s.DeletionTimestamp = &now })
	h.expect("with its Secret going", "", h.client(), bearer(token)...)
	set(func(s *corev1.Secret) {
		s.Labels = map[string]string{serviceaccount.InvalidSinceLabelKey: "2026-01-01"}
	})
	h.expect("invalidated", "", h.client(), bearer(token)...)
	set(func(*corev1.Secret) {})
	h.expect("good", "system:serviceaccount:ns:robot", h.client(), bearer(token)...)
}

// TestAudiences: a review may ask for audiences; who does not is asked for those of the server.
func TestAudiences(t *testing.T) {
	t.Parallel()
	h := newHarness(t, Config{Audiences: []string{"api", "api2"}, TokenFile: file(t, "tokens", "static,jane,1\n")})
	vault := sign(t, jose.ES256, h.key, with(claims(), "aud", []string{"vault", "api2"}))
	review := func(token string, audiences ...string) string {
		ctx := t.Context()
		if len(audiences) > 0 {
			ctx = authenticator.WithAudiences(ctx, audiences)
		}
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		response, ok, err := h.chain.AuthenticateRequest(r)
		if err != nil || !ok {
			return ""
		}
		return response.User.GetName() + " for " + strings.Join(response.Audiences, ",")
	}
	for _, test := range []struct {
		token     string
		audiences []string
		want      string
	}{
		{vault, nil, "system:serviceaccount:ns:robot for api2"},
		{vault, []string{"vault"}, "system:serviceaccount:ns:robot for vault"},
		{vault, []string{"other"}, ""},
		{"static", nil, "jane for api,api2"},
		{"static", []string{"api"}, "jane for api"},
		{"static", []string{"vault"}, ""},
	} {
		for range 2 { // the second from what is remembered
			if got := review(test.token, test.audiences...); got != test.want {
				t.Errorf("%.10s for %q: %q, want %q", test.token, test.audiences, got, test.want)
			}
		}
	}
}

// TestKeysAreChanged: old tokens are verified with the old key, new ones are signed with the new, and both are published. Files
// may have public keys, private keys and certificates.
func TestKeysAreChanged(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := newAuthority(t, "certificate") // P-256
	privatePEM, err := keyutil.MarshalPrivateKeyToPEM(p384)
	if err != nil {
		t.Fatal(err)
	}
	rsaPEM := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})
	der, err := x509.MarshalPKIXPublicKey(p521.Public())
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	h := newHarness(t, Config{ServiceAccounts: ServiceAccounts{
		Issuers:        []string{issuer, "https://old.example"},
		SigningKeyFile: file(t, "signing", string(rsaPEM)),
		KeyFiles:       []string{file(t, "rsa", string(rsaPEM)), file(t, "two", string(privatePEM)+string(ca.pem())), file(t, "public", string(publicPEM))},
	}})
	const robot = "system:serviceaccount:ns:robot"
	h.expect("RS256", robot, h.client(), bearer(sign(t, jose.RS256, rsaKey, claims()))...)
	h.expect("ES384", robot, h.client(), bearer(sign(t, jose.ES384, p384, claims()))...)
	h.expect("ES512", robot, h.client(), bearer(sign(t, jose.ES512, p521, claims()))...)
	h.expect("ES256, by certificate", robot, h.client(), bearer(sign(t, jose.ES256, ca.key, claims()))...)
	h.expect("the old issuer", robot, h.client(), bearer(sign(t, jose.ES256, ca.key, with(claims(), "iss", "https://old.example")))...)
	h.expect("the data directory's key, when another signs", "", h.client(), bearer(sign(t, jose.ES256, h.key, claims()))...)
	account := api.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "robot", UID: types.UID("u1")}}
	public, private, err := serviceaccount.Claims(account, nil, nil, nil, nil, nil, 3600, 0, []string{issuer}, nil)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := h.keys.Signing.GenerateToken(context.Background(), public, private)
	if err != nil {
		t.Fatal(err)
	}
	h.expect("issued", robot, h.client(), bearer(issued)...)

	config := Config{ServiceAccounts: ServiceAccounts{Issuers: []string{issuer}}}
	documents := h.keys.Discovery(&config.ServiceAccounts, "192.0.2.1:6443", h.chainLog())
	data, age := documents["/openid/v1/jwks"].Get()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(data, &set); err != nil || len(set.Keys) != 4 || age != 3600 {
		t.Errorf("%v, %d keys, for %d s: %s", err, len(set.Keys), age, data)
	}
	data, _ = documents["/.well-known/openid-configuration"].Get()
	const want = `{"issuer":"https://kubernetes.default.svc.cluster.local","jwks_uri":"https://192.0.2.1:6443/openid/v1/jwks",` +
		`"response_types_supported":["id_token"],"subject_types_supported":["public"],` +
		`"id_token_signing_alg_values_supported":["ES256","ES384","ES512","RS256"]}`
	if string(data) != want {
		t.Errorf("%s\nwant %s", data, want)
	}
	config.ServiceAccounts.Issuers = []string{"no URL"}
	if documents := h.keys.Discovery(&config.ServiceAccounts, "192.0.2.1:6443", h.chainLog()); len(documents) > 0 {
		t.Errorf("an issuer that is no URL has documents: %v", documents)
	}
}

func TestTokenFile(t *testing.T) {
	t.Parallel()
	h := newHarness(t, Config{TokenFile: file(t, "tokens", "tok-1,jane,7,\"dev,ops\"\ntok-2,joe,8\n")})
	if a := h.expect("jane", "jane", h.client(), bearer("tok-1")...); a == nil ||
		!slices.Equal(a.User.Groups, []string{"dev", "ops", "system:authenticated"}) || a.User.UID != "7" {
		t.Errorf("jane is %+v", a)
	}
	h.expect("joe", "joe", h.client(), bearer("tok-2")...)
	h.expect("a part of a token", "", h.client(), bearer("tok")...)
}

// TestWebSocketProtocol: browsers cannot set headers; they name the token among the protocols, which does not stay there.
func TestWebSocketProtocol(t *testing.T) {
	t.Parallel()
	h := newHarness(t, Config{TokenFile: file(t, "tokens", "tok-1,jane,7\n")})
	const prefix = "base64url.bearer.authorization.k8s.io."
	token := prefix + base64.RawURLEncoding.EncodeToString([]byte("tok-1"))
	ask := func(what, want string, protocols ...string) *answer {
		headers := []string{"Connection", "Upgrade", "Upgrade", "websocket"}
		for _, p := range protocols {
			headers = append(headers, "Sec-Websocket-Protocol", p)
		}
		return h.expect(what, want, h.client(), headers...)
	}
	if a := ask("with another protocol", "jane", token+", v5.channel.k8s.io"); a != nil && a.Header.Get("Sec-WebSocket-Protocol") != "v5.channel.k8s.io" {
		t.Errorf("protocols left: %q", a.Header.Get("Sec-WebSocket-Protocol"))
	}
	ask("in two headers", "jane", token, "v5.channel.k8s.io")
	ask("alone", "", token)
	ask("twice", "", token+","+token+",v5.channel.k8s.io")
	ask("not base64", "", prefix+"!,v5.channel.k8s.io")
	ask("another token", "", prefix+base64.RawURLEncoding.EncodeToString([]byte("tok-2"))+",v5.channel.k8s.io")
	h.expect("not a WebSocket", "system:anonymous", h.client(), "Sec-Websocket-Protocol", token+", v5.channel.k8s.io")
}

func TestAnonymous(t *testing.T) {
	t.Parallel()
	no := false
	h := newHarness(t, Config{Anonymous: &no})
	h.expect("not allowed", "", h.client())
	const conditions = `{"apiVersion":"apiserver.config.k8s.io/v1","kind":"AuthenticationConfiguration","anonymous":{"enabled":true,"conditions":[{"path":"/livez"}]}}`
	h = newHarness(t, Config{ConfigFile: file(t, "config", conditions)})
	h.expect("allowed elsewhere", "", h.client())
	response, err := h.client().Get(h.server.URL + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("/livez: %d", response.StatusCode)
	}
	_, _, err = New(t.Context(), Config{Anonymous: &no, ConfigFile: file(t, "config", conditions)}.WithDefaults(),
		Environment{CA: h.ca.pem(), ServiceAccountKey: h.key, Objects: h.env(), Logger: h.chainLog()})
	if err == nil || !strings.Contains(err.Error(), "--anonymous-auth flag cannot be set when anonymous field is configured") {
		t.Errorf("flag and file: %v", err)
	}
}

// TestStartErrors: what cannot be read or understood keeps the server from starting, and no error quotes a secret.
func TestStartErrors(t *testing.T) {
	t.Parallel()
	h := newHarness(t, Config{})
	missing := filepath.Join(t.TempDir(), "missing")
	const secret = "s3cr3t-canary"
	for text, config := range map[string]Config{
		"no such file or directory":                  {TokenFile: missing},
		"must have at least 3 columns (token":        {TokenFile: file(t, "tokens", secret+",jane\n")},
		"must have at least 3 columns (password":     {BasicFile: file(t, "basic", secret+",jane\n")},
		`the user "jane" is there twice`:             {BasicFile: file(t, "basic", secret+",jane,1\n"+secret+",jane,2\n")},
		`the password hash of "jane" is not one of`:  {BasicFile: file(t, "basic", "$2"+secret+",jane,1\n")},
		`the password hash of "jane" costs 31`:       {BasicFile: file(t, "basic", "$2a$31$RXF2BzDuILjxvTgD327LZeHuWTd0WczzKfC9RiHMxFXPEUU9uzX/i,jane,1\n")},
		"it is not a usable kubeconfig":              {Webhook: Webhook{ConfigFile: file(t, "hook", "token: "+secret)}},
		"empty config data":                          {ConfigFile: file(t, "config", "")},
		"failed to load authentication":              {ConfigFile: file(t, "config", "kind: Pod")},
		"URL scheme must be https":                   {OIDC: OIDC{Set: true, IssuerURL: "http://x", ClientID: "c"}},
		"failed to parse service-account-issuer-key": {ServiceAccounts: ServiceAccounts{SigningKeyFile: file(t, "key", secret)}},
		"does not contain any valid":                 {ServiceAccounts: ServiceAccounts{KeyFiles: []string{file(t, "key", secret)}}},
	} {
		config = config.WithDefaults()
		_, _, err := New(t.Context(), config, Environment{CA: h.ca.pem(), ServiceAccountKey: h.key, Objects: h.env(), Logger: h.chainLog()})
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %s", err, text)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("a secret is in the error: %v", err)
		}
	}
	for text, config := range map[string]Config{
		`service-account-issuer "a" is already specified`:                                                                                 {ServiceAccounts: ServiceAccounts{Issuers: []string{"a", "a"}}},
		`service-account-issuer should not be an empty string`:                                                                            {ServiceAccounts: ServiceAccounts{Issuers: []string{""}}},
		`service-account-jwks-uri requires https scheme, parsed as: http://x`:                                                             {ServiceAccounts: ServiceAccounts{JWKSURI: "http://x"}},
		`the service-account-max-token-expiration must be between 1 hour and 2^32 seconds`:                                                {ServiceAccounts: ServiceAccounts{MaxExpiration: time.Minute}},
		`oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set`:                                     {OIDC: OIDC{Set: true, ClientID: "x"}},
		`authentication-config file and oidc-* flags are mutually exclusive`:                                                              {ConfigFile: "x", OIDC: OIDC{Set: true, ClientID: "x", IssuerURL: "https://x"}},
		`service-account-issuer "https://a:%" contained a ':' but was not a valid URL: parse "https://a:%": invalid port ":%" after host`: {ServiceAccounts: ServiceAccounts{Issuers: []string{"https://a:%"}}},
	} {
		config = config.WithDefaults()
		if err := config.Check(); err == nil || err.Error() != text {
			t.Errorf("%v, want %s", err, text)
		}
	}
}
