package controller_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kayak-k8s/kayak/examples/controller"
	"github.com/kayak-k8s/kayak/kayaktest"
)

// run runs the controller until the test ends, and returns a client.
func run(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	manager, err := ctrl.NewManager(config, ctrl.Options{Metrics: metricsserver.Options{BindAddress: "0"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := (&controller.Copier{Client: manager.GetClient()}).SetupWithManager(manager); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the manager ended with: %v", err)
		}
	})
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// eventually waits until something is as it ought to be.
func eventually(t *testing.T, what string, is func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = is(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

type unexpected string

func (u unexpected) Error() string { return string(u) }

func namespace(t *testing.T, c client.Client, name string) {
	t.Helper()
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
		t.Fatal(err)
	}
}

func source(to ...string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "settings", Annotations: map[string]string{controller.CopyTo: strings.Join(to, ",")},
		},
		Data: map[string]string{"color": "blue"},
	}
}

// has says whether a namespace has a copy with this color; "" for no copy.
func has(t *testing.T, c client.Client, namespace, color string) func() error {
	return func() error {
		var m corev1.ConfigMap
		err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "settings"}, &m)
		switch {
		case color == "" && apierrors.IsNotFound(err):
			return nil
		case color == "" && err == nil:
			return unexpected("there still is a copy")
		case err == nil && m.Data["color"] != color:
			return unexpected("the copy is " + m.Data["color"])
		}
		return err
	}
}

// lifecycle is the whole life of an original.
func lifecycle(t *testing.T, config *rest.Config) {
	c := run(t, config)
	namespace(t, c, "one")
	namespace(t, c, "two")
	m := source("one", "two", "there-is-none")
	if err := c.Create(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first copy", has(t, c, "one", "blue"))
	eventually(t, "the second copy", has(t, c, "two", "blue"))

	change(t, c, func(m *corev1.ConfigMap) { m.Data["color"] = "red" })
	eventually(t, "the first copy, changed", has(t, c, "one", "red"))

	change(t, c, func(m *corev1.ConfigMap) { m.Annotations[controller.CopyTo] = "two" })
	eventually(t, "the first copy, no longer wanted", has(t, c, "one", ""))

	if err := c.Delete(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second copy, of what is deleted", has(t, c, "two", ""))
	eventually(t, "the original, deleted", has(t, c, "default", ""))
}

// change changes the original, again when the controller was faster.
func change(t *testing.T, c client.Client, how func(*corev1.ConfigMap)) {
	t.Helper()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		var m corev1.ConfigMap
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "settings"}, &m); err != nil {
			return err
		}
		how(&m)
		return c.Update(t.Context(), &m)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLifecycle(t *testing.T) {
	t.Parallel()
	lifecycle(t, kayaktest.Start(t))
}

// The same without a socket.
func TestLifecycleInMemory(t *testing.T) {
	t.Parallel()
	lifecycle(t, kayaktest.Start(t, kayaktest.InMemory()))
}

// Conflicts and servers that are overloaded do not stop the controller: what envtest cannot show and fakes only pretend.
func TestFaults(t *testing.T) {
	t.Parallel()
	s := kayaktest.New(t)
	refused := s.Inject(kayaktest.Fault{
		Match: kayaktest.Match{Verb: "create", Resource: "configmaps", Namespace: "one"}, Times: 3, Code: http.StatusServiceUnavailable,
	})
	conflict := s.Inject(kayaktest.Fault{
		Match: kayaktest.Match{Verb: "update", Resource: "configmaps", Namespace: "default"}, Times: 1, Code: http.StatusConflict,
	})
	c := run(t, s.Config())
	namespace(t, c, "one")
	if err := c.Create(t.Context(), source("one")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the copy", has(t, c, "one", "blue"))
	if refused.Hits() != 3 || conflict.Hits() != 1 {
		t.Errorf("%d creates were refused, want 3; %d updates were in conflict, want 1", refused.Hits(), conflict.Hits())
	}
}

// A controller whose watches break, and who comes back when the history is gone, misses nothing.
func TestWatchesBreak(t *testing.T) {
	t.Parallel()
	s := kayaktest.New(t)
	c := run(t, s.Config())
	namespace(t, c, "one")
	if err := c.Create(t.Context(), source("one")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the copy", has(t, c, "one", "blue"))
	watches := kayaktest.Match{Verb: "watch", Resource: "configmaps"}
	away := s.Inject(kayaktest.Fault{Match: watches, Times: 1, Code: http.StatusServiceUnavailable})
	if s.CutWatches(watches) == 0 {
		t.Fatal("there was no watch to cut")
	}
	change(t, c, func(m *corev1.ConfigMap) { m.Data["color"] = "red" })
	s.Compact()
	eventually(t, "the copy, changed", has(t, c, "one", "red"))
	if away.Hits() != 1 {
		t.Errorf("the controller came back %d times while it was refused, want once", away.Hits())
	}
}
