package kayak_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/kayak-k8s/kayak"
)

// start runs a server until the test ends. Unless config says which, no controllers run in it: tests count what there is. Then there
// are no ServiceAccounts, and pods need none, unless config says which admission plugins there are.
func start(t testing.TB, config kayak.Config) *kayak.Server {
	t.Helper()
	if config.Controllers == nil {
		config.Controllers = []string{}
		if a := config.Admission; a.Enable == nil && a.Disable == nil && a.Only == nil {
			config.Admission.Disable = []string{"ServiceAccount"}
		}
	}
	server, err := kayak.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, server) })
	return server
}

func stop(t testing.TB, server *kayak.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func client(t testing.TB, config *rest.Config) kubernetes.Interface {
	t.Helper()
	config = rest.CopyConfig(config)
	config.QPS = -1
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"key": "value"}}
}

// eachStore runs a test against a server in memory and one with an embedded etcd.
func eachStore(t *testing.T, test func(t *testing.T, server *kayak.Server)) {
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		test(t, start(t, kayak.Config{RequestTimeout: patience}))
	})
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, start(t, kayak.Config{DataDir: t.TempDir(), RequestTimeout: patience}))
	})
}

// patience bounds requests in tests that ask for more at a time than a busy machine answers within the default.
const patience = 10 * time.Minute

func TestCreateReadUpdateDelete(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, server *kayak.Server) {
		ctx := t.Context()
		maps := client(t, server.RESTConfig()).CoreV1().ConfigMaps("default")
		created, err := maps.Create(ctx, configMap("a"), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if created.UID == "" || created.ResourceVersion == "" || created.CreationTimestamp.IsZero() {
			t.Fatalf("a new object lacks what every object has: %+v", created.ObjectMeta)
		}
		if _, err := maps.Create(ctx, configMap("a"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
			t.Fatalf("creating it again: %v", err)
		}
		updated := created.DeepCopy()
		updated.Data["key"] = "other"
		updated, err = maps.Update(ctx, updated, metav1.UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if updated.ResourceVersion == created.ResourceVersion {
			t.Fatal("an update left the resourceVersion as it was")
		}
		if _, err := maps.Update(ctx, created, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
			t.Fatalf("an update of what has changed: %v", err)
		}
		if err := maps.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := maps.Get(ctx, "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Fatalf("after the delete: %v", err)
		}
	})
}

// Increments by many writers, each of which retries on conflict, must all be there in the end.
func TestNoLostUpdate(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, server *kayak.Server) {
		const writers, increments = 20, 25
		maps := client(t, server.RESTConfig()).CoreV1().ConfigMaps("default")
		if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "counter"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range increments {
					if err := appendKey(t.Context(), maps, fmt.Sprintf("%d.%d", w, i)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		counter, err := maps.Get(t.Context(), "counter", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(counter.Data) != writers*increments {
			t.Fatalf("%d of %d writes are there", len(counter.Data), writers*increments)
		}
	})
}

func appendKey(ctx context.Context, maps typedcorev1.ConfigMapInterface, key string) error {
	for {
		current, err := maps.Get(ctx, "counter", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if current.Data == nil {
			current.Data = map[string]string{}
		}
		current.Data[key] = ""
		_, err = maps.Update(ctx, current, metav1.UpdateOptions{})
		if !apierrors.IsConflict(err) {
			return err
		}
	}
}

// Stopping with open watches ends them, takes no longer than it has to, and loses nothing that was acknowledged.
func TestStopWithOpenWatches(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, err := kayak.New(kayak.Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := client(t, server.RESTConfig())
	var watches []watch.Interface
	for range 20 {
		w, err := c.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		watches = append(watches, w)
	}
	if _, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	stop(t, server)
	for _, w := range watches {
		sawAdded := false
		for event := range w.ResultChan() { // closed by the end of the stream
			sawAdded = sawAdded || event.Type == watch.Added
			if event.Type == watch.Error {
				t.Errorf("a watch ended with an error: %v", event.Object)
			}
		}
		if !sawAdded {
			t.Error("a watch ended without the event of an acknowledged write")
		}
	}
	again := start(t, kayak.Config{DataDir: dir})
	if _, err := client(t, again.RESTConfig()).CoreV1().ConfigMaps("default").Get(t.Context(), "a", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestPlainHTTPOnTheTLSPort(t *testing.T) {
	t.Parallel()
	server := start(t, kayak.Config{})
	response, err := http.Get("http" + strings.TrimPrefix(server.URL(), "https") + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusBadRequest || string(body) != "Client sent an HTTP request to an HTTPS server.\n" {
		t.Fatalf("%d %q", response.StatusCode, body)
	}
}

func TestAnonymousMayNot(t *testing.T) {
	t.Parallel()
	server := start(t, kayak.Config{})
	config := rest.AnonymousClientConfig(server.RESTConfig())
	_, err := client(t, config).CoreV1().Pods("kube-system").List(t.Context(), metav1.ListOptions{})
	const want = `pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "kube-system"`
	if !apierrors.IsForbidden(err) || err.Error() != want {
		t.Fatalf("got  %v\nwant %s", err, want)
	}
}

// A certificate of another authority is a bad credential: it is refused, not taken for no credential.
func TestForeignCertificate(t *testing.T) {
	t.Parallel()
	server, other := start(t, kayak.Config{}), start(t, kayak.Config{})
	config := server.RESTConfig()
	config.CertData, config.KeyData = other.RESTConfig().CertData, other.RESTConfig().KeyData
	_, err := client(t, config).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsUnauthorized(err) {
		t.Fatalf("got %v", err)
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	server, err := kayak.New(kayak.Config{Port: listener.Addr().(*net.TCPAddr).Port})
	if err != nil {
		t.Fatal(err)
	}
	err = server.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "address already in use") || strings.Contains(err.Error(), "\n") {
		t.Fatalf("got %v", err)
	}
}

// Many servers live in one process and know nothing of each other.
func TestManyServers(t *testing.T) {
	t.Parallel()
	var servers []*kayak.Server
	for range 8 {
		servers = append(servers, start(t, kayak.Config{}))
	}
	for i, server := range servers {
		maps := client(t, server.RESTConfig()).CoreV1().ConfigMaps("default")
		if _, err := maps.Create(t.Context(), configMap(fmt.Sprint("only-", i)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for i, server := range servers {
		list, err := client(t, server.RESTConfig()).CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != 1 || list.Items[0].Name != fmt.Sprint("only-", i) {
			t.Fatalf("server %d has %v", i, list.Items)
		}
	}
}

// Whoever is told that a start failed has nothing to clean up.
func TestStartCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	server, err := kayak.New(kayak.Config{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}
