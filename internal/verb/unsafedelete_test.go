package verb_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/kayak-k8s/kayak/internal/store"
)

// only allows the verbs that it lists.
type only []string

func (o only) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	for _, verb := range o {
		if a.GetVerb() == verb {
			return authorizer.DecisionAllow, "", nil
		}
	}
	return authorizer.DecisionNoOpinion, "no rule for " + a.GetVerb(), nil
}

func asAlice(r *http.Request) *http.Request {
	return r.WithContext(genericrequest.WithUser(r.Context(), &user.DefaultInfo{Name: "alice"}))
}

const unsafeOption = "?ignoreStoreReadErrorWithClusterBreakingPotential=true"

// An object that cannot be read goes if the option and a permission of its own say so, and only then. The texts were taken
// from a kube-apiserver over an etcd into which the same bytes were put.
func TestUnsafeDelete(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.Authorizer = only{"unsafe-delete-ignore-read-errors"}
	const collection = "/api/v1/namespaces/default/configmaps"
	for name, value := range map[string]string{
		"garbage":   "garbage",
		"message":   "k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x02\xff\xff",
		"elsewhere": `{"kind":"Foo","apiVersion":"nope/v1"}`,
	} {
		key := f.table.Resource("", "v1", "configmaps").Key(root, "default", name)
		if _, err := f.Store.Put(t.Context(), key, []byte(value), 0, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		f.catchUp(t)
		path := collection + "/" + name
		corrupt := "Internal error occurred: StorageError: corrupt object, Code: 7, Key: /configmaps/default/" + name +
			", ResourceVersion: 0, AdditionalErrorMsg: object not decodable revision="
		f.expect(t, "GET", path, "", http.StatusInternalServerError, corrupt)
		f.expect(t, "DELETE", path, "", http.StatusInternalServerError, corrupt)
		f.expect(t, "DELETE", path, `{"gracePeriodSeconds":0}`, http.StatusInternalServerError, corrupt)
		f.expect(t, "PUT", path, `{"metadata":{"name":"`+name+`"}}`, http.StatusInternalServerError, `"message":"object not decodable revision=`)
		f.expect(t, "DELETE", path+unsafeOption+"&dryRun=All", "", http.StatusOK, `"details":{"name":"`+name+`","kind":"ConfigMap"},"code":200`)
		if _, err := f.Store.Get(t.Context(), key); err != nil {
			t.Fatalf("%s is gone by a dry run: %v", name, err)
		}
		f.expect(t, "DELETE", path+unsafeOption, "", http.StatusOK, `"details":{"name":"`+name+`","kind":"ConfigMap"},"code":200`)
		f.expect(t, "DELETE", path+unsafeOption, "", http.StatusNotFound, `configmaps \"`+name+`\" not found`)
	}
}

func (f *fixture) expect(t *testing.T, method, path, body string, code int, text string) {
	t.Helper()
	if w := f.do(t, method, path, "", body); w.Code != code || !strings.Contains(w.Body.String(), text) {
		t.Errorf("%s %s: %d %s\nnot %d %s", method, path, w.Code, w.Body, code, text)
	}
}

// Permission to delete is not permission to delete what cannot be read.
func TestUnsafeDeleteNeedsPermission(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.Authorizer = only{"delete"}
	key := f.table.Resource("", "v1", "configmaps").Key(root, "default", "a")
	if _, err := f.Store.Put(t.Context(), key, []byte("garbage"), 0, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	w := f.as(t, "DELETE", "/api/v1/namespaces/default/configmaps/a"+unsafeOption, "")
	const want = `configmaps \"a\" is forbidden: not permitted to do \"unsafe-delete-ignore-read-errors\", reason: no rule for unsafe-delete-ignore-read-errors`
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), want) {
		t.Errorf("answer %d %s", w.Code, w.Body)
	}
	if _, err := f.Store.Get(t.Context(), key); err != nil {
		t.Error(err)
	}
}
