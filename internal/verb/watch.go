package verb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kayak-k8s/kayak/internal/request"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/wire"
)

const (
	// longestWatch is the longest timeout, in seconds, that a time.Duration can hold with room to spare.
	longestWatch = 1 << 32
	// bookmarkEvery is how often a watcher that wants bookmarks learns how far it is, when nothing else tells it.
	bookmarkEvery = time.Minute
	// bookmarkBeforeEnd is how long before its timeout a watcher gets its last bookmark.
	bookmarkBeforeEnd = 2 * time.Second
	// flushBytes is how much of a backlog is collected before it is written.
	flushBytes = 64 << 10
)

// watch streams events. It is a cursor on the log and a buffer, written whenever the log has no more at the moment; a client
// that does not read stops its own goroutine in Write and nobody else.
func (a *API) watch(ctx context.Context, c *Call) error {
	out, err := c.negotiate(true)
	if err != nil {
		return err
	}
	options, err := c.listOptions()
	if err != nil {
		return err
	}
	w := &watcher{api: a, call: c, out: out, want: c.selection(options), bookmarks: options.AllowWatchBookmarks}
	if out.Shape == wire.Table {
		if w.table, err = c.tableOptions(); err != nil {
			return err
		}
	}
	w.request = ctx
	c.Query = nil // a watch may be there for long
	w.setTimes(a.watchTimeout(options))
	initial, expired, err := w.start(ctx, options)
	if err != nil {
		return err
	}
	w.serve(ctx, options, func(ctx context.Context) { w.run(ctx, initial, options, expired) })
	return nil
}

// run sends everything that there is to send, unless the watch is detached on the way. Errors end the stream, and are told in it
// unless they come from the client.
func (w *watcher) run(ctx context.Context, initial *state.Snapshot, options *metainternalversion.ListOptions, expired error) {
	err := expired
	if err == nil {
		err = w.sendInitial(ctx, initial, options)
	}
	if err == nil {
		err = w.follow(ctx)
	}
	if err != nil {
		w.fail(err)
	}
}

// setTimes notes when the watch ends, and when its client is next to be told how far it is.
func (w *watcher) setTimes(timeout time.Duration) {
	now := time.Now()
	w.deadline = now.Add(timeout)
	if !w.bookmarks {
		return
	}
	w.nextBookmark = now.Add(bookmarkEvery)
	if timeout > bookmarkBeforeEnd {
		w.lastBookmark = w.deadline.Add(-bookmarkBeforeEnd)
		w.nextBookmark = earlier(w.nextBookmark, w.lastBookmark)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// bookmarkDue reports whether it is time for a bookmark, once each time.
func (w *watcher) bookmarkDue() bool {
	if w.nextBookmark.IsZero() {
		return false
	}
	now := time.Now()
	if now.Before(w.nextBookmark) {
		return false
	}
	w.nextBookmark = now.Add(bookmarkEvery)
	if now.Before(w.lastBookmark) {
		w.nextBookmark = earlier(w.nextBookmark, w.lastBookmark)
	}
	return true
}

func (a *API) watchTimeout(options *metainternalversion.ListOptions) time.Duration {
	if options.TimeoutSeconds != nil && *options.TimeoutSeconds != 0 {
		return time.Duration(max(min(*options.TimeoutSeconds, longestWatch), 0)) * time.Second
	}
	return time.Duration(float64(a.MinRequestTimeout) * (rand.Float64() + 1))
}

// watcher is one watch. It belongs to one goroutine at a time: that of its handler, and then whichever runs its steps.
type watcher struct {
	api       *API
	call      *Call
	out       wire.Output
	want      *selection
	bookmarks bool
	table     *metav1.TableOptions

	cursor *state.Cursor
	// request is the context of the request, which ends when the client is gone.
	request context.Context
	// deadline is when the watch ends. nextBookmark is when a bookmark is due, zero if none is; lastBookmark is when the last one is.
	deadline, nextBookmark, lastBookmark time.Time
	// ending says that the watch ends when what has happened is told.
	ending bool
	// failure is what the watch has ended with.
	failure error
	// detached is there while the watch goes on without a goroutine.
	detached *detached
	// sent is the revision up to which the client has been told everything.
	sent int64
	// last is where the watch ends, once the server stops.
	last int64

	stream eventStream
	// unbound takes the bound off the connection's writes.
	unbound func()
	// single says that each event is written on its own.
	single bool
	// buffer holds whole events that are yet to be written, nil when there are none.
	buffer *[]byte
	// metadata is the form of PartialObjectMetadata, nil for other shapes.
	metadata *form
}

// start finds the place in the log. initial is set when the client is first to be sent what there is. expired is the error
// of a place that is gone, or that is not there yet: it is told in the stream, as upstream does.
func (w *watcher) start(ctx context.Context, options *metainternalversion.ListOptions) (initial *state.Snapshot, expired, err error) {
	revision, any, err := parseRevision(options.ResourceVersion)
	if err != nil {
		return nil, nil, invalidResourceVersion(options.ResourceVersion, err)
	}
	sendInitial := revision == 0 // for a deprecated path, whose verb is in it; other requests have had a default set for them
	if options.SendInitialEvents != nil {
		sendInitial = *options.SendInitialEvents
	}
	if sendInitial || revision == 0 {
		ctx, cancel := context.WithDeadline(ctx, w.deadline)
		defer cancel()
		snapshot, err := w.api.snapshot(ctx, revision, any)
		var future *state.FutureError
		if errors.As(err, &future) {
			return nil, storeError(err, w.call), nil
		}
		if err != nil {
			return nil, nil, storeError(err, w.call)
		}
		revision = snapshot.Revision()
		if sendInitial {
			initial = snapshot
		}
	}
	w.cursor, err = w.api.State.Watch(w.filter(), revision)
	w.sent = revision
	if errors.Is(err, state.ErrExpired) {
		return nil, tooOld(revision, w.api.State.Floor()), nil
	}
	return initial, nil, err
}

func tooOld(revision, floor int64) error {
	return apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", revision, floor))
}

// filter asks the log for as little as the selection allows.
func (w *watcher) filter() state.Filter {
	prefix, exact := w.want.within(w.call.Resource, w.api.Root)
	filter := state.Filter{Prefix: prefix}
	if w.out.Shape == wire.Whole {
		filter.Encoding = w.call.Resource.ItemID(w.out.Media == wire.Protobuf)
	}
	if exact {
		filter.Prefix += w.want.name
		filter.Exact = true
		return filter
	}
	if w.want.fields == nil {
		return filter
	}
	for _, field := range w.call.Resource.Index {
		if value, ok := w.want.fields.RequiresExactMatch(field); ok {
			filter.Field, filter.Value = field, value
		}
	}
	return filter
}

// follow sends events until the client, its timeout or the server ends the watch, or until it is detached.
func (w *watcher) follow(ctx context.Context) error {
	for {
		goesOn, err := w.pump(ctx)
		if !goesOn || w.detach() {
			return err
		}
		w.wait(ctx)
	}
}

// pump sends what there is. It reports whether the watch goes on: if not, because of an error or because it is over.
func (w *watcher) pump(ctx context.Context) (goesOn bool, _ error) {
	trying := w.detached != nil && w.detached.trying
	due := !trying || w.detached.due.Swap(false) // otherwise there is no need to look at the clock
	for round := 1; ctx.Err() == nil && !w.over(due); round++ {
		if custom := w.call.Resource.Custom; custom != nil && closed(custom.Done) {
			w.ending = true // what has happened until now is still told
		}
		events, revision, err := w.cursor.TryNext()
		if err != nil && !w.ending {
			return false, w.interpret(err)
		}
		for _, event := range events {
			if err := w.send(ctx, event); err != nil {
				return false, err
			}
		}
		w.sent = revision
		if due && w.bookmarkDue() {
			if err := w.bookmark(ctx, false); err != nil {
				return false, err
			}
		}
		if len(events) > 0 && !trying {
			continue // what has come meanwhile goes with the same write
		}
		if err := w.flush(); err != nil || w.ending && len(events) == 0 {
			return false, err
		}
		switch {
		case len(events) == 0:
			return !w.over(due), nil // perhaps only now: nobody would say so again
		case round == stepRounds:
			w.detached.wake() // and others have their turn
			return true, nil
		}
	}
	return false, w.flush()
}

// wait waits until there is something to do.
func (w *watcher) wait(ctx context.Context) {
	timer := time.NewTimer(time.Until(w.nextLook()))
	defer timer.Stop()
	var done <-chan struct{} // never, for kinds that stay as they are
	if custom := w.call.Resource.Custom; custom != nil {
		done = custom.Done
	}
	select {
	case <-w.cursor.Wait():
	case <-timer.C:
	case <-done:
	case <-ctx.Done():
	case <-w.api.Stopping:
	}
}

// over reports whether the watch ends because its time is over, or because the server stops. It still sends what was there when that
// began, and no more: there may always be something new.
func (w *watcher) over(due bool) bool {
	if due && w.late() {
		return true
	}
	if !w.api.stopping() {
		return false
	}
	if w.last == 0 {
		w.last = w.api.State.Snapshot().Revision()
	}
	return w.sent >= w.last
}

// late reports whether the watch's time is over.
func (w *watcher) late() bool { return !time.Now().Before(w.deadline) }

// stopping reports whether the server has begun to stop.
func (a *API) stopping() bool { return closed(a.Stopping) }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (w *watcher) interpret(err error) error {
	if errors.Is(err, state.ErrExpired) {
		return tooOld(w.sent, w.api.State.Floor())
	}
	return err
}

// send turns a change into what it is to this watcher: an object that begins to match is added, one that ceases to is
// deleted, with its last state.
func (w *watcher) send(ctx context.Context, event *state.Event) error {
	before := w.want.matches(event.Previous)
	after := !event.Deleted && w.want.matches(event.Record)
	switch {
	case before && after:
		return w.add(ctx, "MODIFIED", event.Record)
	case after:
		return w.add(ctx, "ADDED", event.Record)
	case !before:
		return nil
	case event.Deleted:
		return w.add(ctx, "DELETED", event.Record)
	default:
		return w.addDeparted(ctx, event)
	}
}

// add puts an event into the buffer.
func (w *watcher) add(ctx context.Context, typ string, record *state.Record) error {
	switch w.out.Shape {
	case wire.Whole:
		bare, err := item(w.call.Resource, record, w.out.Media)
		if err != nil {
			return err
		}
		if done, err := w.addAtOnce(typ, bare); done || err != nil {
			return err
		}
		return w.addItem(typ, bare)
	case wire.Metadata, wire.MetadataList:
		form, err := w.metadataForm()
		if err != nil {
			return err
		}
		bare, err := form.item(record)
		if err != nil {
			return err
		}
		return w.addItem(typ, bare)
	}
	obj, err := decode(w.call.Resource.Kind, record)
	if err != nil {
		return err
	}
	return w.addObject(ctx, typ, obj)
}

// metadataForm is the form that lists of metadata have it in.
func (w *watcher) metadataForm() (*form, error) {
	if w.metadata != nil {
		return w.metadata, nil
	}
	out := w.out
	out.Shape = wire.MetadataList
	var err error
	w.metadata, err = w.call.form(out)
	return w.metadata, err
}

// addItem adds an event with an item as lists have it, of a whole object or of its metadata.
func (w *watcher) addItem(typ string, item []byte) error {
	switch {
	case w.out.Shape == wire.Whole:
		return w.grown(wire.AppendItemEvent(w.grow(), w.out.Media, typ, w.call.Resource.Frame(), item))
	case w.out.Media != wire.Protobuf: // it has its kind already
		return w.grown(wire.AppendEvent(w.grow(), w.out.Media, typ, item))
	}
	gvk := w.metadata.list.Kind.GroupVersion().WithKind("PartialObjectMetadata")
	return w.grown(wire.AppendItemEvent(w.grow(), w.out.Media, typ, gvk, item))
}

// addDeparted tells of an object that no longer matches: its state before the change, with the revision of the change.
func (w *watcher) addDeparted(ctx context.Context, event *state.Event) error {
	obj, err := w.call.Resource.Decode(event.Previous.Value(), event.Revision)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	return w.addObject(ctx, "DELETED", obj)
}

func (w *watcher) addObject(ctx context.Context, typ string, obj runtime.Object) error {
	object, err := w.encode(ctx, obj)
	if err != nil {
		return err
	}
	return w.grown(wire.AppendEvent(w.grow(), w.out.Media, typ, object))
}

func (w *watcher) encode(ctx context.Context, obj runtime.Object) ([]byte, error) {
	switch w.out.Shape {
	case wire.Table:
		table, err := tableOf(ctx, w.call, w.out, obj, w.table)
		if err != nil {
			return nil, err
		}
		w.table.NoHeaders = true // only the first table of a watch names its columns
		return encodeMeta(w.out, table)
	case wire.Metadata, wire.MetadataList:
		out := w.out
		out.Shape = wire.Metadata
		partial, err := partialMetadata(out, obj)
		if err != nil {
			return nil, err
		}
		return encodeMeta(w.out, partial)
	}
	return w.api.body(ctx, w.call, w.out, obj)
}

// bookmark tells the client how far it is; initialEventsEnd marks the one after the initial state (KEP-3157).
func (w *watcher) bookmark(ctx context.Context, initialEventsEnd bool) error {
	obj := w.call.Resource.New()
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	accessor.SetResourceVersion(strconv.FormatInt(w.sent, 10))
	if initialEventsEnd {
		accessor.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	return w.addObject(ctx, "BOOKMARK", obj)
}

// fail tells an error in the stream; if it came from the stream itself, to nobody.
func (w *watcher) fail(err error) {
	object, encodeErr := wire.Typed(w.out.Media, metav1.Unversioned.WithKind("Status"), request.Status(err))
	if encodeErr == nil && w.grown(wire.AppendEvent(w.grow(), w.out.Media, "ERROR", object)) == nil {
		_ = w.flush() // to a client that may be gone
	}
}
