package kayak_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kayak-k8s/kayak"
	"github.com/kayak-k8s/kayak/internal/store/embedded"
)

// etcd is an etcd that several servers share. It can go away and come back.
type etcd struct {
	t     *testing.T
	dir   string
	store *embedded.Store
}

func startEtcd(t *testing.T) *etcd {
	t.Helper()
	dir, err := os.MkdirTemp("", "etcd") // short: the path of a socket has to be
	if err != nil {
		t.Fatal(err)
	}
	e := &etcd{t: t, dir: dir}
	t.Cleanup(func() {
		e.stop()
		os.RemoveAll(dir)
	})
	e.start()
	return e
}

func (e *etcd) start() {
	e.t.Helper()
	store, err := embedded.Open(context.Background(), embedded.Options{Dir: e.dir})
	if err != nil {
		e.t.Fatal(err)
	}
	e.store = store
}

func (e *etcd) stop() {
	if e.store != nil {
		if err := e.store.Close(); err != nil {
			e.t.Error(err)
		}
		e.store = nil
	}
}

func (e *etcd) config() kayak.Config {
	return kayak.Config{Etcd: kayak.EtcdConfig{Servers: []string{"unix://" + filepath.Join(e.dir, "etcd.sock")}}}
}

// What one server has acknowledged, every later read of the other sees.
func TestReadYourWritesAcrossServers(t *testing.T) {
	t.Parallel()
	shared := startEtcd(t)
	a := client(t, start(t, shared.config()).RESTConfig())
	b := client(t, start(t, shared.config()).RESTConfig())
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 25 {
				writer, reader := a, b
				if i%2 == 1 {
					writer, reader = b, a
				}
				name := fmt.Sprintf("w%d-%d", w, i)
				created, err := writer.CoreV1().ConfigMaps("default").Create(t.Context(), configMap(name), metav1.CreateOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				read, err := reader.CoreV1().ConfigMaps("default").Get(t.Context(), name, metav1.GetOptions{})
				if err != nil || read.ResourceVersion != created.ResourceVersion {
					t.Errorf("%s was acknowledged at %s; the other server has %v, %v", name, created.ResourceVersion, read, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// readyz returns what the server says of its readiness.
func readyz(t *testing.T, server *kayak.Server) (int, string) {
	t.Helper()
	anonymous := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	}}
	response, err := anonymous.Get(server.URL() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// While etcd is away the server says that it is not ready, serves what it has to those who take that, and neither makes up
// answers nor acknowledges writes. When etcd is back it goes on; watches have missed nothing.
func TestEtcdGoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	shared := startEtcd(t)
	server := start(t, shared.config())
	maps := client(t, server.RESTConfig()).CoreV1().ConfigMaps("default")
	created, err := maps.Create(t.Context(), configMap("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := maps.Watch(t.Context(), metav1.ListOptions{ResourceVersion: created.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	// A consistent read: from now on the object is at hand. An acknowledged write alone may still be on its way from etcd.
	if _, err := maps.Get(t.Context(), "a", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}

	shared.stop()
	poll(t, func(context.Context) (bool, error) {
		code, body := readyz(t, server)
		return code == http.StatusInternalServerError && strings.Contains(body, "[-]etcd-readiness failed"), nil
	})
	if _, err := maps.Get(t.Context(), "a", metav1.GetOptions{ResourceVersion: "0"}); err != nil {
		t.Errorf("a read of anything at hand: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3e9)
	defer cancel()
	if got, err := maps.Get(ctx, "a", metav1.GetOptions{}); err == nil {
		t.Errorf("a consistent read, without anybody to ask, got %v", got)
	}
	if _, err := maps.Create(ctx, configMap("lost"), metav1.CreateOptions{}); err == nil {
		t.Error("a write was acknowledged")
	} else if !apierrors.IsServerTimeout(err) && !apierrors.IsTimeout(err) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write failed with %v", err)
	}

	shared.start()
	poll(t, func(context.Context) (bool, error) {
		code, _ := readyz(t, server)
		return code == http.StatusOK, nil
	})
	if _, err := maps.Create(t.Context(), configMap("b"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for event := range w.ResultChan() {
		object, ok := event.Object.(*corev1.ConfigMap)
		if !ok || event.Type != watch.Added {
			t.Fatalf("the watch got %s %v", event.Type, event.Object)
		}
		if object.Name == "b" {
			break // "lost" may have been written after all; its client was not told that it was
		}
		if object.Name != "lost" {
			t.Fatalf("the watch got %s", object.Name)
		}
	}
}

// A full database refuses writes with a clear error, still serves reads and deletes, and takes writes again when compaction
// has freed space.
func TestDatabaseFull(t *testing.T) {
	t.Parallel()
	server := start(t, kayak.Config{DataDir: t.TempDir(), QuotaBytes: 4 << 20, CompactionInterval: 200e6})
	maps := client(t, server.RESTConfig()).CoreV1().ConfigMaps("default")
	big := func(i int) *corev1.ConfigMap {
		c := configMap(fmt.Sprint("big-", i))
		c.Data["filler"] = strings.Repeat("x", 200<<10)
		return c
	}
	var err error
	n := 0
	for err == nil && n < 100 {
		if _, err = maps.Create(t.Context(), big(n), metav1.CreateOptions{}); err == nil {
			n++
		}
	}
	if err == nil || !strings.Contains(err.Error(), "database space exceeded") {
		t.Fatalf("after %d objects: %v", n, err)
	}
	list, err := maps.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range list.Items {
		if err := maps.Delete(t.Context(), item.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	poll(t, func(ctx context.Context) (bool, error) {
		_, err := maps.Create(ctx, configMap("again"), metav1.CreateOptions{})
		return err == nil, nil
	})
}
