package verb

import (
	"context"

	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"

	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// sendInitial sends what there is as additions, and then, to a client that takes bookmarks, that this was all.
func (w *watcher) sendInitial(ctx context.Context, snapshot *state.Snapshot, options *metainternalversion.ListOptions) error {
	if snapshot == nil {
		return nil
	}
	complete, err := w.sendAll(ctx, snapshot)
	if err == nil && !complete {
		return nil // the watch is over; that everything has been sent is not to be said
	}
	if err == nil && options.AllowWatchBookmarks && options.SendInitialEvents != nil {
		err = w.bookmark(ctx, true)
	}
	if err != nil {
		return err
	}
	return w.flush()
}

// sendAll sends all that is wanted, unless the client goes or the watch's time is over meanwhile.
func (w *watcher) sendAll(ctx context.Context, snapshot *state.Snapshot) (complete bool, _ error) {
	prefix, exact := w.want.within(w.call.Resource, w.api.Root)
	p := &page{}
	if exact {
		if record := snapshot.Get(prefix + w.want.name); w.want.matches(record) {
			p.addOne(record)
		}
	} else {
		p.fill(snapshot, w.want, w.call.Resource.KeyPrefix(w.api.Root, ""), prefix, "", 0)
	}
	form, err := w.largeForm(p)
	if err != nil {
		return false, err
	}
	var buffer []byte
	for _, span := range p.spans {
		if ctx.Err() != nil || w.late() {
			return false, nil
		}
		if form == nil {
			err = w.sendEach(ctx, span)
		} else {
			buffer, err = w.sendPacked(form, span, buffer)
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// largeForm is the form of what is so large that lists of it are kept packed (see dense), nil for what is not, or has no form.
func (w *watcher) largeForm(p *page) (*form, error) {
	var form *form
	var err error
	switch w.out.Shape {
	case wire.Whole:
		form, err = w.call.form(w.out)
	case wire.Metadata, wire.MetadataList:
		form, err = w.metadataForm()
	default:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if size, err := form.estimate(p); err != nil || size <= w.api.keptPlain() {
		return nil, err
	}
	return form, nil
}

// sendEach sends what each record keeps.
func (w *watcher) sendEach(ctx context.Context, span state.Span) error {
	for _, record := range span.Records {
		if err := w.add(ctx, "ADDED", record); err != nil {
			return err
		}
	}
	return nil
}

// sendPacked sends what a span keeps packed, by way of a buffer.
func (w *watcher) sendPacked(form *form, span state.Span, buffer []byte) ([]byte, error) {
	packed, err := form.pack(span)
	if err != nil {
		return buffer, err
	}
	if buffer, err = packed.unpack(buffer); err != nil {
		return buffer, err
	}
	items := packed.items(form.media, buffer)
	for _, item := items.next(); item != nil; _, item = items.next() {
		if err := w.addItem("ADDED", item); err != nil {
			return buffer, err
		}
	}
	return buffer, nil
}
