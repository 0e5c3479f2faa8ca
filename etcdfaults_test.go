package kayak_test

import (
	"context"
	"fmt"

	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/kayak-k8s/kayak"
)

// lossyWay is a connection to etcd on which answers can get lost: what was asked is done, and nobody hears of it.
type lossyWay struct {
	listener net.Listener
	target   string
	deaf     atomic.Bool // answers get lost
	mu       sync.Mutex
	open     map[net.Conn]bool
	all      sync.WaitGroup
}

func newLossyWay(t *testing.T, target string) *lossyWay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &lossyWay{listener: l, target: target, open: map[net.Conn]bool{}}
	w.all.Go(w.accept)
	t.Cleanup(func() {
		l.Close()
		w.cut()
		w.all.Wait()
	})
	return w
}

func (w *lossyWay) accept() {
	for {
		in, err := w.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("unix", w.target)
		if err != nil {
			in.Close()
			continue
		}
		w.mu.Lock()
		w.open[in], w.open[out] = true, true
		w.mu.Unlock()
		w.all.Go(func() { w.pass(out, in, nil) })
		w.all.Go(func() { w.pass(in, out, &w.deaf) })
	}
}

// pass copies until either end is closed; what arrives while lost is set goes nowhere.
func (w *lossyWay) pass(to, from net.Conn, lost *atomic.Bool) {
	defer func() {
		to.Close()
		from.Close()
		w.mu.Lock()
		delete(w.open, to)
		w.mu.Unlock()
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if lost != nil && lost.Load() {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (w *lossyWay) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.open {
		c.Close()
	}
}

// trouble loses answers and cuts connections until ctx ends; what is lost is never taken up again, as when a member dies.
func (w *lossyWay) trouble(ctx context.Context, writes *atomic.Int64) {
	for ctx.Err() == nil {
		for until := writes.Load() + 20 + rand.Int64N(30); writes.Load() < until && ctx.Err() == nil; {
			time.Sleep(time.Millisecond)
		}
		w.deaf.Store(true)
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond) // long enough for etcd to do what it is asked
		w.cut()
		w.deaf.Store(false)
	}
}

// possible is what an object may hold, as far as its only writer can know: its value, or "" if it may not be there.
type possible map[string]bool

// A writer whose etcd loses answers in the middle of writes learns the truth or that the outcome is unknown, never anything wrong;
// and all that was acknowledged is there, through this server and another that had no trouble.
func TestNoWrongAnswerWhenEtcdFails(t *testing.T) {
	t.Parallel()
	shared := startEtcd(t)
	way := newLossyWay(t, filepath.Join(shared.dir, "etcd.sock"))
	troubled := start(t, kayak.Config{Etcd: kayak.EtcdConfig{Servers: []string{"http://" + way.listener.Addr().String()}}})
	calm := start(t, shared.config())
	const writers, rounds = 8, 60
	requests := client(t, troubled.RESTConfig()).CoreV1().RESTClient()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	var writes, unknown atomic.Int64
	var faults sync.WaitGroup
	faults.Go(func() { way.trouble(ctx, &writes) })
	known := make([]possible, writers)
	var all sync.WaitGroup
	for i := range writers {
		known[i] = possible{"": true}
		all.Go(func() {
			for round := range rounds {
				learned, err := writeOnce(ctx, requests, fmt.Sprintf("w%d", i), fmt.Sprintf("v%d", round), known[i])
				if err != nil {
					t.Errorf("writer %d, round %d, knowing %v: %v", i, round, known[i], err)
					return
				}
				if len(learned) > 1 {
					unknown.Add(1)
				}
				known[i] = learned
				writes.Add(1)
			}
		})
	}
	all.Wait()
	end()
	faults.Wait()
	if unknown.Load() == 0 {
		t.Error("no write ended with an unknown outcome")
	}
	for _, server := range []*kayak.Server{troubled, calm} {
		maps := client(t, server.RESTConfig()).CoreV1().ConfigMaps("default")
		for i := range writers {
			var value string
			poll(t, func(ctx context.Context) (bool, error) { // the troubled server may still be about to connect again
				got, err := maps.Get(ctx, fmt.Sprintf("w%d", i), metav1.GetOptions{})
				if err == nil {
					value = got.Data["key"]
				}
				return err == nil || apierrors.IsNotFound(err), nil
			})
			if !known[i][value] {
				t.Errorf("object %d holds %q, which is none of %v", i, value, known[i])
			}
		}
	}
	t.Logf("%d of %d writes ended with an unknown outcome", unknown.Load(), writers*rounds)
}

// writeOnce does one write of some kind, without the client's retries, and returns what the object may hold then. An error is a
// wrong answer.
func writeOnce(ctx context.Context, c rest.Interface, name, value string, before possible) (possible, error) {
	ways := []func() (possible, error){
		func() (possible, error) { // create
			return outcome(c.Post().Body(named(name, value)), value, before, apierrors.IsAlreadyExists, func(v string) bool { return v != "" })(ctx)
		},
		func() (possible, error) { // update, whatever is there
			return outcome(c.Put().Name(name).Body(named(name, value)), value, before, apierrors.IsNotFound, func(v string) bool { return v == "" })(ctx)
		},
		func() (possible, error) {
			patch := fmt.Appendf(nil, `{"data":{"key":%q}}`, value)
			return outcome(c.Patch(types.MergePatchType).Name(name).Body(patch), value, before, apierrors.IsNotFound, func(v string) bool { return v == "" })(ctx)
		},
		func() (possible, error) {
			return outcome(c.Delete().Name(name), "", before, apierrors.IsNotFound, func(v string) bool { return v == "" })(ctx)
		},
	}
	return ways[rand.IntN(len(ways))]()
}

func named(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"key": value}}
}

// outcome does a request that would make the object hold after. refusal recognizes the one error that says something about the
// object; it is the truth only if what the object may hold has a value for which refused is true.
func outcome(r *rest.Request, after string, before possible, refusal func(error) bool, refused func(string) bool) func(context.Context) (possible, error) {
	return func(ctx context.Context) (possible, error) {
		err := r.Namespace("default").Resource("configmaps").MaxRetries(0).Do(ctx).Error()
		learned := possible{}
		for v := range before {
			switch {
			case err == nil && !refused(v):
				learned[after] = true
			case err != nil && refusal(err) && refused(v):
				learned[v] = true
			case isOutcomeUnknown(err):
				learned[v] = true
				if !refused(v) {
					learned[after] = true
				}
			}
		}
		if len(learned) == 0 {
			return nil, fmt.Errorf("to write %q got %v", after, err)
		}
		return learned, nil
	}
}

// isOutcomeUnknown recognizes the answers after which a write may or may not have happened.
func isOutcomeUnknown(err error) bool {
	if apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) {
		return true
	}
	status, ok := err.(apierrors.APIStatus)
	return ok && status.Status().Code == http.StatusInternalServerError
}
