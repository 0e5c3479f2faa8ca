package verb

import (
	"encoding/binary"
	"slices"
	"sync"

	"github.com/klauspost/compress/s2"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// dense is what a span keeps of a form of which everything, as it is, would be too much to keep: the framed items, packed with s2, to
// a tenth or less. Before them stand their number and the length of each item, so that they can be had one by one as well.
type dense []byte

// pack returns the dense form of a span's items, which is kept if the span keeps anything.
func (f *form) pack(span state.Span) (dense, error) {
	return span.Encoding(f.dense, func() ([]byte, error) {
		room := rooms.Get().(*room)
		defer rooms.Put(room)
		if err := room.join(f, span); err != nil {
			return nil, err
		}
		return room.pack(), nil
	})
}

// room is where a span's items are joined and packed. It is used again, because of a large list there are many spans.
type room struct {
	value, joined, packed []byte
	lengths               []int // of the items
}

var rooms = sync.Pool{New: func() any { return new(room) }}

func (r *room) pack() dense {
	head := binary.AppendUvarint(nil, uint64(len(r.lengths)))
	for _, n := range r.lengths {
		head = binary.AppendUvarint(head, uint64(n))
	}
	return r.packBehind(head)
}

// packBehind returns what is joined, packed, behind a head: just as large as it needs to be, because it may be kept.
func (r *room) packBehind(head []byte) []byte {
	r.packed = s2.Encode(r.packed[:cap(r.packed)], r.joined)
	return slices.Concat(head, r.packed)
}

// join puts the framed items of a span into the room. What is made of them is not kept.
func (r *room) join(f *form, span state.Span) (err error) {
	if packed := dense(span.Kept(f.dense)); packed != nil {
		r.joined, err = packed.unpack(r.joined)
		return err
	}
	r.joined, r.lengths = r.joined[:0], r.lengths[:0]
	for _, record := range span.Records {
		at := len(r.joined)
		if err := r.item(f, record); err != nil {
			return err
		}
		r.lengths = append(r.lengths, len(r.joined)-at)
		r.joined = wire.FrameItem(r.joined, f.media, at)
	}
	return nil
}

// item joins an item, which is made if it is not kept, and then not kept.
func (r *room) item(f *form, record *state.Record) error {
	if item := record.Kept(f.id); item != nil {
		r.joined = append(r.joined, item...)
		return nil
	}
	obj, err := r.decode(f.kind, record)
	if err != nil {
		return err
	}
	r.joined, err = f.append(r.joined, obj)
	return err
}

// decode is the function decode by way of a buffer: objects have nothing in common with what they were read from.
func (r *room) decode(k *kind.Kind, record *state.Record) (runtime.Object, error) {
	value := record.ValueIn(r.value)
	if size := record.Size(); size > cap(r.value) {
		r.value = make([]byte, 0, 2*size) // for the next
	}
	return decodeValue(k, record, value)
}

// head returns the lengths of the items, encoded, and what comes behind.
func (d dense) head() (count int, lengths, packed []byte) {
	n, size := binary.Uvarint(d)
	packed = d[size:]
	lengths = packed
	for range n {
		_, size := binary.Uvarint(packed)
		packed = packed[size:]
	}
	return int(n), lengths, packed
}

// size is how many bytes unpack makes.
func (d dense) size() int {
	_, _, packed := d.head()
	n, _ := s2.DecodedLen(packed) // what is no length is found by who unpacks
	return n
}

// unpack returns the framed items, in the buffer if it is large enough.
func (d dense) unpack(buffer []byte) ([]byte, error) {
	_, _, packed := d.head()
	b, err := s2.Decode(buffer[:cap(buffer)], packed)
	if err != nil {
		return nil, internalError("items that were packed cannot be unpacked: %v", err)
	}
	return b, nil
}

// items calls fn for each item, which is part of what was unpacked.
func (d dense) items(media wire.Media, unpacked []byte, fn func(item []byte) error) error {
	count, lengths, _ := d.head()
	for range count {
		n, size := binary.Uvarint(lengths)
		lengths = lengths[size:]
		framed, at := wire.ItemSize(media, int(n)), 0
		if media == wire.Protobuf {
			at = framed - int(n)
		}
		if err := fn(unpacked[at : at+int(n)]); err != nil {
			return err
		}
		unpacked = unpacked[framed:]
	}
	return nil
}
