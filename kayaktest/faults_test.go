package kayaktest_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kayak-k8s/kayak/kayaktest"
)

// A code becomes the Status that a server answers with, of the right reason and about the right object.
func TestFaultCodes(t *testing.T) {
	t.Parallel()
	s := kayaktest.New(t)
	config := s.Config()
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return once{next} })
	maps := client(t, config).CoreV1().ConfigMaps("default")
	if _, err := maps.Create(t.Context(), configMap("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	update := func() error {
		_, err := maps.Update(t.Context(), configMap("a"), metav1.UpdateOptions{})
		return err
	}
	for _, test := range []struct {
		code int
		is   func(error) bool
		text string
	}{
		{http.StatusConflict, apierrors.IsConflict, `Operation cannot be fulfilled on configmaps "a": the object has been modified; ` +
			`please apply your changes to the latest version and try again`},
		{http.StatusGone, apierrors.IsResourceExpired, "too old"},
		{http.StatusTooManyRequests, apierrors.IsTooManyRequests, "please try again later"},
		{http.StatusInternalServerError, apierrors.IsInternalError, "injected by the test"},
		{http.StatusForbidden, apierrors.IsForbidden, `configmaps "a" is forbidden`},
		{http.StatusNotFound, apierrors.IsNotFound, `configmaps "a" not found`},
		{http.StatusServiceUnavailable, apierrors.IsServiceUnavailable, ""},
		{http.StatusGatewayTimeout, apierrors.IsTimeout, ""},
	} {
		fault := s.Inject(kayaktest.Fault{Match: kayaktest.Match{Verb: "update"}, Times: 1, Code: test.code})
		if err := update(); !test.is(err) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%d: %v", test.code, err)
		}
		if fault.Hits() != 1 {
			t.Errorf("%d: %d hits", test.code, fault.Hits())
		}
		if err := update(); err != nil {
			t.Errorf("after %d: %v", test.code, err)
		}
	}
	s.Inject(kayaktest.Fault{Match: kayaktest.Match{Verb: "create"}, Times: 1, Code: http.StatusConflict})
	if _, err := maps.Create(t.Context(), configMap("b"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("a create: %v", err)
	}
	own := apierrors.NewUnauthorized("who?")
	s.Inject(kayaktest.Fault{Times: 1, Err: own})
	if err := update(); !apierrors.IsUnauthorized(err) {
		t.Errorf("an error of the test's own: %v", err)
	}
}

// once keeps client-go from trying again by itself what has a Retry-After.
type once struct{ http.RoundTripper }

func (o once) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := o.RoundTripper.RoundTrip(r)
	if err == nil {
		response.Header.Del("Retry-After")
	}
	return response, err
}

func TestMatch(t *testing.T) {
	t.Parallel()
	s := kayaktest.New(t, kayaktest.InMemory())
	admin := client(t, s.Config())
	jane := client(t, s.ConfigFor("jane", "system:masters"))
	for name, test := range map[string]struct {
		match   kayaktest.Match
		hit     func(context.Context) error
		through func(context.Context) error
	}{
		"user": {
			kayaktest.Match{User: "jane"},
			func(ctx context.Context) error {
				_, err := jane.CoreV1().Pods("user").List(ctx, metav1.ListOptions{})
				return err
			},
			func(ctx context.Context) error {
				_, err := admin.CoreV1().Pods("user").List(ctx, metav1.ListOptions{})
				return err
			},
		},
		"group": {
			kayaktest.Match{Resource: "deployments.apps"},
			func(ctx context.Context) error {
				_, err := admin.AppsV1().Deployments("group").List(ctx, metav1.ListOptions{})
				return err
			},
			func(ctx context.Context) error {
				_, err := admin.AppsV1().StatefulSets("group").List(ctx, metav1.ListOptions{})
				return err
			},
		},
		"subresource": {
			kayaktest.Match{Resource: "namespaces/status", Name: "default"},
			func(ctx context.Context) error {
				_, err := admin.CoreV1().Namespaces().Patch(ctx, "default", "application/merge-patch+json", []byte("{}"),
					metav1.PatchOptions{}, "status")
				return err
			},
			func(ctx context.Context) error {
				_, err := admin.CoreV1().Namespaces().Patch(ctx, "default", "application/merge-patch+json", []byte("{}"),
					metav1.PatchOptions{})
				return err
			},
		},
		"namespace and function": {
			kayaktest.Match{Namespace: "function", Func: func(r *http.Request) bool { return r.URL.Query().Get("limit") == "7" }},
			func(ctx context.Context) error {
				_, err := admin.CoreV1().Secrets("function").List(ctx, metav1.ListOptions{Limit: 7})
				return err
			},
			func(ctx context.Context) error {
				_, err := admin.CoreV1().Secrets("function").List(ctx, metav1.ListOptions{Limit: 8})
				return err
			},
		},
	} {
		fault := s.Inject(kayaktest.Fault{Match: test.match, Code: http.StatusInternalServerError})
		if err := test.hit(t.Context()); !apierrors.IsInternalError(err) {
			t.Errorf("%s: a request that matches: %v", name, err)
		}
		if err := test.through(t.Context()); err != nil {
			t.Errorf("%s: one that does not: %v", name, err)
		}
		fault.Remove()
		if err := test.hit(t.Context()); err != nil {
			t.Errorf("%s: after the fault: %v", name, err)
		}
	}
}

// Skip lets the first ones through; Until holds up; Wait says when.
func TestSkipAndHoldUp(t *testing.T) {
	t.Parallel()
	s := kayaktest.New(t)
	maps := client(t, s.Config()).CoreV1().ConfigMaps("default")
	gate := make(chan struct{})
	held := s.Inject(kayaktest.Fault{Match: kayaktest.Match{Verb: "create"}, Skip: 1, Times: 1, Until: gate})
	create := func(name string) error {
		_, err := maps.Create(t.Context(), configMap(name), metav1.CreateOptions{})
		return err
	}
	if err := create("first"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- create("second") }()
	if err := held.Wait(deadline(t), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Get(t.Context(), "second", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("what is held up is there: %v", err)
	}
	close(gate)
	if err := <-done; err != nil {
		t.Errorf("after it was let go: %v", err)
	}
	if _, err := maps.Get(t.Context(), "second", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

// A dropped request was not done; one whose answer is dropped was. The client sees the same of both.
func TestDrop(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]kayaktest.Option{"socket": nil, "memory": {kayaktest.InMemory()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := kayaktest.New(t, opts...)
			maps := client(t, s.Config()).CoreV1().ConfigMaps("default")
			create := func(name string) error {
				_, err := maps.Create(t.Context(), configMap(name), metav1.CreateOptions{})
				return err
			}
			var status apierrors.APIStatus
			s.Inject(kayaktest.Fault{Match: kayaktest.Match{Verb: "create"}, Times: 1, Drop: true})
			if err := create("dropped"); err == nil || errors.As(err, &status) {
				t.Errorf("a dropped request: %v", err)
			}
			s.Inject(kayaktest.Fault{Match: kayaktest.Match{Verb: "create"}, Times: 1, DropAnswer: true})
			if err := create("unanswered"); err == nil || errors.As(err, &status) {
				t.Errorf("a dropped answer: %v", err)
			}
			if _, err := maps.Get(t.Context(), "dropped", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("the dropped request was done: %v", err)
			}
			if _, err := maps.Get(t.Context(), "unanswered", metav1.GetOptions{}); err != nil {
				t.Errorf("the unanswered request was not done: %v", err)
			}
		})
	}
}

// A watch that is cut ends in the middle; one that comes back after a compaction is told that it is too late.
func TestCutAndCompact(t *testing.T) {
	t.Parallel()
	s := kayaktest.New(t)
	maps := client(t, s.Config()).CoreV1().ConfigMaps("default")
	list, err := maps.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	old := metav1.ListOptions{ResourceVersion: list.ResourceVersion}
	w, err := maps.Watch(deadline(t), old)
	if err != nil {
		t.Fatal(err)
	}
	other, err := client(t, s.Config()).CoreV1().Secrets("default").Watch(deadline(t), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Stop()
	match := kayaktest.Match{Resource: "configmaps"}
	if n := s.Watches(match); n != 1 {
		t.Errorf("%d watches of ConfigMaps are open, want 1", n)
	}
	if n := s.CutWatches(match); n != 1 {
		t.Errorf("%d watches were cut, want 1", n)
	}
	for range w.ResultChan() { // it ends
	}
	if n := s.Watches(kayaktest.Match{}); n != 1 {
		t.Errorf("%d watches are open, want the other one", n)
	}
	for range 2 {
		if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "m-"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := maps.List(t.Context(), metav1.ListOptions{Limit: 1})
	if err != nil || page.Continue == "" {
		t.Fatalf("a page: continue %q, error %v", page.Continue, err)
	}
	if _, err := maps.Create(t.Context(), configMap("b"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Compact()
	late, err := maps.Watch(deadline(t), old)
	if err == nil {
		event := <-late.ResultChan()
		late.Stop()
		if event.Type != watch.Error {
			t.Fatalf("a watch from before the compaction got %v", event)
		}
		err = apierrors.FromObject(event.Object)
	}
	if !apierrors.IsGone(err) && !apierrors.IsResourceExpired(err) {
		t.Errorf("a watch from before the compaction: %v", err)
	}
	if _, err := maps.List(t.Context(), metav1.ListOptions{Limit: 1, Continue: page.Continue}); !apierrors.IsResourceExpired(err) {
		t.Errorf("a page from before the compaction: %v", err)
	}
	if _, err := maps.List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
}

func TestExpireEvents(t *testing.T) {
	t.Parallel()
	s := kayaktest.New(t)
	events := client(t, s.Config()).CoreV1().Events("default")
	w, err := events.Watch(deadline(t), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: "e"},
		InvolvedObject: corev1.ObjectReference{Namespace: "default", Name: "a", Kind: "Pod"}, Reason: "Tested",
	}
	if _, err := events.Create(t.Context(), event, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := s.ExpireEvents(); n != 1 {
		t.Errorf("%d events expired, want 1", n)
	}
	for _, want := range []watch.EventType{watch.Added, watch.Deleted} {
		if got := <-w.ResultChan(); got.Type != want {
			t.Errorf("the watch says %s, want %s", got.Type, want)
		}
	}
	if _, err := events.Get(t.Context(), "e", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the event: %v", err)
	}
}

// What is held up does not keep a server from stopping.
func TestStopWithRequestsHeldUp(t *testing.T) {
	t.Parallel()
	s := kayaktest.New(t)
	held := s.Inject(kayaktest.Fault{Match: kayaktest.Match{Verb: "get"}, Until: make(chan struct{}), Delay: time.Hour})
	done := make(chan error, 1)
	go func() {
		_, err := client(t, s.Config()).CoreV1().ConfigMaps("default").Get(context.Background(), "a", metav1.GetOptions{})
		done <- err
	}()
	if err := held.Wait(deadline(t), 1); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if err := <-done; err == nil {
		t.Error("there was no error")
	}
}
