package services_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/networking"

	"github.com/kayak-k8s/kayak/internal/services"
	"github.com/kayak-k8s/kayak/internal/store"
)

// nodePortService is a manifest.
func nodePortService(name string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Service","metadata":{"name":%q},`+
		`"spec":{"type":"NodePort","ports":[{"port":80}]}}`, name)
}

func (f *server) must(t *testing.T, method, path, body string) {
	t.Helper()
	if w := f.do(t.Context(), method, path, body); w.Code >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	f.catchUp(t)
}

func TestTwoServersNeverGiveOutTheSame(t *testing.T) {
	t.Parallel()
	backend := newStore(t)
	// As many addresses and ports as there will be Services, so that they meet as often as can be.
	c := cluster{ranges: []string{"10.0.0.0/25"}, nodePorts: utilnet.PortRange{Base: 30000, Size: 100}}
	servers := []*server{newServer(t, backend, c), newServer(t, backend, c)}
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			w := servers[i%2].do(t.Context(), http.MethodPost, servicesPath, nodePortService(fmt.Sprintf("s%d", i)))
			if w.Code != http.StatusCreated {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	group.Wait()
	servers[0].catchUp(t)
	servers[0].checkBooks(t)
	if n := len(servers[0].takenPorts(t)); n != 100 {
		t.Errorf("%d ports are taken, want 100", n)
	}
	w := servers[1].do(t.Context(), http.MethodPost, servicesPath, nodePortService("one-too-many"))
	if want := "Internal error occurred: failed to allocate a nodePort: range is full"; !strings.Contains(w.Body.String(), want) {
		t.Errorf("%s, want %s", w.Body, want)
	}
	servers[1].checkBooks(t)

	for i := range 100 {
		group.Go(func() {
			servers[(i+1)%2].do(t.Context(), http.MethodDelete, fmt.Sprintf("%s/s%d", servicesPath, i), "")
		})
	}
	group.Wait()
	servers[0].catchUp(t)
	servers[0].checkBooks(t)
	if ports := servers[0].takenPorts(t); len(ports) != 0 {
		t.Errorf("ports are still taken: %v", ports)
	}
}

// failing is a store whose writes of some keys fail.
type failing struct {
	store.Store
	prefix atomic.Pointer[string]
	err    error
	// after lets the write happen first.
	after bool
}

func (f *failing) Put(ctx context.Context, key string, value []byte, expect int64, opts store.PutOptions) (int64, error) {
	prefix := f.prefix.Load()
	if prefix == nil || !strings.HasPrefix(key, *prefix) {
		return f.Store.Put(ctx, key, value, expect, opts)
	}
	if f.after {
		_, _ = f.Store.Put(ctx, key, value, expect, opts)
	}
	return 0, f.err
}

func TestWhatCannotBeWrittenTakesNothing(t *testing.T) {
	t.Parallel()
	backend := &failing{Store: newStore(t), err: store.ErrTooLarge}
	f := newServer(t, backend, single)
	prefix := root + "services/"
	backend.prefix.Store(&prefix)
	if w := f.do(t.Context(), http.MethodPost, servicesPath, nodePortService("large")); w.Code < 400 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	f.catchUp(t)
	f.checkBooks(t)
}

// When nobody knows whether a Service was written, what was taken for it stays taken.
func TestWhatMayHaveBeenWrittenKeepsWhatItHas(t *testing.T) {
	t.Parallel()
	backend := &failing{Store: newStore(t), err: store.ErrUnavailable, after: true}
	f := newServer(t, backend, single)
	prefix := root + "services/"
	backend.prefix.Store(&prefix)
	if w := f.do(t.Context(), http.MethodPost, servicesPath, nodePortService("unknown")); w.Code < 400 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	f.catchUp(t)
	f.checkBooks(t)
	if n := len(f.takenPorts(t)); n != 1 {
		t.Errorf("%d ports are taken, want 1", n)
	}
}

// A port that may or may not have been taken is not tried a second time: it could not be told from somebody else's.
func TestAnUncertainPortIsAnError(t *testing.T) {
	t.Parallel()
	backend := &failing{Store: newStore(t), err: store.ErrUnavailable, after: true}
	f := newServer(t, backend, single)
	prefix := root + "ranges/"
	backend.prefix.Store(&prefix)
	if w := f.do(t.Context(), http.MethodPost, servicesPath, nodePortService("unknown")); w.Code != http.StatusInternalServerError {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	backend.prefix.Store(nil)
	if n := len(f.takenPorts(t)); n != 1 {
		t.Errorf("%d ports are taken, want the one that leaked", n)
	}
	f.must(t, http.MethodPost, servicesPath, nodePortService("next"))
}

func TestPortsOutsideOfTheBandAreGivenFirst(t *testing.T) {
	t.Parallel()
	// A range of 48 ports has a band of 16.
	f := newServer(t, newStore(t), cluster{ranges: single.ranges, nodePorts: utilnet.PortRange{Base: 30000, Size: 48}})
	for i := range 32 {
		f.must(t, http.MethodPost, servicesPath, nodePortService(fmt.Sprintf("s%d", i)))
	}
	for _, port := range f.takenPorts(t) {
		if port < 30016 {
			t.Errorf("port %d is of the band", port)
		}
	}
	f.must(t, http.MethodPost, servicesPath, nodePortService("last"))
	f.checkBooks(t)
}

func TestAddressesComeFromServiceCIDRsThatAreReady(t *testing.T) {
	t.Parallel()
	f := newServer(t, newStore(t), cluster{ranges: []string{"10.0.0.0/30"}, nodePorts: services.DefaultNodePorts})
	f.must(t, http.MethodPost, servicesPath, nodePortService("a"))
	f.must(t, http.MethodPost, servicesPath, nodePortService("b"))
	create := func() (int, string) {
		w := f.do(t.Context(), http.MethodPost, servicesPath, nodePortService("c"))
		f.catchUp(t)
		return w.Code, w.Body.String()
	}
	const full = `failed to allocate a serviceIP for Service \"c\": range is full`
	if code, body := create(); code != http.StatusInternalServerError || !strings.Contains(body, full) {
		t.Errorf("%d %s, want %s", code, body, full)
	}
	more, err := f.CreateServiceCIDR(t.Context(), &networking.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: "more", Finalizers: []string{"example.com/keep"}},
		Spec:       networking.ServiceCIDRSpec{CIDRs: []string{"10.1.0.0/28"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	setReady := func(status metav1.ConditionStatus) {
		more.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: status}}
		more.ResourceVersion = ""
		if err := f.UpdateServiceCIDRStatus(t.Context(), more); err != nil {
			t.Fatal(err)
		}
		f.catchUp(t)
	}
	setReady(metav1.ConditionFalse)
	if code, body := create(); code != http.StatusInternalServerError || !strings.Contains(body, full) {
		t.Errorf("not ready: %d %s, want %s", code, body, full)
	}
	asked := strings.Replace(nodePortService("d"), `"spec":{`, `"spec":{"clusterIP":"10.1.0.3",`, 1)
	if w := f.do(t.Context(), http.MethodPost, servicesPath, asked); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("not ready: %d %s", w.Code, w.Body)
	}
	setReady(metav1.ConditionTrue)
	f.must(t, http.MethodPost, servicesPath, asked) // before another one gets its address by chance
	if code, body := create(); code != http.StatusCreated || !strings.Contains(body, `"clusterIP":"10.1.0.`) {
		t.Errorf("ready: %d %s", code, body)
	}
	f.must(t, http.MethodDelete, "/apis/networking.k8s.io/v1/servicecidrs/more", "")
	f.must(t, http.MethodDelete, servicesPath+"/c", "")
	if code, body := create(); code != http.StatusInternalServerError || !strings.Contains(body, full) {
		t.Errorf("terminating: %d %s, want %s", code, body, full)
	}
	f.checkBooks(t)
}

// An address that is another Service's, although a Service has it too, stays when that goes.
func TestADeletedServiceGivesBackOnlyWhatIsItsOwn(t *testing.T) {
	t.Parallel()
	f := newServer(t, newStore(t), single)
	if err := f.CreateIPAddress(t.Context(), address("10.0.0.9", "default", "owner")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"other", "owner"} {
		f.allocator.AfterDelete(&api.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec:       api.ServiceSpec{Type: api.ServiceTypeClusterIP, ClusterIPs: []string{"10.0.0.9"}},
		}, &metav1.DeleteOptions{})
		f.catchUp(t)
		if have := f.HasIPAddress("10.0.0.9"); have != (name == "other") {
			t.Errorf("after %s is gone: taken is %v", name, have)
		}
	}
}

func TestPortsCannotBeHadBeforeTheyWereCounted(t *testing.T) {
	t.Parallel()
	f := newServer(t, newStore(t), single)
	kv, err := f.API.Store.Get(t.Context(), root+"ranges/servicenodeports")
	if err == nil {
		_, err = f.API.Store.Delete(t.Context(), kv.Key, kv.Revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	w := f.do(t.Context(), http.MethodPost, servicesPath, nodePortService("early"))
	const want = "cannot allocate resources of type servicenodeportallocations at this time"
	if !strings.Contains(w.Body.String(), want) {
		t.Errorf("%s, want %s", w.Body, want)
	}
	f.mustRepair(t)
	f.must(t, http.MethodPost, servicesPath, nodePortService("early"))
	f.checkBooks(t)
}

func TestRangesMustBeOneOrTwoFamilies(t *testing.T) {
	t.Parallel()
	four, six := netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/112")
	for want, tests := range map[bool][][]netip.Prefix{
		true: {{four}, {six}, {four, six}, {six, four}}, false: {{}, {four, four}, {four, six, four}},
	} {
		for _, ranges := range tests {
			if _, err := services.New(services.Options{Ranges: ranges}); (err == nil) != want {
				t.Errorf("%v: %v", ranges, err)
			}
		}
	}
}
