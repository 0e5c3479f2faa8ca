package verb

import (
	"context"
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/quickjson"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// A large list is never put together in memory. It is gathered as parts: the joined encodings that leaves of the tree keep, or
// their compressed forms, or single encodings of records where the list has only some of a leaf. Nothing is sent before all
// parts are there, so that their sizes are known and an object that cannot be decoded is a proper error. What the parts hold is
// bounded, because a list that would fill much of what may be kept encoded is gathered in a packed form, a tenth of the size or
// less, and is unpacked part by part as it is written. For a client that takes gzip that is the compressed form itself; for others
// it is one that takes little time to unpack.

// form is how the items of a list are wanted.
type form struct {
	media wire.Media // never YAML: that is made of JSON
	list  wire.Envelope
	// id names the items' encoding in records and spans, packed the compressed one in spans, dense the one to be unpacked.
	id, packed, dense string
	of                func(runtime.Object) ([]byte, error)         // encodes an object of the hub version
	append            func([]byte, runtime.Object) ([]byte, error) // the same, behind what is there
	kind              *kind.Kind
	// stored is the resource if the items are those of a protobuf list of it, which may be stored as they are.
	stored *kind.Resource
}

// form returns the form of a list of whole objects or of their metadata.
func (c *Call) form(out wire.Output) (*form, error) {
	media := out.Media
	if media == wire.YAML {
		media = wire.JSON
	}
	protobuf := media == wire.Protobuf
	f := &form{media: media, kind: c.Resource.Kind}
	switch out.Shape {
	case wire.Whole:
		if protobuf {
			f.stored = c.Resource
		}
		f.list = listEnvelope(c.Resource)
		f.id = c.Resource.ItemID(protobuf)
		f.of = func(obj runtime.Object) ([]byte, error) { return c.Resource.EncodeItem(obj, protobuf) }
		f.append = func(b []byte, obj runtime.Object) ([]byte, error) { return c.Resource.AppendItem(b, obj, protobuf) }
	default:
		if _, err := partialMetadata(out, c.Resource.NewList()); err != nil {
			return nil, err // a single one was asked for
		}
		gv := schema.GroupVersion{Group: metav1.GroupName, Version: out.Version}
		f.list = wire.Envelope{Kind: gv.WithKind("PartialObjectMetadataList")}
		f.id = gv.String() + "/metadata/" + media.String()
		f.of = func(obj runtime.Object) ([]byte, error) { return encodeMetadata(obj, gv, protobuf) }
		f.append = func(b []byte, obj runtime.Object) ([]byte, error) {
			item, err := f.of(obj)
			return append(b, item...), err
		}
	}
	f.packed, f.dense = f.id+"/packed", f.id+"/dense"
	return f, nil
}

// encodeMetadata encodes an object's metadata as an item of a list.
func encodeMetadata(obj runtime.Object, gv schema.GroupVersion, protobuf bool) ([]byte, error) {
	partial, err := metadataOf(obj, gv)
	if err != nil {
		return nil, err
	}
	if protobuf {
		return partial.Marshal()
	}
	return quickjson.Marshal(partial)
}

func (f *form) encode(record *state.Record) ([]byte, error) {
	if f.stored != nil {
		return encodeItem(f.stored, record, true)
	}
	obj, err := decode(f.kind, record)
	if err != nil {
		return nil, err
	}
	return f.of(obj)
}

func (f *form) item(record *state.Record) ([]byte, error) {
	return record.Encoding(f.id, func() ([]byte, error) { return f.encode(record) })
}

func (f *form) frame(b, item []byte) ([]byte, int) { return wire.AppendItem(b, f.media, item) }

// listItems answers with a list of whole objects or of their metadata.
func (a *API) listItems(ctx context.Context, c *Call, out wire.Output, f *form, p *page) error {
	size, err := f.estimate(p)
	if err != nil {
		return err
	}
	if size <= assembled || out.Media == wire.YAML {
		return listSmall(ctx, c, out, f, p)
	}
	g := gathering{form: f, packed: out.Gzip && !out.Pretty, keep: size <= a.keptPlain()}
	for _, span := range p.spans {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := g.add(span); err != nil {
			return err
		}
	}
	head := f.list.Head(f.media, p.meta, g.size)
	defer boundWrites(ctx, c.Writer)()
	w := newListWriter(c.Writer, out, head, f.list.Tail(f.media, p.meta), g.size)
	for i := range g.parts {
		w.part(&g.parts[i], i == len(g.parts)-1)
	}
	w.end()
	return nil
}

// keptPlain is how large a list may be, in bytes, to be kept as it is: a part of all that is kept.
func (a *API) keptPlain() int64 { return a.State.EncodingBytes() / 2 }

// assembled is the size, in bytes, up to which a list is put together in memory.
const assembled = 2 * wire.GzipThreshold

// listSmall answers with a list in one piece.
func listSmall(ctx context.Context, c *Call, out wire.Output, f *form, p *page) error {
	items := make([][]byte, 0, p.count)
	for _, span := range p.spans {
		for _, record := range span.Records {
			item, err := f.item(record)
			if err != nil {
				return err
			}
			items = append(items, item)
		}
	}
	body, err := wire.List(out.Media, f.list, p.meta, items)
	if err != nil {
		return err
	}
	return send(ctx, c, out, http.StatusOK, body)
}

// estimate guesses the size of all items, from how much larger than its stored form the first one is.
func (f *form) estimate(p *page) (int64, error) {
	if p.count == 0 {
		return 0, nil
	}
	first := p.spans[0].Records[0]
	item, err := f.item(first)
	if err != nil {
		return 0, err
	}
	stored := 0
	for _, span := range p.spans {
		for _, record := range span.Records {
			stored += record.Size()
		}
	}
	return int64(float64(stored) * float64(len(item)) / float64(max(first.Size(), 1))), nil
}

// part is a part of a list: one of its fields is set.
type part struct {
	joined []byte      // framed items
	items  [][]byte    // to be framed
	packed wire.Packed // framed items, for JSON without the last comma
	dense  dense       // framed items
}

// gathering collects the parts of a list.
type gathering struct {
	form *form
	// packed asks for compressed parts; keep says that the plain ones may be kept, without which they are dense.
	packed, keep bool
	parts        []part
	size         int // of all framed items, without the last comma of JSON
}

func (g *gathering) add(span state.Span) error {
	var one part
	size := 0
	var err error
	switch {
	case g.packed && (span.Keeps() || !g.keep):
		if one.packed, err = g.pack(span); err != nil {
			return err
		}
		size = one.packed.Size()
		if g.form.media == wire.JSON {
			size++
		}
	case !g.keep:
		if one.dense, err = g.form.pack(span); err != nil {
			return err
		}
		size = one.dense.size()
	case span.Keeps():
		if one.joined, err = span.Joined(g.form.id, g.form.encode, g.form.frame); err != nil {
			return err
		}
		size = len(one.joined)
	default:
		one.items = make([][]byte, len(span.Records))
		for i, record := range span.Records {
			if one.items[i], err = g.form.item(record); err != nil {
				return err
			}
			size += wire.ItemSize(g.form.media, len(one.items[i]))
		}
	}
	if len(g.parts) == 0 && g.form.media == wire.JSON {
		g.size-- // the last comma
	}
	g.size += size
	g.parts = append(g.parts, one)
	return nil
}

// pack returns the compressed form of a span's items. The plain ones are kept only if that is wanted.
func (g *gathering) pack(span state.Span) (wire.Packed, error) {
	return span.Encoding(g.form.packed, func(state.Former) ([]byte, error) {
		if g.keep {
			joined, err := span.Joined(g.form.id, g.form.encode, g.form.frame)
			if err != nil {
				return nil, err
			}
			return wire.Pack(withoutComma(g.form.media, joined)), nil
		}
		packed, err := g.form.pack(span) // where something has changed it is made of what has not
		if err != nil {
			return nil, err
		}
		room := newRoom()
		defer room.free()
		if room.joined, err = packed.unpack(room.joined); err != nil {
			return nil, err
		}
		return wire.Pack(withoutComma(g.form.media, room.joined)), nil
	})
}

func withoutComma(media wire.Media, framed []byte) []byte {
	if media == wire.JSON {
		return framed[:len(framed)-1]
	}
	return framed
}

// listWriter writes the parts of a list, or of a table, as they are, indented or compressed. It belongs to one goroutine. What it
// is written to may be a client that is gone; then it does nothing any more.
type listWriter struct {
	w      http.ResponseWriter
	media  wire.Media
	pretty bool
	gzip   *wire.Gzip // nil for a plain answer
	tail   []byte
	buffer []byte
	// indented is room for what has been indented.
	indented []byte
	frame    []byte // the small pieces that have not filled a frame yet
	err      error
}

// newListWriter begins an answer; size is that of all parts together, -1 when it is not known.
func newListWriter(w http.ResponseWriter, out wire.Output, head, tail []byte, size int) *listWriter {
	l := &listWriter{w: w, media: out.Media, pretty: out.Pretty && out.Media == wire.JSON, tail: tail}
	if l.pretty {
		head, l.tail = wire.IndentEnds(head, tail)
	}
	header := w.Header()
	header.Set("Content-Type", out.Media.String())
	compress := out.Gzip && (size < 0 || len(head)+size+len(tail) > wire.GzipThreshold)
	switch {
	case compress:
		wire.SetGzip(header)
	case size >= 0 && !l.pretty:
		header.Set("Content-Length", strconv.Itoa(len(head)+size+len(tail)))
	}
	w.WriteHeader(http.StatusOK)
	if compress {
		l.gzip = wire.NewGzip(w)
	}
	l.write(head)
	return l
}

// part writes one part.
func (l *listWriter) part(p *part, last bool) {
	switch {
	case l.err != nil:
	case p.packed != nil && l.gzip != nil && !l.pretty:
		if l.err = l.gzip.Packed(p.packed); !last {
			l.comma()
		}
	case p.packed != nil:
		if l.buffer, l.err = p.packed.AppendPlain(l.buffer[:0]); l.err == nil && l.media == wire.JSON {
			l.buffer = append(l.buffer, ',')
		}
		l.framed(l.buffer, last)
	case p.dense != nil:
		if l.buffer, l.err = p.dense.unpack(l.buffer); l.err == nil {
			l.framed(l.buffer, last)
		}
	case p.joined != nil:
		l.framed(p.joined, last)
	case l.gzip == nil && !l.pretty:
		l.items(p.items, last)
	default:
		l.buffer = l.buffer[:0]
		for _, item := range p.items {
			l.buffer, _ = wire.AppendItem(l.buffer, l.media, item)
		}
		l.framed(l.buffer, last)
	}
}

// items writes items that have not been framed.
func (l *listWriter) items(items [][]byte, last bool) {
	for i, item := range items {
		if l.media == wire.Protobuf {
			l.write(wire.ItemHead(l.buffer[:0], len(item)))
		}
		l.write(item)
		if !last || i < len(items)-1 {
			l.comma()
		}
	}
}

// framed writes framed items.
func (l *listWriter) framed(b []byte, last bool) {
	if l.err != nil {
		return
	}
	if !l.pretty {
		if last {
			b = withoutComma(l.media, b)
		}
		l.write(b)
		return
	}
	l.indented = wire.AppendIndentedItems(l.indented[:0], withoutComma(l.media, b))
	l.write(l.indented)
	if !last {
		l.comma()
	}
}

func (l *listWriter) comma() {
	if l.media == wire.JSON {
		l.write([]byte{','})
	}
}

// end writes what comes after the parts.
func (l *listWriter) end() {
	l.write(l.tail)
	l.flush()
	if l.gzip != nil && l.err == nil {
		l.err = l.gzip.Close()
	}
}

func (l *listWriter) write(b []byte) {
	switch {
	case l.err != nil:
	case l.gzip != nil:
		l.err = l.gzip.Plain(b)
	case len(b) >= wholeFrame:
		l.flush()
		for len(b) > 0 && l.err == nil {
			n := min(len(b), wholeFrame)
			_, l.err = l.w.Write(b[:n])
			b = b[n:]
		}
	default:
		l.gather(b)
	}
}

// gather puts small pieces together: a frame costs more than to copy what is in it.
func (l *listWriter) gather(b []byte) {
	if l.frame == nil {
		l.frame = make([]byte, 0, wholeFrame)
	}
	n := min(len(b), wholeFrame-len(l.frame))
	if l.frame = append(l.frame, b[:n]...); len(l.frame) == wholeFrame {
		l.flush()
		l.frame = append(l.frame, b[n:]...)
	}
}

func (l *listWriter) flush() {
	if len(l.frame) > 0 && l.err == nil {
		_, l.err = l.w.Write(l.frame)
	}
	l.frame = l.frame[:0]
}

// wholeFrame is the size of writes that, as an HTTP/2 frame, fit one TLS record.
const wholeFrame = 16<<10 - 9
