package kayak_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/kayak-k8s/kayak"
)

// soak is a load on two servers that share an etcd and are restarted in turn: writers that count objects up as fast as they
// can, and watchers who must see every number.
type soak struct {
	t       *testing.T
	servers [2]atomic.Pointer[running]
	// counts is how far each object is, as its writer was told.
	counts []atomic.Int64
	// events, resumed and relisted count what watchers have got, how often one went on where another watch had ended, and how
	// often its place was gone.
	events, resumed, relisted atomic.Int64
}

type running struct {
	server *kayak.Server
	maps   typedcorev1.ConfigMapInterface
}

func (s *soak) boot(i int, config kayak.Config) {
	server := start(s.t, config)
	s.servers[i].Store(&running{server, client(s.t, server.RESTConfig()).CoreV1().ConfigMaps("default")})
}

func (s *soak) maps(i int) typedcorev1.ConfigMapInterface {
	return s.servers[i%len(s.servers)].Load().maps
}

// TestSoak is short by default. KAYAK_SOAK=3m makes it that long, with 1000 watchers.
func TestSoak(t *testing.T) {
	t.Parallel()
	length, watchers, writers := 3*time.Second, 100, 4
	if long := os.Getenv("KAYAK_SOAK"); long != "" {
		var err error
		if length, err = time.ParseDuration(long); err != nil {
			t.Fatal(err)
		}
		watchers, writers = 1000, 16
	}
	shared := startEtcd(t)
	s := &soak{t: t, counts: make([]atomic.Int64, writers)}
	for i := range s.servers {
		s.boot(i, shared.config())
	}
	for i := range s.counts {
		if _, err := s.maps(0).Create(t.Context(), named(fmt.Sprintf("soak-%d", i), "0"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range watchers / 100 {
		stalled(t, s.servers[i%2].Load().server, "/api/v1/namespaces/default/configmaps?watch=1")
	}

	ctx, end := context.WithCancel(t.Context())
	defer end()
	watching, endWatches := context.WithCancel(t.Context())
	defer endWatches()
	var writing, watched sync.WaitGroup
	for i := range s.counts {
		writing.Go(func() { s.write(ctx, i) })
	}
	seen := make([]*soakWatcher, watchers)
	for i := range seen {
		seen[i] = &soakWatcher{soak: s, id: i, counts: map[string]int64{}}
		watched.Go(func() { seen[i].run(watching) })
	}
	for i := range 4 {
		time.Sleep(length / 4) // this long is what was asked for
		if i < 3 {
			old := s.servers[i%2].Load().server
			s.boot(i%2, shared.config())
			stop(t, old)
		}
	}
	end()
	writing.Wait()
	for i := range s.counts {
		name, want := fmt.Sprintf("soak-%d", i), s.counts[i].Load()
		for _, w := range seen {
			poll(t, func(context.Context) (bool, error) { return w.count(name) >= want, nil })
		}
	}
	endWatches()
	watched.Wait()
	if os.Getenv("KAYAK_SOAK") != "" { // otherwise other tests run beside this one
		poll(t, func(context.Context) (bool, error) { return runtime.NumGoroutine() < 200, nil })
	}
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	if memory.HeapAlloc > 256<<20 {
		t.Errorf("%d MB of heap", memory.HeapAlloc>>20)
	}
	t.Logf("%d events to %d watchers, who resumed %d times and listed again %d times; %d MB of heap, %d goroutines",
		s.events.Load(), watchers, s.resumed.Load(), s.relisted.Load(), memory.HeapAlloc>>20, runtime.NumGoroutine())
}

// write counts an object up. A write whose outcome is unknown is looked up.
func (s *soak) write(ctx context.Context, i int) {
	name := fmt.Sprintf("soak-%d", i)
	for n := int64(1); ctx.Err() == nil; {
		patch := fmt.Appendf(nil, `{"data":{"key":"%d"}}`, n)
		_, err := s.maps(i+int(n)).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
		if err == nil {
			s.counts[i].Store(n)
			n++
		}
	}
}

// soakWatcher follows all objects, with one watch after another.
type soakWatcher struct {
	soak   *soak
	id     int
	mu     sync.Mutex
	counts map[string]int64
}

func (w *soakWatcher) count(name string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts[name]
}

func (w *soakWatcher) run(ctx context.Context) {
	from := ""
	for turn := w.id; ctx.Err() == nil; turn++ {
		if from == "" {
			from = w.list(ctx, turn)
			continue
		}
		stream, err := w.soak.maps(turn).Watch(ctx, metav1.ListOptions{ResourceVersion: from, AllowWatchBookmarks: true})
		if err != nil {
			if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
				from = ""
			}
			continue
		}
		w.soak.resumed.Add(1)
		from = w.follow(from, stream)
		stream.Stop()
	}
}

// list begins again: what it finds may be further than what was seen before, never less far.
func (w *soakWatcher) list(ctx context.Context, turn int) string {
	list, err := w.soak.maps(turn).List(ctx, metav1.ListOptions{})
	if err != nil {
		return ""
	}
	w.soak.relisted.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range list.Items {
		n := number(&list.Items[i])
		if n < w.counts[list.Items[i].Name] {
			w.soak.t.Errorf("a list went back: %s is %d, was %d", list.Items[i].Name, n, w.counts[list.Items[i].Name])
		}
		w.counts[list.Items[i].Name] = n
	}
	return list.ResourceVersion
}

// follow takes events until the watch ends and returns how far it came, "" if that place is gone.
func (w *soakWatcher) follow(from string, stream watch.Interface) string {
	for event := range stream.ResultChan() {
		object, ok := event.Object.(*corev1.ConfigMap)
		if !ok {
			return ""
		}
		from = object.ResourceVersion
		if event.Type == watch.Bookmark {
			continue
		}
		w.soak.events.Add(1)
		w.mu.Lock()
		if before, now := w.counts[object.Name], number(object); now != before+1 {
			w.soak.t.Errorf("watcher %d: %s went from %d to %d", w.id, object.Name, before, now)
		}
		w.counts[object.Name] = number(object)
		w.mu.Unlock()
	}
	return from
}

func number(object *corev1.ConfigMap) int64 {
	n, _ := strconv.ParseInt(object.Data["key"], 10, 64)
	return n
}
