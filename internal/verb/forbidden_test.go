package verb_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kayak-k8s/kayak/internal/managedfields"
	"github.com/kayak-k8s/kayak/internal/store"
)

// as is do for a user.
func (f *fixture) as(t *testing.T, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if method == "PATCH" {
		r.Header.Set("Content-Type", "application/apply-patch+yaml")
	}
	w := httptest.NewRecorder()
	f.serve(w, asAlice(r))
	return w
}

// Who may update or patch, but not create, does not create by an update or by applying.
func TestCreateByUpdateNeedsPermissionToCreate(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.Fields = managedfields.New()
	const path = "/api/v1/namespaces/default/endpoints/l"
	update := func() *httptest.ResponseRecorder { return f.as(t, "PUT", path, `{"metadata":{"name":"l"}}`) }
	apply := func() *httptest.ResponseRecorder {
		return f.as(t, "PATCH", path+"?fieldManager=m", `{"apiVersion":"v1","kind":"Endpoints","metadata":{"name":"l"}}`)
	}
	const want = `endpoints \"l\" is forbidden: User \"alice\" cannot create resource \"endpoints\" ` +
		`in API group \"\" in the namespace \"default\": no rule for create`
	for name, write := range map[string]func() *httptest.ResponseRecorder{"update": update, "apply": apply} {
		f.Authorizer = only{"update", "patch"}
		if w := write(); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: answer %d %s", name, w.Code, w.Body)
		}
		key := f.table.Resource("", "v1", "endpoints").Key(root, "default", "l")
		if _, err := f.Store.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("%s: the object is there: %v", name, err)
		}
		f.Authorizer = only{"create"}
		if w := write(); w.Code != http.StatusCreated {
			t.Errorf("%s with permission: answer %d %s", name, w.Code, w.Body)
		}
		f.Authorizer = only{}
		if w := write(); w.Code != http.StatusOK { // it is there by now, so nothing is created
			t.Errorf("%s of what is there: answer %d %s", name, w.Code, w.Body)
		}
		f.must(t, "DELETE", path, "")
	}
}
