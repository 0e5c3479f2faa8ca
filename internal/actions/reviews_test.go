package actions

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	api "k8s.io/kubernetes/pkg/apis/core"
	probehttp "k8s.io/kubernetes/pkg/probe/http"
	"k8s.io/kubernetes/pkg/registry/core/componentstatus"
)

// Questions reach those who can answer them.
func TestReviews(t *testing.T) {
	t.Parallel()
	f := newFixture(t, TokenOptions{})
	const authentication, authorization = "/apis/authentication.k8s.io/v1/", "/apis/authorization.k8s.io/v1/"
	for _, test := range []struct{ path, body, want string }{
		{authentication + "tokenreviews", `{"spec":{"token":"good"}}`, `"status":{"authenticated":true,"user":{"username":"jane","groups":["devs"]}`},
		{authentication + "tokenreviews", `{"spec":{"token":"bad"}}`, `"error":"invalid bearer token"`},
		{authentication + "selfsubjectreviews", `{}`, `"userInfo":{"username":"admin","groups":["system:masters"]}`},
		{authorization + "subjectaccessreviews", `{"spec":{"user":"u","resourceAttributes":{"verb":"get","resource":"pods"}}}`,
			`"status":{"allowed":true,"reason":"pods are free"}`},
		{authorization + "subjectaccessreviews", `{"spec":{"user":"u","resourceAttributes":{"verb":"get","resource":"nodes"}}}`, `"status":{"allowed":false}`},
		{authorization + "selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}`, `"allowed":true`},
		{authorization + "namespaces/a/localsubjectaccessreviews",
			`{"metadata":{"namespace":"a"},"spec":{"user":"u","resourceAttributes":{"namespace":"a","verb":"get","resource":"pods"}}}`, `"allowed":true`},
		{authorization + "selfsubjectrulesreviews", `{"spec":{"namespace":"a"}}`, `"resourceRules":[{"verbs":["*"]`},
	} {
		if got := f.must(t, "POST", test.path, test.body).Body.String(); !strings.Contains(got, test.want) {
			t.Errorf("%s %s: %s", test.path, test.body, got)
		}
	}
}

func TestComponentStatuses(t *testing.T) {
	t.Parallel()
	answer := func(code int, text string) *healthz {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(text))
		}))
		t.Cleanup(server.Close)
		address, err := url.Parse(server.URL + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		return &healthz{address, probehttp.NewWithTLSConfig(&tls.Config{InsecureSkipVerify: true}, false)}
	}
	gone := answer(200, "")
	gone.url.Host = "127.0.0.1:1"
	c := newComponentStatuses(map[string]componentstatus.Server{
		"d-sick": answer(500, "not ok"), "a-well": answer(200, "ok"), "c-gone": gone,
		"b-store": storeHealth(func(context.Context) error { return errors.New("no quorum") }),
	})
	obj, err := c.List(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		name, message, err string
		status             api.ConditionStatus
	}{
		{"a-well", "ok", "", api.ConditionTrue},
		{"b-store", "", "no quorum", api.ConditionFalse},
		{"c-gone", `Get "https://127.0.0.1:1/healthz": dial tcp 127.0.0.1:1: connect: connection refused`, "", api.ConditionFalse},
		{"d-sick", "HTTP probe failed with statuscode: 500", "", api.ConditionFalse},
	}
	items := obj.(*api.ComponentStatusList).Items
	if len(items) != len(want) {
		t.Fatalf("%+v", items)
	}
	for i, w := range want {
		got := items[i]
		if c := got.Conditions[0]; got.Name != w.name || c.Status != w.status || c.Message != w.message || c.Error != w.err {
			t.Errorf("%+v, want %+v", got, w)
		}
	}
}
