package kayaktest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/kayak-k8s/kayak/internal/wire"
)

// Match says which requests are meant. An empty field means any; the zero Match means every request.
type Match struct {
	// Verb is the API's: get, list, watch, create, update, patch, delete, deletecollection.
	Verb string
	// Resource is a resource with its group, and a subresource where that is meant: "configmaps", "deployments.apps",
	// "deployments.apps/status". "pods/*" means pods and all of their subresources.
	Resource string
	// Namespace and Name are those in the path: a request for a collection has no name.
	Namespace, Name string
	// User is who asks.
	User string
	// Func, unless it is nil, has to agree as well.
	Func func(*http.Request) bool
}

func (m Match) matches(r *http.Request) bool {
	info, ok := genericrequest.RequestInfoFrom(r.Context())
	if !ok {
		return false
	}
	who := ""
	if u, ok := genericrequest.UserFrom(r.Context()); ok {
		who = u.GetName()
	}
	for _, pair := range [][2]string{
		{m.Verb, info.Verb}, {m.Namespace, info.Namespace}, {m.Name, info.Name}, {m.User, who},
	} {
		if pair[0] != "" && pair[0] != pair[1] {
			return false
		}
	}
	return m.matchesResource(info) && (m.Func == nil || m.Func(r))
}

func (m Match) matchesResource(info *genericrequest.RequestInfo) bool {
	if m.Resource == "" {
		return true
	}
	resource, sub, _ := strings.Cut(m.Resource, "/")
	wanted := schema.ParseGroupResource(resource)
	return info.IsResourceRequest && wanted.Group == info.APIGroup && wanted.Resource == info.Resource &&
		(sub == "*" || sub == info.Subresource)
}

// Fault is what becomes of requests that match. Its parts happen in the order of the fields.
type Fault struct {
	Match

	// Skip is how many requests that match go through before the first that does not.
	Skip int
	// Times is after how many requests the fault is over; 0 means never.
	Times int

	// Delay holds a request up for a while.
	Delay time.Duration
	// Until holds a request up until the channel is closed.
	Until <-chan struct{}
	// Drop breaks the connection off before anything was done: the client gets no answer.
	Drop bool
	// DropAnswer lets the request be done and breaks the connection off then: the client gets no answer, or half of one.
	DropAnswer bool
	// Code answers with a Status of this code, in the words that a server has for it: 409 Conflict (AlreadyExists for a
	// create), 410 Expired, 429 TooManyRequests, with a Retry-After of one second, 500 InternalError, 503, 504 and others.
	Code int
	// Err answers with the Status of this error.
	Err error
}

// Injected is a fault in a server.
type Injected struct {
	faults *faults
	fault  Fault
	// The following are guarded by faults.mu.
	seen    int
	hits    int
	removed bool
	changed chan struct{} // closed and made anew with every hit
}

// Inject makes requests fail, until the fault is over, or removed, or the server ends. Of several faults that match a request,
// the one that was injected first is it.
func (s *Server) Inject(fault Fault) *Injected {
	i := &Injected{faults: s.faults, fault: fault, changed: make(chan struct{})}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.list = append(s.faults.list, i)
	return i
}

// Remove ends the fault for requests to come. Those that it holds up stay so.
func (i *Injected) Remove() {
	i.faults.mu.Lock()
	defer i.faults.mu.Unlock()
	i.removed = true
}

// Hits is how many requests the fault has met so far.
func (i *Injected) Hits() int {
	i.faults.mu.Lock()
	defer i.faults.mu.Unlock()
	return i.hits
}

// Wait waits until the fault has met n requests.
func (i *Injected) Wait(ctx context.Context, n int) error {
	for {
		i.faults.mu.Lock()
		hits, changed := i.hits, i.changed
		i.faults.mu.Unlock()
		if hits >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("the fault has met %d of %d requests: %w", hits, n, ctx.Err())
		}
	}
}

// faults are those of one server, and the watches that can be cut.
type faults struct {
	done chan struct{}

	mu      sync.Mutex // guards the following fields
	list    []*Injected
	watches map[*watch]struct{}
	closed  bool
}

// watch is one that is being served.
type watch struct {
	request *http.Request
	cancel  context.CancelCauseFunc
}

// errCut is why the context of a watch ended that was cut.
var errCut = errors.New("the watch was cut by the test")

func newFaults() *faults {
	return &faults{done: make(chan struct{}), watches: map[*watch]struct{}{}}
}

// close lets go of what is held up.
func (f *faults) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		close(f.done)
	}
}

// CutWatches breaks off the watches that match and are open now, in the middle, as a failing network does. It returns how many.
func (s *Server) CutWatches(match Match) int {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	cut := 0
	for w := range s.faults.watches {
		if match.matches(w.request) {
			w.cancel(errCut)
			delete(s.faults.watches, w)
			cut++
		}
	}
	return cut
}

// Watches is how many watches are open now that match.
func (s *Server) Watches(match Match) int {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	n := 0
	for w := range s.faults.watches {
		if match.matches(w.request) {
			n++
		}
	}
	return n
}

// handler puts the faults in front of a handler.
func (f *faults) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i := f.find(r); i != nil && f.happen(&i.fault, w, r, next) {
			return
		}
		f.serve(w, r, next)
	})
}

// find returns the fault that a request meets, and counts it.
func (f *faults) find(r *http.Request) *Injected {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.list {
		if i.removed || i.fault.Times > 0 && i.hits >= i.fault.Times || !i.fault.matches(r) {
			continue
		}
		if i.seen++; i.seen <= i.fault.Skip {
			continue
		}
		i.hits++
		close(i.changed)
		i.changed = make(chan struct{})
		return i
	}
	return nil
}

// happen lets a fault happen to a request and reports whether that was all.
func (f *faults) happen(fault *Fault, w http.ResponseWriter, r *http.Request, next http.Handler) bool {
	if fault.Delay > 0 {
		timer := time.NewTimer(fault.Delay)
		defer timer.Stop()
		wait(f, r, timer.C)
	}
	if fault.Until != nil {
		wait(f, r, fault.Until)
	}
	switch {
	case fault.Drop:
		panic(http.ErrAbortHandler)
	case fault.DropAnswer:
		f.serve(discarded{header: http.Header{}}, r, next)
		panic(http.ErrAbortHandler)
	case fault.Err != nil:
		wire.WriteError(w, r, fault.Err)
	case fault.Code != 0:
		wire.WriteError(w, r, statusOf(fault.Code, r))
	default:
		return false
	}
	return true
}

// wait waits for something, but not longer than the client and the server do.
func wait[T any](f *faults, r *http.Request, something <-chan T) {
	select {
	case <-something:
	case <-r.Context().Done():
	case <-f.done:
	}
}

// serve hands a request on; a watch so that it can be cut.
func (f *faults) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	info, ok := genericrequest.RequestInfoFrom(r.Context())
	if !ok || info.Verb != "watch" {
		next.ServeHTTP(w, r)
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	open := &watch{request: r, cancel: cancel}
	f.mu.Lock()
	f.watches[open] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watches, open)
	}()
	next.ServeHTTP(w, r.WithContext(ctx))
	if errors.Is(context.Cause(ctx), errCut) {
		panic(http.ErrAbortHandler)
	}
}

// discarded is an answer that nobody gets.
type discarded struct{ header http.Header }

func (d discarded) Header() http.Header              { return d.header }
func (d discarded) Write(b []byte) (int, error)      { return len(b), nil }
func (d discarded) WriteHeader(int)                  {}
func (d discarded) Flush()                           {}
func (d discarded) SetWriteDeadline(time.Time) error { return nil }

var errInjected = errors.New("injected by the test")

// statusOf is the error that a server answers a request with when it has this code to say.
func statusOf(code int, r *http.Request) error {
	info, _ := genericrequest.RequestInfoFrom(r.Context())
	resource := schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}
	switch {
	case code == http.StatusNotFound:
		return apierrors.NewNotFound(resource, info.Name)
	case code == http.StatusForbidden:
		return apierrors.NewForbidden(resource, info.Name, errInjected)
	case code == http.StatusConflict && info.Verb == "create":
		return apierrors.NewAlreadyExists(resource, info.Name)
	case code == http.StatusConflict:
		return apierrors.NewConflict(resource, info.Name,
			errors.New("the object has been modified; please apply your changes to the latest version and try again"))
	case code == http.StatusGone:
		return apierrors.NewResourceExpired("The resourceVersion for the provided " + info.Verb + " is too old.")
	case code == http.StatusTooManyRequests:
		return apierrors.NewTooManyRequests("Too many requests, please try again later.", 1)
	case code == http.StatusInternalServerError:
		return apierrors.NewInternalError(errInjected)
	case code == http.StatusServiceUnavailable:
		return apierrors.NewServiceUnavailable(errInjected.Error())
	case code == http.StatusGatewayTimeout:
		return apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0)
	}
	return apierrors.NewGenericServerResponse(code, info.Verb, resource, info.Name, errInjected.Error(), 0, false)
}
