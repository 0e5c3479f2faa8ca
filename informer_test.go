package kayak_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/kayak-k8s/kayak"
)

// observer checks what an informer tells its handlers: an object is added once, its versions only grow, and what is deleted
// was there.
type observer struct {
	t  *testing.T
	mu sync.Mutex // guards the following fields
	// versions are the resourceVersions of the objects that are there, by name and uid.
	versions map[string]int64
	events   int
}

func (o *observer) see(what string, obj *corev1.ConfigMap) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events++
	key := obj.Name + "/" + string(obj.UID)
	version, err := strconv.ParseInt(obj.ResourceVersion, 10, 64)
	if err != nil {
		o.t.Errorf("%s %s: %v", what, key, err)
	}
	last, known := o.versions[key]
	switch {
	case what == "add" && known:
		o.t.Errorf("%s was added twice", key)
	case what != "add" && !known:
		o.t.Errorf("%s of %s, which was not there", what, key)
	case what == "update" && version <= last:
		o.t.Errorf("%s went from version %d to %d", key, last, version)
	}
	o.versions[key] = version
	if what == "delete" {
		delete(o.versions, key)
	}
}

func (o *observer) handlers() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { o.see("add", obj.(*corev1.ConfigMap)) },
		UpdateFunc: func(old, obj any) {
			before, after := old.(*corev1.ConfigMap), obj.(*corev1.ConfigMap)
			switch {
			case before.UID != after.UID: // deleted and created again between two lists
				o.see("delete", before)
				o.see("add", after)
			case before.ResourceVersion != after.ResourceVersion: // otherwise it was only listed again
				o.see("update", after)
			}
		},
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			o.see("delete", obj.(*corev1.ConfigMap))
		},
	}
}

// write keeps changing objects until ctx ends. While the server is away it tries again.
func write(ctx context.Context, c kubernetes.Interface, worker int) {
	maps := c.CoreV1().ConfigMaps("default")
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("w%d-%d", worker, i%7)
		current, err := maps.Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			_, _ = maps.Create(ctx, configMap(name), metav1.CreateOptions{})
		case err != nil:
		case i%5 == 0:
			_ = maps.Delete(ctx, name, metav1.DeleteOptions{})
		default:
			current.Data = map[string]string{"i": strconv.Itoa(i)}
			_, _ = maps.Update(ctx, current, metav1.UpdateOptions{})
		}
	}
}

// An informer that lives through a restart of the server misses nothing and is told nothing twice. The history does not
// survive a restart, so a client whose place is gone is told that its version is too old and lists again.
func TestInformerAcrossRestart(t *testing.T) {
	t.Parallel()
	config := kayak.Config{DataDir: t.TempDir(), Port: freePort(t)}
	server := start(t, config)
	c := client(t, server.RESTConfig())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := &observer{t: t, versions: map[string]int64{}}
	informer := informers.NewSharedInformerFactory(c, 0).Core().V1().ConfigMaps().Informer()
	if _, err := informer.AddEventHandler(seen.handlers()); err != nil {
		t.Fatal(err)
	}
	var background, writers sync.WaitGroup
	background.Go(func() { informer.RunWithContext(ctx) })
	writing, stopWriting := context.WithCancel(ctx)
	for worker := range 4 {
		writers.Go(func() { write(writing, c, worker) })
	}
	seen.waitForMore(t, 500)
	stop(t, server)
	start(t, config) // only once: client-go waits longer after each further restart, up to half a minute
	seen.waitForMore(t, 100)
	stopWriting()
	writers.Wait()
	seen.waitForState(t, c)
	cancel()
	background.Wait()
}

// waitForMore waits until that many further events were seen.
func (o *observer) waitForMore(t *testing.T, more int) {
	t.Helper()
	count := func() int {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.events
	}
	from := count()
	poll(t, func(context.Context) (bool, error) { return count() >= from+more, nil })
}

// waitForState waits until what was observed is what the server has.
func (o *observer) waitForState(t *testing.T, c kubernetes.Interface) {
	t.Helper()
	poll(t, func(ctx context.Context) (bool, error) {
		list, err := c.CoreV1().ConfigMaps("").List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, nil
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		if len(list.Items) != len(o.versions) {
			return false, nil
		}
		for _, item := range list.Items {
			if strconv.FormatInt(o.versions[item.Name+"/"+string(item.UID)], 10) != item.ResourceVersion {
				return false, nil
			}
		}
		return true, nil
	})
}

func poll(t *testing.T, condition wait.ConditionWithContextFunc) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, time.Minute, true, condition)
	if err != nil {
		t.Fatal(err)
	}
}

// freePort returns a port that nobody listens on at the moment.
func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// A watch that takes bookmarks learns how far it is before it ends, also when nothing that it looks at has changed.
func TestBookmarkBeforeTheEnd(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, kayak.Config{}).RESTConfig())
	list, err := c.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	created, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	seconds := int64(3)
	w, err := c.CoreV1().Secrets("default").Watch(t.Context(), metav1.ListOptions{
		ResourceVersion: list.ResourceVersion, AllowWatchBookmarks: true, TimeoutSeconds: &seconds,
	})
	if err != nil {
		t.Fatal(err)
	}
	var last string
	for event := range w.ResultChan() {
		if event.Type != watch.Bookmark {
			t.Fatalf("a %s event", event.Type)
		}
		last = event.Object.(*corev1.Secret).ResourceVersion
	}
	if last != created.ResourceVersion {
		t.Fatalf("the last bookmark is at %q; the newest revision is %s", last, created.ResourceVersion)
	}
}

// A watch from a revision whose events are gone is told so, with the status that makes clients list again.
func TestWatchFromTheForgottenPast(t *testing.T) {
	t.Parallel()
	server := start(t, kayak.Config{HistoryBytes: 1})
	maps := client(t, server.RESTConfig()).CoreV1().ConfigMaps("default")
	first, err := maps.Create(t.Context(), configMap("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if _, err := maps.Create(t.Context(), configMap(fmt.Sprint("b", i)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w, err := maps.Watch(t.Context(), metav1.ListOptions{ResourceVersion: first.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	event := <-w.ResultChan()
	if event.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(event.Object)) {
		t.Fatalf("got %s %v", event.Type, event.Object)
	}
}

// gate is a way to a server that can be closed: then connections break and new ones are refused.
type gate struct {
	mu     sync.Mutex // guards the following fields
	closed bool
	open   []net.Conn
}

func (g *gate) dial(ctx context.Context, network, address string) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, syscall.ECONNREFUSED
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, address)
	if err == nil {
		g.open = append(g.open, conn)
	}
	return conn, err
}

func (g *gate) set(closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = closed
	if closed {
		for _, conn := range g.open {
			conn.Close()
		}
		g.open = nil
	}
}

// An informer that was away for longer than the history goes back, which bounds watches as a compaction does, lists again and
// has then seen everything that is still there, and nothing twice.
func TestInformerListsAgain(t *testing.T) {
	t.Parallel()
	server := start(t, kayak.Config{DataDir: t.TempDir(), HistoryBytes: 4 << 10})
	writer := client(t, server.RESTConfig())
	maps := writer.CoreV1().ConfigMaps("default")
	way := &gate{}
	config := server.RESTConfig()
	config.Dial = way.dial
	seen := &observer{t: t, versions: map[string]int64{}}
	informer := informers.NewSharedInformerFactory(client(t, config), 0).Core().V1().ConfigMaps().Informer()
	if _, err := informer.AddEventHandler(seen.handlers()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var background sync.WaitGroup
	background.Go(func() { informer.RunWithContext(ctx) })
	for i := range 10 {
		if _, err := maps.Create(t.Context(), configMap(fmt.Sprint("before-", i)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	seen.waitForState(t, writer)
	last := informer.LastSyncResourceVersion()

	way.set(true)
	for i := range 10 {
		if err := maps.Delete(t.Context(), fmt.Sprint("before-", i), metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		if _, err := maps.Create(t.Context(), configMap(fmt.Sprint("meanwhile-", i)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w, err := maps.Watch(t.Context(), metav1.ListOptions{ResourceVersion: last})
	if err != nil {
		t.Fatal(err)
	}
	if event := <-w.ResultChan(); event.Type != watch.Error {
		t.Fatalf("the informer could go on where it was: a watch from there got %s", event.Type)
	}
	w.Stop()
	way.set(false)
	seen.waitForState(t, writer)
	cancel()
	background.Wait()
}

// A client that asks for much and never reads is gone when its time is over, whether it is a watch or a list.
func TestStalledClientsEnd(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		query, metric, labels string
		counts                []string
	}{
		"watch": {"?watch=1&timeoutSeconds=1", "apiserver_longrunning_requests", `resource="configmaps"`, []string{"1", "0"}},
		// The request for the metrics is itself one of those being served.
		"list": {"?timeout=1s", "apiserver_current_inflight_requests", `request_kind="readOnly"`, []string{"2", "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t, kayak.Config{})
			fill(t, server)
			stalled(t, server, "/api/v1/configmaps"+test.query)
			reader := client(t, server.RESTConfig()).CoreV1().RESTClient()
			for _, count := range test.counts {
				poll(t, func(ctx context.Context) (bool, error) {
					metrics, err := reader.Get().AbsPath("/metrics").DoRaw(ctx)
					return err == nil && gauge(string(metrics), test.metric, test.labels) == count, err
				})
			}
		})
	}
}

// fill stores more than the buffers of a connection take.
func fill(t *testing.T, server *kayak.Server) {
	t.Helper()
	maps := client(t, server.RESTConfig()).CoreV1().ConfigMaps("default")
	for i := range 40 {
		big := configMap(fmt.Sprint("big-", i))
		big.Data["filler"] = strings.Repeat("x", 500<<10)
		if _, err := maps.Create(t.Context(), big, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// stalled sends a request as the administrator and reads nothing of the answer.
func stalled(t *testing.T, server *kayak.Server, path string) {
	t.Helper()
	config := server.RESTConfig()
	certificate, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(server.URL(), "https://"), &tls.Config{
		InsecureSkipVerify: true, Certificates: []tls.Certificate{certificate},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
}

// gauge returns the value of the metric whose labels contain the given one.
func gauge(metrics, name, label string) string {
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, name+"{") && strings.Contains(line, label) {
			return strings.TrimSpace(line[strings.LastIndexByte(line, ' '):])
		}
	}
	return ""
}
