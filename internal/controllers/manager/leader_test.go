package manager_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes"

	"github.com/kayak-k8s/kayak"
	"github.com/kayak-k8s/kayak/internal/store/embedded"
)

// member is one of the servers that share an etcd. It counts what its controllers write.
type member struct {
	*cluster
	server *kayak.Server
	writes atomic.Int64
}

func (m *member) stop() {
	m.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := m.server.Stop(ctx); err != nil {
		m.Error(err)
	}
}

// count is the server's middleware: controllers of a server ask that server.
func (m *member) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, _ := genericrequest.UserFrom(r.Context())
		if u != nil && strings.HasPrefix(u.GetName(), "system:serviceaccount:kube-system:") && r.Method != http.MethodGet {
			m.writes.Add(1)
		}
		next.ServeHTTP(w, r)
	})
}

func join(t *testing.T, etcd string) *member {
	t.Helper()
	m := &member{}
	server, err := kayak.New(kayak.Config{Etcd: kayak.EtcdConfig{Servers: []string{etcd}}, Middleware: m.count})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.server = server
	config := server.ConfigFor("admin", "system:masters", "system:authenticated")
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	m.cluster = &cluster{t, client, t.Context(), config}
	t.Cleanup(m.stop)
	return m
}

// settles waits until a namespace has what controllers make in it.
func (m *member) settles(namespace string) {
	m.Helper()
	m.namespace(namespace)
	for _, what := range []struct {
		name string
		get  func() error
	}{
		{"ServiceAccount default", func() error {
			_, err := m.CoreV1().ServiceAccounts(namespace).Get(m.ctx, "default", metav1.GetOptions{})
			return err
		}},
		{"ConfigMap kube-root-ca.crt", func() error {
			_, err := m.CoreV1().ConfigMaps(namespace).Get(m.ctx, "kube-root-ca.crt", metav1.GetOptions{})
			return err
		}},
	} {
		m.await(what.name+" in "+namespace, what.get)
	}
}

func (m *member) holder() string {
	m.Helper()
	lease, err := m.CoordinationV1().Leases("kube-system").Get(m.ctx, "kayak-controllers", metav1.GetOptions{})
	m.must(err)
	return *lease.Spec.HolderIdentity
}

// Of the servers that share an etcd one runs the controllers. When it stops, another one does, at once: the lease that it has let
// go of need not expire.
func TestOneServerRunsTheControllers(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "etcd") // short: the path of a socket has to be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	etcd, err := embedded.Open(t.Context(), embedded.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = etcd.Close() })
	address := "unix://" + filepath.Join(dir, "etcd.sock")
	a, b := join(t, address), join(t, address)
	for i := range 3 {
		a.settles(fmt.Sprint("a-", i))
		b.settles(fmt.Sprint("b-", i))
	}
	leader, other := a, b
	if b.writes.Load() > 0 {
		leader, other = b, a
	}
	if other.writes.Load() > 0 || leader.writes.Load() == 0 {
		t.Fatalf("the controllers of one server have written %d times, of the other %d times", leader.writes.Load(), other.writes.Load())
	}
	first := leader.holder()
	began := time.Now()
	leader.stop()
	written := leader.writes.Load()
	other.settles("c")
	if took := time.Since(began); took > 10*time.Second { // the lease would have lasted 15
		t.Errorf("it took %v until the other took over", took)
	}
	if second := other.holder(); second == first {
		t.Errorf("the lease is still %s's", second)
	}
	if leader.writes.Load() != written || other.writes.Load() == 0 {
		t.Errorf("after the end %d, of the other %d", leader.writes.Load()-written, other.writes.Load())
	}
	other.must(other.CoreV1().Namespaces().Delete(t.Context(), "a-0", metav1.DeleteOptions{}))
	other.await("a namespace goes", func() error {
		_, err := other.CoreV1().Namespaces().Get(t.Context(), "a-0", metav1.GetOptions{})
		return gone(err)
	})
}
