package kayaktest_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kayak-k8s/kayak"
	"github.com/kayak-k8s/kayak/kayaktest"
)

// TestMain finds what the tests have left running.
func TestMain(m *testing.M) {
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1")); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func client(t testing.TB, config *rest.Config) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// deadline bounds what must happen, generously.
func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func configMap(name string, data ...string) *corev1.ConfigMap {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{}}
	for _, d := range data {
		key, value, _ := strings.Cut(d, "=")
		m.Data[key] = value
	}
	return m
}

func TestStart(t *testing.T) {
	t.Parallel()
	c := client(t, kayaktest.Start(t))
	if _, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().ConfigMaps("default").Get(t.Context(), "a", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
}

// Thirty-two servers at once, each of which sees its own objects only.
func TestManyServers(t *testing.T) {
	t.Parallel()
	for i := range 32 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			var opts []kayaktest.Option
			if i%2 == 1 {
				opts = append(opts, kayaktest.InMemory())
			}
			maps := client(t, kayaktest.Start(t, opts...)).CoreV1().ConfigMaps("default")
			if _, err := maps.Create(t.Context(), configMap(fmt.Sprint("map-", i)), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			list, err := maps.List(t.Context(), metav1.ListOptions{LabelSelector: "!kubernetes.io/description"})
			if err != nil {
				t.Fatal(err)
			}
			var others []string
			for _, m := range list.Items {
				if m.Name != fmt.Sprint("map-", i) && strings.HasPrefix(m.Name, "map-") {
					others = append(others, m.Name)
				}
			}
			if len(others) > 0 {
				t.Errorf("there are objects of other servers: %v", others)
			}
		})
	}
}

// What a test has started is gone when it ends: goroutines, the port, and clients in the middle of a watch.
func TestNothingIsLeft(t *testing.T) {
	var url string
	ended := make(chan struct{})
	before := goleak.IgnoreCurrent()
	t.Run("server", func(t *testing.T) {
		s := kayaktest.New(t, kayaktest.With(func(c *kayak.Config) {
			c.Audit.Policy = &auditv1.Policy{Rules: []auditv1.PolicyRule{{Level: auditv1.LevelMetadata}}}
			c.Audit.Log = kayak.AuditLogConfig{Path: filepath.Join(t.TempDir(), "audit.log"), MaxSize: 1, MaxBackups: 1, Mode: "batch"}
		}))
		url = s.URL()
		watch, err := client(t, s.Config()).CoreV1().Pods("").Watch(deadline(t), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer close(ended)
			for range watch.ResultChan() {
			}
		}()
	})
	<-ended
	if _, err := http.Get(url); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("the port still answers: %v", err)
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]kayaktest.Option{"socket": nil, "memory": {kayaktest.InMemory()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := kayaktest.New(t, opts...)
			info := whoAmI(t, s.ConfigFor("jane", "developers"))
			if info.Username != "jane" || fmt.Sprint(info.Groups) != "[developers system:authenticated]" {
				t.Errorf("jane is %+v", info)
			}
			if info := whoAmI(t, s.Config()); info.Username != "kubernetes-admin" || info.Groups[0] != "system:masters" {
				t.Errorf("the administrator is %+v", info)
			}
		})
	}
}

// Users may what roles let them, unless all may everything.
func TestAuthorization(t *testing.T) {
	t.Parallel()
	read := func(opts ...kayaktest.Option) error {
		_, err := client(t, kayaktest.New(t, opts...).ConfigFor("jane")).CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{})
		return err
	}
	if err := read(); !apierrors.IsForbidden(err) {
		t.Errorf("with roles: %v", err)
	}
	if err := read(kayaktest.Authorization("AlwaysAllow")); err != nil {
		t.Errorf("with AlwaysAllow: %v", err)
	}
}

// A namespace that is deleted ends, unless the controller that ends it is off.
func TestControllers(t *testing.T) {
	t.Parallel()
	remove := func(opts ...kayaktest.Option) kubernetes.Interface {
		t.Helper()
		s := kayaktest.New(t, opts...)
		c := client(t, s.Config())
		if _, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := c.CoreV1().Namespaces().Delete(t.Context(), "team", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := remove()
	w, err := c.CoreV1().Namespaces().Watch(deadline(t), metav1.ListOptions{FieldSelector: "metadata.name=team", ResourceVersion: "0"})
	if err != nil {
		t.Fatal(err)
	}
	for {
		_, err := c.CoreV1().Namespaces().Get(t.Context(), "team", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			break
		}
		if _, ok := <-w.ResultChan(); !ok {
			t.Fatal("the namespace does not end")
		}
	}
	w.Stop()

	c = remove(kayaktest.Controllers("*", "-namespace-controller"))
	team, err := c.CoreV1().Namespaces().Get(t.Context(), "team", metav1.GetOptions{})
	if err != nil || team.Status.Phase != corev1.NamespaceTerminating {
		t.Errorf("without the controller the namespace is %q, error %v", team.Status.Phase, err)
	}
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	first := kayaktest.New(t)
	maps := client(t, first.Config()).CoreV1().ConfigMaps("default")
	saved, err := maps.Create(t.Context(), configMap("saved"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	snapshot := first.Snapshot()
	if _, err := maps.Create(t.Context(), configMap("later"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	jane := first.ConfigFor("jane", "system:masters")
	first.Stop()

	for i := range 2 {
		s := kayaktest.New(t, kayaktest.FromSnapshot(snapshot))
		jane.Host = s.Config().Host // her certificate is good here, too
		maps := client(t, jane).CoreV1().ConfigMaps("default")
		m, err := maps.Get(t.Context(), "saved", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if m.UID != saved.UID || m.ResourceVersion != saved.ResourceVersion {
			t.Errorf("saved as %s at %s, is %s at %s", saved.UID, saved.ResourceVersion, m.UID, m.ResourceVersion)
		}
		if _, err := maps.Get(t.Context(), "later", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("what was written after the snapshot: %v", err)
		}
		if _, err := maps.Create(t.Context(), configMap(fmt.Sprint("new-", i)), metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
		if _, err := maps.Get(t.Context(), fmt.Sprint("new-", 1-i), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("what another server from the snapshot has: %v", err)
		}
	}
}

func whoAmI(t testing.TB, config *rest.Config) authenticationv1.UserInfo {
	t.Helper()
	review, err := client(t, config).AuthenticationV1().SelfSubjectReviews().Create(t.Context(),
		&authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status.UserInfo
}
