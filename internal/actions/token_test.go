package actions

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
)

// claims are those of a token that matter here.
type claims struct {
	Issuer     string   `json:"iss"`
	Subject    string   `json:"sub"`
	ID         string   `json:"jti"`
	Audience   []string `json:"aud"`
	IssuedAt   int64    `json:"iat"`
	Expiry     int64    `json:"exp"`
	Kubernetes struct {
		Namespace      string
		ServiceAccount struct{ Name, UID string }
		Pod, Node      *struct{ Name, UID string }
		WarnAfter      int64
	} `json:"kubernetes.io"`
}

// issue asks for a token and returns the answer, what is in the token, and the warnings.
func (f *fixture) issue(t *testing.T, spec string) (*authenticationv1.TokenRequest, claims, []string) {
	t.Helper()
	w := f.must(t, "POST", "/api/v1/namespaces/default/serviceaccounts/sa/token", fmt.Sprintf(`{"spec":%s}`, spec))
	var request authenticationv1.TokenRequest
	if err := json.Unmarshal(w.Body.Bytes(), &request); err != nil {
		t.Fatal(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(request.Status.Token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		t.Fatal(err)
	}
	return &request, c, w.Header()["Warning"]
}

func (f *fixture) accountAndPod(t *testing.T) {
	t.Helper()
	f.must(t, "POST", "/api/v1/namespaces/default/serviceaccounts", `{"metadata":{"name":"sa"}}`)
	f.must(t, "POST", "/api/v1/nodes", `{"metadata":{"name":"n"}}`)
	f.must(t, "POST", pods, `{"metadata":{"name":"p"},"spec":{"serviceAccountName":"sa","nodeName":"n","containers":[{"name":"c","image":"i"}]}}`)
}

func TestTokenClaims(t *testing.T) {
	t.Parallel()
	f := newFixture(t, TokenOptions{})
	f.accountAndPod(t)
	request, c, warned := f.issue(t, `{}`)
	switch {
	case c.Issuer != audience, c.Subject != "system:serviceaccount:default:sa", c.ID == "", !slices.Equal(c.Audience, []string{audience}),
		c.Kubernetes.Namespace != "default", c.Kubernetes.ServiceAccount.Name != "sa", c.Kubernetes.ServiceAccount.UID == "",
		c.Expiry-c.IssuedAt != 3600, c.Kubernetes.Pod != nil, len(warned) > 0:
		t.Errorf("%+v %v", c, warned)
	case request.Status.ExpirationTimestamp.Unix() > c.Expiry:
		t.Error("the answer promises more than the token holds")
	}
	_, c, _ = f.issue(t, `{"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"p"}}`)
	if k := c.Kubernetes; k.Pod == nil || k.Pod.Name != "p" || k.Pod.UID == "" || k.Node == nil || k.Node.Name != "n" || k.Node.UID == "" {
		t.Errorf("%+v", k)
	}
}

func TestTokenExpiration(t *testing.T) {
	t.Parallel()
	const pod = `"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"p"}`
	for name, test := range map[string]struct {
		options   TokenOptions
		spec      string
		says      int64
		lives     int64
		warnAfter int64
		warning   string
	}{
		"shortened": {
			options: TokenOptions{MaxExpiration: time.Hour}, spec: `{"expirationSeconds":7200}`, says: 3600, lives: 3600,
			warning: "requested expiration of 7200 seconds shortened to 3600 seconds",
		},
		"extended":                 {TokenOptions{ExtendExpiration: true}, `{"expirationSeconds":3607,` + pod + `}`, 3607, 31536000, 3607, ""},
		"not for others":           {TokenOptions{ExtendExpiration: true}, `{"expirationSeconds":3607,"audiences":["a"],` + pod + `}`, 3607, 3607, 0, ""},
		"not without a pod":        {TokenOptions{ExtendExpiration: true}, `{"expirationSeconds":3607}`, 3607, 3607, 0, ""},
		"not with another time":    {TokenOptions{ExtendExpiration: true}, `{"expirationSeconds":3600,` + pod + `}`, 3600, 3600, 0, ""},
		"not when it is forbidden": {TokenOptions{}, `{"expirationSeconds":3607,` + pod + `}`, 3607, 3607, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, test.options)
			f.accountAndPod(t)
			request, c, warned := f.issue(t, test.spec)
			if got := *request.Spec.ExpirationSeconds; got != test.says {
				t.Errorf("says %d", got)
			}
			if got := c.Expiry - c.IssuedAt; got != test.lives {
				t.Errorf("lives %d", got)
			}
			if got := c.Kubernetes.WarnAfter; got != 0 != (test.warnAfter != 0) || got != 0 && got-c.IssuedAt != test.warnAfter {
				t.Errorf("warns after %d", got)
			}
			if got := strings.Join(warned, ";"); got != test.warning {
				t.Errorf("warned %q", got)
			}
		})
	}
}

// Without a generator there is nothing to ask for tokens.
func TestNoTokens(t *testing.T) {
	t.Parallel()
	for gr := range Storages(Options{}) {
		if gr.Resource == "serviceaccounts/token" {
			t.Error("there is")
		}
	}
}
