package kayak_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
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

// faultyCall is one operation on one object, and faultyResult what the client learned of it.
type faultyCall struct {
	kind  string // create, update, patch, delete or get
	value string
}

type faultyResult struct {
	// failure is "", "refused" (because of what there was, or was not), or "unknown".
	failure string
	value   string // of a get; "" when there is nothing
}

// faultyModel is the specification of one object: its value, or "" when it does not exist. What had an unknown outcome may have
// happened or not. It may also happen later, after other operations: etcd may still be about to do it when the client hears that
// nobody knows. That follows from what faultyHistory makes of the time of its return.
var faultyModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{""} },
	Step: func(state, input, output any) []any {
		value, in, out := state.(string), input.(faultyCall), output.(faultyResult)
		possible := (value == "") == (in.kind == "create") // as with a get of what is not there, which is refused
		after := in.value
		if in.kind == "get" {
			possible, after = value == out.value, value
		}
		switch {
		case out.failure == "unknown" && possible:
			return []any{value, after}
		case out.failure == "unknown", out.failure == "refused" && !possible:
			return []any{value}
		case out.failure == "" && possible:
			return []any{after}
		}
		return nil
	},
}

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
	histories := make([]faultyHistory, writers)
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			for round := range rounds {
				call := faultyCall{kind: []string{"create", "update", "patch", "delete"}[rand.IntN(4)], value: fmt.Sprintf("v%d", round)}
				if call.kind == "delete" {
					call.value = ""
				}
				result, err := call.do(ctx, requests, fmt.Sprintf("w%d", i))
				if err != nil {
					t.Errorf("writer %d, round %d: %+v: %v", i, round, call, err)
					return
				}
				if result.failure == "unknown" {
					unknown.Add(1)
				}
				histories[i].add(call, result)
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
			histories[i].add(faultyCall{kind: "get"}, faultyResult{value: value})
		}
	}
	for i, history := range histories {
		if got := porcupine.CheckOperationsTimeout(faultyModel.ToModel(), history.operations, time.Minute); got != porcupine.Ok {
			t.Errorf("no order of writes explains what writer %d was told: %v\n%v", i, got, history.operations)
		}
	}
	t.Logf("%d of %d writes ended with an unknown outcome", unknown.Load(), writers*rounds)
}

// faultyHistory is what one client did, one operation after the other.
type faultyHistory struct{ operations []porcupine.Operation }

// add notes the next operation. One whose outcome is unknown has not returned when the others have.
func (h *faultyHistory) add(call faultyCall, result faultyResult) {
	at := int64(2 * len(h.operations))
	operation := porcupine.Operation{Input: call, Call: at, Output: result, Return: at + 1}
	if result.failure == "unknown" {
		operation.Return = math.MaxInt64
	}
	h.operations = append(h.operations, operation)
}

// do does the call, without the client's retries. An error is an answer that nobody may get.
func (in faultyCall) do(ctx context.Context, c rest.Interface, name string) (faultyResult, error) {
	object := named(name, in.value)
	var r *rest.Request
	switch in.kind {
	case "create":
		r = c.Post().Body(object)
	case "update":
		r = c.Put().Name(name).Body(object)
	case "patch":
		r = c.Patch(types.MergePatchType).Name(name).Body(fmt.Appendf(nil, `{"data":{"key":%q}}`, in.value))
	case "delete":
		r = c.Delete().Name(name)
	}
	err := r.Namespace("default").Resource("configmaps").MaxRetries(0).Do(ctx).Error()
	switch {
	case err == nil:
		return faultyResult{}, nil
	case in.kind == "create" && apierrors.IsAlreadyExists(err), in.kind != "create" && apierrors.IsNotFound(err):
		return faultyResult{failure: "refused"}, nil
	case isOutcomeUnknown(err):
		return faultyResult{failure: "unknown"}, nil
	}
	return faultyResult{}, err
}

func named(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"key": value}}
}

// isOutcomeUnknown recognizes the answers after which a write may or may not have happened.
func isOutcomeUnknown(err error) bool {
	if apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) {
		return true
	}
	status, ok := err.(apierrors.APIStatus)
	return ok && status.Status().Code == http.StatusInternalServerError
}
