package kayak_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// apiCall is one operation on one object, apiResult what the client was told.
type apiCall struct {
	kind    string // get, list, create, update, patch or delete
	value   string
	version string // that an update or a delete names; "" for none
}

type apiResult struct {
	// failure is "", notfound, exists or conflict.
	failure string
	value   string
	version string
}

// apiState is what an object is; version "" says that it does not exist.
type apiState struct {
	value, version string
	// floor is the resourceVersion of the last change.
	floor uint64
}

// apiModel is the sequential specification of one object, whichever server is asked.
var apiModel = porcupine.Model{
	Init: func() any { return apiState{} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(apiState), input.(apiCall), output.(apiResult)
		exists := s.version != ""
		switch out.failure {
		case "notfound":
			return !exists && in.kind != "create", s
		case "exists":
			return exists && in.kind == "create", s
		case "conflict":
			return exists && in.version != "" && in.version != s.version, s
		}
		switch in.kind {
		case "get", "list":
			return exists && out.value == s.value && out.version == s.version, s
		case "delete":
			return exists && (in.version == "" || in.version == s.version), apiState{floor: s.floor}
		}
		version, err := strconv.ParseUint(out.version, 10, 64)
		allowed := exists != (in.kind == "create") && (in.version == "" || in.version == s.version)
		return err == nil && allowed && version > s.floor, apiState{value: in.value, version: out.version, floor: version}
	},
}

// Whatever order clients write and read in, through two servers that share an etcd: there is an order in which a single server
// would have given the same answers. And watches of either server see all of it, in order and once.
func TestTwoServersAreOne(t *testing.T) {
	t.Parallel()
	const clients, operations, objects = 8, 60, 3
	shared := startEtcd(t)
	var servers []typedcorev1.ConfigMapInterface
	for range 2 {
		servers = append(servers, client(t, start(t, shared.config()).RESTConfig()).CoreV1().ConfigMaps("default"))
	}
	validators := []*validator{newValidator(t, servers[0]), newValidator(t, servers[1]), newValidator(t, servers[0], servers[1])}
	begin := time.Now()
	var mu sync.Mutex
	histories := map[string][]porcupine.Operation{}
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			seen := map[string]string{}
			for i := range operations {
				name := fmt.Sprintf("o%d", rand.IntN(objects))
				in := randomCall(fmt.Sprintf("%d-%d", c, i), seen[name])
				call := time.Since(begin).Nanoseconds()
				out, err := in.do(t.Context(), servers[rand.IntN(len(servers))], name)
				if err != nil {
					t.Errorf("%+v: %v", in, err)
					return
				}
				seen[name] = out.version
				operation := porcupine.Operation{ClientId: c, Input: in, Call: call, Output: out, Return: time.Since(begin).Nanoseconds()}
				mu.Lock()
				histories[name] = append(histories[name], operation)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	for name, history := range histories {
		if got := porcupine.CheckOperationsTimeout(apiModel, history, time.Minute); got != porcupine.Ok {
			t.Errorf("the history of %s is not linearizable: %v", name, got)
		}
	}
	last, err := servers[0].Create(t.Context(), configMap("the-end"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range validators {
		v.until(t, last.ResourceVersion)
		v.check(t, fmt.Sprintf("watch %d", i), histories)
	}
}

func randomCall(value, seen string) apiCall {
	in := apiCall{kind: []string{"get", "get", "list", "create", "create", "update", "update", "patch", "patch", "delete"}[rand.IntN(10)], value: value}
	if (in.kind == "update" || in.kind == "delete") && rand.IntN(3) > 0 {
		in.version = seen
	}
	return in
}

// do runs the call. Its error is one that no client may meet.
func (in apiCall) do(ctx context.Context, maps typedcorev1.ConfigMapInterface, name string) (apiResult, error) {
	object := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: in.version}, Data: map[string]string{"value": in.value},
	}
	var got *corev1.ConfigMap
	var err error
	switch in.kind {
	case "get":
		got, err = maps.Get(ctx, name, metav1.GetOptions{})
	case "list":
		got, err = in.list(ctx, maps, name)
	case "create":
		got, err = maps.Create(ctx, object, metav1.CreateOptions{})
	case "update":
		got, err = maps.Update(ctx, object, metav1.UpdateOptions{})
	case "patch":
		patch := fmt.Appendf(nil, `{"data":{"value":%q}}`, in.value)
		got, err = maps.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	case "delete":
		options := metav1.DeleteOptions{}
		if in.version != "" {
			options.Preconditions = &metav1.Preconditions{ResourceVersion: &in.version}
		}
		err = maps.Delete(ctx, name, options)
	}
	switch {
	case apierrors.IsNotFound(err):
		return apiResult{failure: "notfound"}, nil
	case apierrors.IsAlreadyExists(err):
		return apiResult{failure: "exists"}, nil
	case apierrors.IsConflict(err):
		return apiResult{failure: "conflict"}, nil
	case err != nil || in.kind == "delete":
		return apiResult{}, err
	}
	return apiResult{value: got.Data["value"], version: got.ResourceVersion}, nil
}

func (in apiCall) list(ctx context.Context, maps typedcorev1.ConfigMapInterface, name string) (*corev1.ConfigMap, error) {
	list, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		if list.Items[i].Name == name {
			return &list.Items[i], nil
		}
	}
	return nil, apierrors.NewNotFound(corev1.Resource("configmaps"), name)
}

// validator watches and checks what every watch promises: that events come in the order of their versions, all of them, once,
// and that a watch which goes on from where another has ended goes on just there, on another server, too.
type validator struct {
	servers []typedcorev1.ConfigMapInterface
	from    string
	events  []watch.Event
}

func newValidator(t *testing.T, servers ...typedcorev1.ConfigMapInterface) *validator {
	t.Helper()
	list, err := servers[0].List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &validator{servers: servers, from: list.ResourceVersion}
}

// until watches up to a version, some events at a time, with every watch on the next server.
func (v *validator) until(t *testing.T, version string) {
	t.Helper()
	for turn := 0; v.from != version; turn++ {
		w, err := v.servers[turn%len(v.servers)].Watch(t.Context(), metav1.ListOptions{ResourceVersion: v.from, AllowWatchBookmarks: true})
		if err != nil {
			t.Fatal(err)
		}
		for n := rand.IntN(40); n >= 0 && v.from != version; n-- {
			select {
			case event := <-w.ResultChan():
				v.take(t, event)
			case <-time.After(time.Minute):
				t.Fatalf("no event after version %s", v.from)
			}
		}
		w.Stop()
	}
}

func (v *validator) take(t *testing.T, event watch.Event) {
	t.Helper()
	object, ok := event.Object.(*corev1.ConfigMap)
	if !ok {
		t.Fatalf("after version %s: %+v", v.from, event)
	}
	before, _ := strconv.ParseUint(v.from, 10, 64)
	now, err := strconv.ParseUint(object.ResourceVersion, 10, 64)
	if err != nil || now < before || now == before && event.Type != watch.Bookmark {
		t.Fatalf("version %q came after %d", object.ResourceVersion, before)
	}
	v.from = object.ResourceVersion
	if event.Type != watch.Bookmark {
		v.events = append(v.events, event)
	}
}

// check compares the events with the writes that were acknowledged.
func (v *validator) check(t *testing.T, name string, histories map[string][]porcupine.Operation) {
	t.Helper()
	written, deletes := map[string]string{}, 0 // version to value
	for object, history := range histories {
		for _, operation := range history {
			in, out := operation.Input.(apiCall), operation.Output.(apiResult)
			switch {
			case out.failure != "" || in.kind == "get" || in.kind == "list":
			case in.kind == "delete":
				deletes++
			default:
				written[out.version] = object + " " + in.value
			}
		}
	}
	exists := map[string]bool{}
	for _, event := range v.events {
		object := event.Object.(*corev1.ConfigMap)
		if object.Name == "the-end" {
			continue
		}
		if want := map[bool]watch.EventType{false: watch.Added, true: watch.Modified}[exists[object.Name]]; event.Type == watch.Deleted {
			deletes--
		} else if value := object.Name + " " + object.Data["value"]; event.Type != want || written[object.ResourceVersion] != value {
			t.Errorf("%s: %s of %q at %s, want %s; written then: %q", name, event.Type, value, object.ResourceVersion, want, written[object.ResourceVersion])
		} else {
			delete(written, object.ResourceVersion)
		}
		exists[object.Name] = event.Type != watch.Deleted
	}
	if len(written) != 0 || deletes != 0 {
		t.Errorf("%s: lacks writes %v and %d deletes", name, written, deletes)
	}
}
