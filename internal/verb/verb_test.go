package verb_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	api "k8s.io/kubernetes/pkg/apis/core"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
	"github.com/kayak-k8s/kayak/internal/request"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/memory"
	"github.com/kayak-k8s/kayak/internal/verb"
	"github.com/kayak-k8s/kayak/internal/wire"
)

const root = "/registry/"

// fixture is an API over a store in memory, without a server around it.
type fixture struct {
	*verb.API
	table *kind.Table
	// freeze stops the state from following the store, so that all it has is outdated from then on.
	freeze func()
}

// newFixture makes one; wrap may put something between the API and the store, set may set options of the state.
func newFixture(t testing.TB, wrap func(store.Store) store.Store, set ...func(*state.Options)) *fixture {
	t.Helper()
	kinds, err := builtin.Kinds(builtin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	table := kind.NewTable(kinds...)
	var families []state.Family
	for _, k := range table.Kinds() {
		families = append(families, state.Family{Prefix: k.KeyPrefix(root, ""), Header: k.Header, Index: k.Index})
	}
	var backend store.Store = memory.New()
	if wrap != nil {
		backend = wrap(backend)
	}
	options := state.Options{Store: backend, Prefix: root, Families: families}
	for _, f := range set {
		f(&options)
	}
	s := state.New(options)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(ctx)
	}()
	freeze := func() {
		cancel()
		<-done
	}
	t.Cleanup(func() {
		freeze()
		_ = backend.Close()
	})
	if err := s.WaitSynced(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &fixture{
		API:   &verb.API{State: s, Store: backend, Root: root, MinRequestTimeout: time.Minute, Stopping: make(chan struct{}), Turns: &verb.Turns{}, Endings: &verb.Endings{}},
		table: table, freeze: freeze,
	}
}

// serve handles a request as the pipeline would.
func (f *fixture) serve(w http.ResponseWriter, r *http.Request) {
	info, err := request.Parse(r, r.URL.Query())
	if err == nil {
		r = r.WithContext(genericrequest.WithRequestInfo(r.Context(), info))
		resource := f.table.Resource(info.APIGroup, info.APIVersion, info.Resource)
		err = f.Serve(&verb.Call{
			Writer: w, Request: r, Query: r.URL.Query(), Info: info, Resource: resource, Sub: resource.Subresources[info.Subresource],
		})
	}
	if err != nil {
		wire.WriteError(w, r, err)
	}
}

func (f *fixture) do(t *testing.T, method, path, contentType, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	f.serve(w, r)
	return w
}

func (f *fixture) must(t *testing.T, method, path, body string) {
	t.Helper()
	if w := f.do(t, method, path, "", body); w.Code >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
}

// catchUp waits until the state has everything that is in the store.
func (f *fixture) catchUp(t testing.TB) {
	t.Helper()
	if _, err := f.State.Consistent(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A delete is decided on the pod that is stored. What the state has is a pod that no node runs, which could go at once; by now
// a node runs it, so it must be given its time.
func TestDeleteIsDecidedOnWhatIsStored(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	const path = "/api/v1/namespaces/default/pods"
	f.must(t, "POST", path, `{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}}`)
	f.catchUp(t)
	f.freeze()

	pods := f.table.Resource("", "v1", "pods")
	key := pods.Key(root, "default", "p")
	stored, err := f.Store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(change func(*api.Pod)) {
		obj, err := pods.Decode(stored.Value, stored.Revision)
		if err != nil {
			t.Fatal(err)
		}
		change(obj.(*api.Pod))
		value, err := pods.Encode(obj)
		if err != nil {
			t.Fatal(err)
		}
		if stored.Revision, err = f.Store.Put(t.Context(), key, value, stored.Revision, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		stored.Value = value
	}
	write(func(p *api.Pod) { p.Spec.NodeName = "n" })
	f.must(t, "DELETE", path+"/p", "")
	after, err := f.Store.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("the pod is gone: %v", err)
	}
	obj, err := pods.Decode(after.Value, after.Revision)
	if err != nil {
		t.Fatal(err)
	}
	pod := obj.(*api.Pod)
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds == nil || *pod.DeletionGracePeriodSeconds != 30 {
		t.Fatalf("the pod did not get its time: %+v", pod.ObjectMeta)
	}

	// The same by force: the node has its finalizer on the pod by now.
	stored = after
	write(func(p *api.Pod) { p.Finalizers = []string{"example.com/f"} })
	f.must(t, "DELETE", path+"/p", `{"gracePeriodSeconds":0}`)
	if _, err := f.Store.Get(t.Context(), key); err != nil {
		t.Fatalf("the pod is gone in spite of its finalizer: %v", err)
	}
}

// counting counts what goes to the store.
type counting struct {
	store.Store
	gets, puts, deletes int
}

func (c *counting) Get(ctx context.Context, key string) (store.KV, error) {
	c.gets++
	return c.Store.Get(ctx, key)
}

func (c *counting) Put(ctx context.Context, key string, value []byte, expect int64, options store.PutOptions) (int64, error) {
	c.puts++
	return c.Store.Put(ctx, key, value, expect, options)
}

func (c *counting) Delete(ctx context.Context, key string, expect int64) (int64, error) {
	c.deletes++
	return c.Store.Delete(ctx, key, expect)
}

// A delete that leaves no time is two writes and nothing else, though the state has not seen the first one by the second; its answer is
// what was stored last, at the revision of the removal.
func TestDeleteAtOnceIsTwoWrites(t *testing.T) {
	t.Parallel()
	var c *counting
	f := newFixture(t, func(s store.Store) store.Store {
		c = &counting{Store: s}
		return c
	})
	const path = "/api/v1/namespaces/default/pods"
	f.must(t, "POST", path, `{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}}`)
	f.catchUp(t)
	f.freeze()
	c.gets, c.puts, c.deletes = 0, 0, 0
	w := f.do(t, "DELETE", path+"/p", "", `{"gracePeriodSeconds":0}`)
	var answer corev1.Pod
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
		t.Fatal(w.Code, err, w.Body)
	}
	if c.gets != 0 || c.puts != 1 || c.deletes != 1 {
		t.Errorf("%d reads, %d writes, %d removals", c.gets, c.puts, c.deletes)
	}
	revision, err := f.Store.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if answer.ResourceVersion != strconv.FormatInt(revision, 10) || answer.DeletionTimestamp == nil || *answer.DeletionGracePeriodSeconds != 0 {
		t.Errorf("the answer is not what was removed at revision %d: %s", revision, w.Body)
	}
}

// lossy carries writes out and then says that something went wrong.
type lossy struct {
	store.Store
	puts  int
	fails bool
}

var errLost = errors.New("the connection was lost")

func (l *lossy) Put(ctx context.Context, key string, value []byte, expect int64, options store.PutOptions) (int64, error) {
	l.puts++
	revision, err := l.Store.Put(ctx, key, value, expect, options)
	if err == nil && l.fails {
		return 0, errLost
	}
	return revision, err
}

// After an error that leaves open whether the write has happened, it is not tried again: a patch that appends would append
// twice. And it is not called a success.
func TestNoSecondWriteAfterAnErrorOfTheStore(t *testing.T) {
	t.Parallel()
	var l *lossy
	f := newFixture(t, func(s store.Store) store.Store {
		l = &lossy{Store: s}
		return l
	})
	const path = "/api/v1/namespaces/default/configmaps"
	f.must(t, "POST", path, `{"metadata":{"name":"a","finalizers":["example.com/a"]}}`)
	f.catchUp(t)
	l.puts, l.fails = 0, true
	w := f.do(t, "PATCH", path+"/a", "application/json-patch+json",
		`[{"op":"add","path":"/metadata/finalizers/-","value":"example.com/b"}]`)
	if w.Code != http.StatusInternalServerError || l.puts != 1 {
		t.Fatalf("%d writes, answer %d %s", l.puts, w.Code, w.Body)
	}
	if w := f.do(t, "POST", path, "", `{"metadata":{"generateName":"b-"}}`); w.Code != http.StatusInternalServerError || l.puts != 2 {
		t.Fatalf("%d writes, answer %d %s", l.puts-1, w.Code, w.Body)
	}
}

// panicking is an admission plugin with a bug.
type panicking struct{ *admission.Handler }

func (panicking) Validate(context.Context, admission.Attributes, admission.ObjectInterfaces) error {
	panic("a bug")
}

var _ admission.ValidationInterface = panicking{}

// A panic while one object of a collection is deleted ends the request, not the process.
func TestPanicInDeleteCollection(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	const path = "/api/v1/namespaces/default/configmaps"
	f.must(t, "POST", path, `{"metadata":{"name":"a"}}`)
	f.Admission = panicking{admission.NewHandler(admission.Delete)}
	if w := f.do(t, "DELETE", path, "", ""); w.Code != http.StatusInternalServerError {
		t.Fatalf("answer %d %s", w.Code, w.Body)
	}
}

// A client that never sends the rest of its body is told so when the request's time is over.
func TestBodyThatNeverEnds(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 50*time.Millisecond)
		defer cancel()
		f.serve(w, r.WithContext(ctx))
	}))
	defer server.Close()
	body, write := io.Pipe()
	defer write.Close()
	go func() { _, _ = write.Write([]byte(`{"metadata":`)) }()
	response, err := http.Post(server.URL+"/api/v1/namespaces/default/configmaps", "application/json", body)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusGatewayTimeout {
		text, _ := io.ReadAll(response.Body)
		t.Fatalf("answer %d %s", response.StatusCode, text)
	}
}

// An update that changes nothing writes nothing, unless what is stored is in a form that would not be stored today.
func TestUpdateRenewsStoredForm(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	const path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/h"
	const key = root + "horizontalpodautoscalers/default/h"
	old := `{"kind":"HorizontalPodAutoscaler","apiVersion":"autoscaling/v1","metadata":{"name":"h","namespace":"default","uid":"u",` +
		`"creationTimestamp":"2020-01-01T00:00:00Z"},"spec":{"maxReplicas":3,"minReplicas":1,"scaleTargetRef":{"kind":"Deployment","name":"d"}}}`
	revision, err := f.Store.Put(t.Context(), key, []byte(old), 0, store.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.catchUp(t)
	body := f.do(t, "GET", path, "", "").Body.String()
	for round, want := range []int64{revision + 1, revision + 1} {
		if w := f.do(t, "PUT", path, "application/json", body); w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		f.catchUp(t)
		body = f.do(t, "GET", path, "", "").Body.String()
		stored, err := f.Store.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if stored.Revision != want || !strings.HasPrefix(string(stored.Value), "k8s\x00") {
			t.Errorf("round %d: revision %d, want %d: %q", round, stored.Revision, want, stored.Value)
		}
	}
}
