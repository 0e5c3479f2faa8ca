package server

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/kayak-k8s/kayak/internal/request"
)

func TestImpersonation(t *testing.T) {
	t.Parallel()
	// may is what the user is allowed.
	may := map[string]bool{
		"impersonate users jane": true, "impersonate groups dev": true, "impersonate serviceaccounts robot": true,
		"impersonate userextras a": true,
		// Constrained: as bob, but to list pods only; as the node that the agent runs on.
		"impersonate:user-info users bob": true, "impersonate-on:user-info:list pods ": true,
		"impersonate:associated-node nodes *": true, "impersonate-on:associated-node:list pods ": true,
	}
	// Each case has a server of its own: upstream's filter tries first what worked last, and tells of what it tried first.
	serve := func() *Server {
		return newServer(t, func(o *Options) {
			o.Authorizer = authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
				if slices.Contains(a.GetUser().GetGroups(), user.SystemPrivilegedGroup) || may[a.GetVerb()+" "+a.GetResource()+" "+a.GetName()] {
					return authorizer.DecisionAllow, "", nil
				}
				return authorizer.DecisionNoOpinion, "", nil
			})
		})
	}
	agent := &user.DefaultInfo{
		Name: "system:serviceaccount:ns:agent", Groups: []string{"g"},
		Extra: map[string][]string{"authentication.kubernetes.io/node-name": {"n1"}},
	}
	for _, test := range []struct {
		name    string
		as      *user.DefaultInfo // nil: x
		path    string            // "": /api/v1/pods
		headers []string
		want    user.Info // nil: refused
		code    int32
		message string
	}{
		{name: "nobody", want: &user.DefaultInfo{Name: "x"}},
		{name: "user", headers: []string{"Impersonate-User", "jane"},
			want: &user.DefaultInfo{Name: "jane", Groups: []string{"system:authenticated"}}},
		{name: "group too", headers: []string{"Impersonate-User", "jane", "Impersonate-Group", "dev"},
			want: &user.DefaultInfo{Name: "jane", Groups: []string{"dev", "system:authenticated"}}},
		{name: "another user", headers: []string{"Impersonate-User", "admin"}, code: 403,
			message: `users.authentication.k8s.io "admin" is forbidden: User "x" cannot impersonate:user-info resource "users" ` +
				`in API group "authentication.k8s.io" at the cluster scope`},
		{name: "another user elsewhere", path: "/api/v1/secrets", headers: []string{"Impersonate-User", "admin"}, code: 403,
			message: `secrets is forbidden: User "x" cannot impersonate-on:user-info:list resource "secrets" in API group "" at the cluster scope`},
		{name: "a group that nobody may be", headers: []string{"Impersonate-User", "bob", "Impersonate-Group", "system:masters"},
			code: 403, message: `groups.authentication.k8s.io "system:masters" is forbidden: User "x" cannot impersonate:user-info ` +
				`resource "groups" in API group "authentication.k8s.io" at the cluster scope: impersonating the system:masters group is not allowed`},
		{name: "service account", headers: []string{"Impersonate-User", "system:serviceaccount:ns:robot"}, want: &user.DefaultInfo{
			Name:   "system:serviceaccount:ns:robot",
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"},
		}},
		{name: "extra", headers: []string{"Impersonate-User", "jane", "Impersonate-Extra-Scopes", "a"}, want: &user.DefaultInfo{
			Name: "jane", Groups: []string{"system:authenticated"}, Extra: map[string][]string{"scopes": {"a"}},
		}},
		{name: "another extra", path: "/api/v1/secrets", code: 403, headers: []string{"Impersonate-User", "jane", "Impersonate-Extra-Scopes", "b"},
			message: `secrets is forbidden: User "x" cannot impersonate-on:user-info:list resource "secrets" in API group "" at the cluster scope`},
		{name: "constrained to a verb", headers: []string{"Impersonate-User", "bob"},
			want: &user.DefaultInfo{Name: "bob", Groups: []string{"system:authenticated"}}},
		{name: "constrained, another verb", path: "/api/v1/namespaces/a/pods/p", headers: []string{"Impersonate-User", "bob"}, code: 403,
			message: `pods "p" is forbidden: User "x" cannot impersonate-on:user-info:get resource "pods" in API group "" in the namespace "a"`},
		{name: "the node that one is on", as: agent, headers: []string{"Impersonate-User", "system:node:n1"},
			want: &user.DefaultInfo{Name: "system:node:n1", Groups: []string{"system:nodes", "system:authenticated"}}},
		{name: "another node", as: agent, headers: []string{"Impersonate-User", "system:node:n2"}, code: 403,
			message: `pods is forbidden: User "system:serviceaccount:ns:agent" cannot impersonate-on:arbitrary-node:list resource "pods" ` +
				`in API group "" at the cluster scope`},
		{name: "no user", headers: []string{"Impersonate-Group", "dev"}, code: 400,
			message: `requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"dev"}, Extra:map[string][]string(nil)} without impersonating a user name`},
	} {
		path := test.path
		if path == "" {
			path = "/api/v1/pods"
		}
		r := httptest.NewRequest(http.MethodGet, path, nil)
		for i := 0; i < len(test.headers); i += 2 {
			r.Header.Add(test.headers[i], test.headers[i+1])
		}
		info, err := request.Parse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		var who user.Info = &user.DefaultInfo{Name: "x"}
		if test.as != nil {
			who = test.as
		}
		r = r.WithContext(genericrequest.WithUser(genericrequest.WithRequestInfo(r.Context(), info), who))
		w := httptest.NewRecorder()
		x := &exchange{w: &response{ResponseWriter: w}, r: r, info: info, user: who}
		err = serve().impersonate(x)
		if (err != nil) != (test.want == nil) {
			t.Errorf("%s: error %v, %s", test.name, err, w.Body)
			continue
		}
		if err != nil {
			var status metav1.Status
			if err := json.Unmarshal(w.Body.Bytes(), &status); err != nil {
				t.Errorf("%s: %v in %q", test.name, err, w.Body)
			}
			if status.Code != test.code || status.Message != test.message {
				t.Errorf("%s: %d %s\nwant %d %s", test.name, status.Code, status.Message, test.code, test.message)
			}
			continue
		}
		var got user.Info = &user.DefaultInfo{
			Name: x.user.GetName(), UID: x.user.GetUID(), Groups: x.user.GetGroups(), Extra: x.user.GetExtra(),
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if in, _ := genericrequest.UserFrom(x.r.Context()); in != x.user {
			t.Errorf("%s: the context has %v", test.name, in)
		}
		if impersonating(x.r.Header) {
			t.Errorf("%s: the headers are still there: %v", test.name, x.r.Header)
		}
	}
}
