package actions

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/kubernetes/pkg/serviceaccount"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
	"github.com/kayak-k8s/kayak/internal/request"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store/memory"
	"github.com/kayak-k8s/kayak/internal/verb"
	"github.com/kayak-k8s/kayak/internal/wire"
)

const (
	root     = "/registry/"
	audience = "https://kubernetes.default.svc"
)

// fixture is an API over a store in memory with all kinds, without a server around it.
type fixture struct {
	*verb.API
	table *kind.Table
}

func newFixture(t *testing.T, tokens TokenOptions) *fixture {
	t.Helper()
	f := &fixture{API: &verb.API{Root: root, MinRequestTimeout: time.Minute, Stopping: make(chan struct{})}}
	kinds, err := builtin.Kinds(builtin.Options{Storages: Storages(Options{
		API: f.API,
		Resource: func(group, version, resource string) *kind.Resource {
			return f.table.Resource(group, version, resource)
		},
		Tokens:        withGenerator(t, tokens),
		Authenticator: authenticator.RequestFunc(bearer),
		Audiences:     []string{audience},
		Authorizer:    onlyPods{},
		RuleResolver:  authorizerfactory.NewAlwaysAllowAuthorizer(),
		Stores:        []func(context.Context) error{func(context.Context) error { return nil }},
	})})
	if err != nil {
		t.Fatal(err)
	}
	f.table = kind.NewTable(kinds...)
	f.run(t)
	return f
}

// run starts the state.
func (f *fixture) run(t *testing.T) {
	t.Helper()
	var families []state.Family
	seen := map[string]bool{}
	for _, k := range f.table.Kinds() {
		if k.Stored() && !seen[k.Prefix] {
			seen[k.Prefix] = true
			families = append(families, state.Family{Prefix: k.KeyPrefix(root, ""), Header: k.Header, Index: k.Index})
		}
	}
	backend := memory.New()
	f.Store = backend
	f.State = state.New(state.Options{Store: backend, Prefix: root, Families: families})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.State.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = backend.Close()
	})
	if err := f.State.WaitSynced(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func withGenerator(t *testing.T, tokens TokenOptions) TokenOptions {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if tokens.Generator, err = serviceaccount.JWTTokenGenerator(audience, key); err != nil {
		t.Fatal(err)
	}
	tokens.Audiences = []string{audience}
	return tokens
}

// bearer accepts one token.
func bearer(r *http.Request) (*authenticator.Response, bool, error) {
	if r.Header.Get("Authorization") != "Bearer good" {
		return nil, false, errors.New("invalid bearer token")
	}
	return &authenticator.Response{
		User: &user.DefaultInfo{Name: "jane", Groups: []string{"devs"}}, Audiences: authenticator.Audiences{audience},
	}, true, nil
}

// onlyPods allows everything with pods to everybody.
type onlyPods struct{}

func (onlyPods) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetResource() == "pods" {
		return authorizer.DecisionAllow, "pods are free", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// warnings collects what clients are warned of.
type warnings struct {
	mu   sync.Mutex
	list []string
}

func (w *warnings) AddWarning(_, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, text)
}

// serve handles a request as the pipeline would.
func (f *fixture) serve(w http.ResponseWriter, r *http.Request) {
	info, err := request.Parse(r, r.URL.Query())
	if err == nil {
		ctx := genericrequest.WithRequestInfo(r.Context(), info)
		r = r.WithContext(genericrequest.WithUser(ctx, &user.DefaultInfo{Name: "admin", Groups: []string{"system:masters"}}))
		resource := f.table.Resource(info.APIGroup, info.APIVersion, info.Resource)
		if resource == nil || !resource.Allows(info.Subresource, info.Verb) {
			err = request.UnknownResource()
		} else {
			err = f.Serve(&verb.Call{Writer: w, Request: r, Query: r.URL.Query(), Info: info, Resource: resource, Sub: resource.Subresources[info.Subresource]})
		}
	}
	if err != nil {
		wire.WriteError(w, r, err)
	}
}

// do sends a request; the answer's Warning headers are the warnings.
func (f *fixture) do(ctx context.Context, method, path, body string) *httptest.ResponseRecorder {
	recorder := &warnings{}
	r := httptest.NewRequestWithContext(warning.WithWarningRecorder(ctx, recorder), method, path, strings.NewReader(body))
	if method == http.MethodPatch {
		r.Header.Set("Content-Type", "application/merge-patch+json")
	}
	w := httptest.NewRecorder()
	f.serve(w, r)
	w.Header()["Warning"] = recorder.list
	return w
}

func (f *fixture) must(t *testing.T, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	w := f.do(t.Context(), method, path, body)
	if w.Code >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return w
}
