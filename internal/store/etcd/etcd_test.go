package etcd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/embedded"
	"github.com/kayak-k8s/kayak/internal/store/etcd"
	"github.com/kayak-k8s/kayak/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func tempDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "kayak")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// server starts an etcd and returns its address.
func server(t testing.TB, dir string, quota int64) (*embedded.Store, string) {
	t.Helper()
	s, err := embedded.Open(context.Background(), embedded.Options{Dir: dir, QuotaBytes: quota})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, "unix://" + filepath.Join(dir, embedded.SocketName)
}

func open(t testing.TB, servers ...string) *etcd.Store {
	t.Helper()
	s, err := etcd.Open(t.Context(), etcd.Options{Servers: servers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	var mu sync.Mutex
	addresses := map[store.Store]string{}
	storetest.Run(t, func(t *testing.T) store.Store {
		_, address := server(t, tempDir(t), 0)
		s := open(t, address)
		mu.Lock()
		defer mu.Unlock()
		addresses[s] = address
		return s
	}, storetest.Options{Txn: func(t *testing.T, s store.Store, changes map[string][]byte) int64 {
		mu.Lock()
		defer mu.Unlock()
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{addresses[s]}, Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var ops []clientv3.Op
		for key, value := range changes {
			if value == nil {
				ops = append(ops, clientv3.OpDelete(key))
			} else {
				ops = append(ops, clientv3.OpPut(key, string(value)))
			}
		}
		resp, err := c.Txn(t.Context()).Then(ops...).Commit()
		if err != nil {
			t.Fatal(err)
		}
		return resp.Header.Revision
	}})
}

func TestNoServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + l.Addr().String()
	l.Close()
	s := open(t, address)
	if _, err := s.Put(t.Context(), "/a", []byte("v"), 0, store.PutOptions{}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Put: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Revision(ctx); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Revision: %v", err)
	}
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	noCertificate := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(noCertificate, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, opts := range []etcd.Options{
		{},
		{Servers: []string{"https://127.0.0.1:1"}, CAFile: noCertificate},
		{Servers: []string{"https://127.0.0.1:1"}, CAFile: noCertificate + "-missing"},
		{Servers: []string{"https://127.0.0.1:1"}, CertFile: noCertificate},
		{Servers: []string{"https://127.0.0.1:1"}, CertFile: noCertificate, KeyFile: noCertificate},
	} {
		if s, err := etcd.Open(t.Context(), opts); err == nil {
			s.Close()
			t.Errorf("Open(%+v) succeeded", opts)
		}
	}
}

// Answers beyond gRPC's usual limit of 4 MiB are read.
func TestLargePage(t *testing.T) {
	t.Parallel()
	direct, address := server(t, tempDir(t), 0)
	value := make([]byte, 1<<20)
	for i := range 6 {
		if _, err := direct.Put(t.Context(), fmt.Sprintf("/l/%d", i), value, 0, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := open(t, address).Range(t.Context(), store.RangeOptions{Prefix: "/l/"})
	if err != nil || len(page.KVs) != 6 {
		t.Errorf("Range: %d keys, %v", len(page.KVs), err)
	}
}

func TestNoSpace(t *testing.T) {
	t.Parallel()
	const quota = 24 << 20
	cluster, address := server(t, tempDir(t), quota)
	s := open(t, address)
	value := make([]byte, 256<<10)
	var rev int64
	var err error
	for range 4 * quota / len(value) {
		var next int64
		if next, err = s.Put(t.Context(), "/big", value, rev, store.PutOptions{}); err != nil {
			break
		}
		rev = next
	}
	if !errors.Is(err, store.ErrNoSpace) {
		t.Fatalf("Put when full: %v", err)
	}
	if _, err := s.Put(t.Context(), "/ttl", nil, 0, store.PutOptions{TTLSeconds: 60}); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("Put with TTL when full: %v", err)
	}
	// The write that met the end of the space may have happened (see store.ErrNoSpace), so its revision is asked for.
	kv, err := s.Get(t.Context(), "/big")
	if err != nil {
		t.Fatal(err)
	}
	rev = kv.Revision
	status, err := s.Status(t.Context()) // a write is refused that would not fit, so the size may be that much less than the quota
	if err != nil || status.QuotaBytes != quota || status.SizeBytes < quota-2*int64(len(value)) {
		t.Errorf("Status: %+v, %v", status, err)
	}
	if _, err := s.Delete(t.Context(), "/big", rev); err != nil {
		t.Errorf("Delete when full: %v", err)
	}
	if err := cluster.Compact(t.Context(), rev+1); err != nil {
		t.Error(err)
	}
	if _, err := s.Put(t.Context(), "/big", value, 0, store.PutOptions{}); err != nil {
		t.Errorf("Put after space was reclaimed: %v", err)
	}
}

// newCertificate writes a certificate for 127.0.0.1 that is its own authority, with its key.
func newCertificate(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyBytes, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: keyBytes},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	serverCert, serverKey := newCertificate(t, dir, "server")
	clientCert, clientKey := newCertificate(t, dir, "client")
	pair, err := tls.LoadX509KeyPair(serverCert, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	clientPEM, err := os.ReadFile(clientCert)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(clientPEM)
	_, address := server(t, filepath.Join(dir, "etcd"), 0)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	url := "https://" + startProxy(t, l, address[len("unix://"):]).Addr().String()
	for _, test := range []struct {
		name string
		opts etcd.Options
		want error
	}{
		{"trusted", etcd.Options{CAFile: serverCert, CertFile: clientCert, KeyFile: clientKey}, nil},
		{"server not trusted", etcd.Options{CAFile: clientCert, CertFile: clientCert, KeyFile: clientKey}, store.ErrUnavailable},
		{"client not trusted", etcd.Options{CAFile: serverCert, CertFile: serverCert, KeyFile: serverKey}, store.ErrUnavailable},
		{"no client certificate", etcd.Options{CAFile: serverCert}, store.ErrUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.opts.Servers = []string{url}
			s, err := etcd.Open(t.Context(), test.opts)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := s.Put(t.Context(), "/a", []byte("v"), 0, store.PutOptions{}); !errors.Is(err, test.want) {
				t.Errorf("Put: %v, want %v", err, test.want)
			}
		})
	}
}

// A watch goes on after the connection was lost, again and again while changes are made, without losing or repeating one.
func TestWatchSurvivesLostConnections(t *testing.T) {
	t.Parallel()
	direct, address := server(t, tempDir(t), 0)
	proxy := newProxy(t, address[len("unix://"):])
	s := open(t, "http://"+proxy.Addr().String())
	const changes = 400
	first, err := s.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
	defer cancel()
	enough := errors.New("enough")
	var got []int64
	ended := make(chan error, 1)
	progress := make(chan int64, changes)
	go func() {
		ended <- s.Watch(ctx, "/w/", first+1, func(b store.Batch) error {
			for _, e := range b.Events {
				got = append(got, e.Revision)
			}
			progress <- b.Revision
			if len(got) >= changes {
				return enough
			}
			return nil
		})
	}()
	var rev int64
	for i := range changes {
		if rev, err = direct.Put(t.Context(), "/w/a", fmt.Appendf(nil, "%d", i), rev, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if i%100 == 50 {
			// Cut the connection when the watch is under way, somewhere among these changes.
			select {
			case <-progress:
			case <-ctx.Done():
				t.Fatal(ctx.Err())
			}
			proxy.cut()
		}
	}
	if err := <-ended; !errors.Is(err, enough) {
		t.Fatalf("Watch: %v after %d events", err, len(got))
	}
	for i, rev := range got {
		if rev != first+1+int64(i) {
			t.Fatalf("event %d has revision %d, want %d", i, rev, first+1+int64(i))
		}
	}
	if proxy.cuts() == 0 {
		t.Error("no connection was cut")
	}
}

// proxy passes connections on to a unix socket until they are cut.
type proxy struct {
	net.Listener
	target string
	mu     sync.Mutex
	conns  []net.Conn
	broken int
	wg     sync.WaitGroup
}

func newProxy(t *testing.T, target string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startProxy(t, l, target)
}

func startProxy(t *testing.T, l net.Listener, target string) *proxy {
	p := &proxy{Listener: l, target: target}
	p.wg.Go(p.accept)
	t.Cleanup(func() { l.Close(); p.cut(); p.wg.Wait() })
	return p
}

func (p *proxy) accept() {
	for {
		in, err := p.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("unix", p.target)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, in, out)
		p.mu.Unlock()
		p.wg.Go(func() { pipe(in, out) })
		p.wg.Go(func() { pipe(out, in) })
	}
}

func pipe(dst, src net.Conn) {
	defer dst.Close()
	buffer := make([]byte, 4096)
	for {
		n, err := src.Read(buffer)
		if n > 0 {
			if _, err := dst.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
		p.broken++
	}
	p.conns = nil
}

func (p *proxy) cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.broken
}
