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
	return span.Encoding(f.dense, func(former state.Former) ([]byte, error) {
		room := newRoom()
		defer room.free()
		if err := room.join(f, span, former); err != nil {
			return nil, err
		}
		return room.pack(), nil
	})
}

// room is where a span's items are joined and packed. It is used again, because of a large list there are many spans.
type room struct {
	value, joined, packed, former []byte
	lengths                       []int // of the items
}

var rooms = sync.Pool{New: func() any { return new(room) }}

// keptRoom is the size, in bytes of joined items, above which a room is not used again.
const keptRoom = 4 << 20

func newRoom() *room { return rooms.Get().(*room) }

// free gives the room back. Nobody may use it afterwards.
func (r *room) free() {
	if cap(r.joined) <= keptRoom {
		rooms.Put(r)
	}
}

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

// join puts the framed items of a span into the room. What is made of them is not kept; what was made of them formerly is not made again.
func (r *room) join(f *form, span state.Span, former state.Former) error {
	r.joined, r.lengths = r.joined[:0], r.lengths[:0]
	known, err := r.known(f.media, former)
	if err != nil {
		return err
	}
	for _, record := range span.Records {
		if framed, length := known.of(record); framed != nil {
			r.joined, r.lengths = append(r.joined, framed...), append(r.lengths, length)
			continue
		}
		at := len(r.joined)
		if err := r.item(f, record); err != nil {
			return err
		}
		r.lengths = append(r.lengths, len(r.joined)-at)
		r.joined = wire.FrameItem(r.joined, f.media, at)
	}
	return nil
}

// known is what is known of the records of a former span, which are asked for in the order of their keys.
type known struct {
	records []*state.Record
	// next returns what was made of the next record, and the length of the item in it.
	next func() (made []byte, length int)
}

func (r *room) known(media wire.Media, former state.Former) (known, error) {
	if former.Data == nil {
		return known{}, nil
	}
	packed := dense(former.Data)
	var err error
	if r.former, err = packed.unpack(r.former); err != nil {
		return known{}, err
	}
	items := packed.items(media, r.former)
	return known{former.Records, func() ([]byte, int) {
		framed, item := items.next()
		return framed, len(item)
	}}, nil
}

// of returns what next does for a record, nil if it is not known.
func (k *known) of(record *state.Record) (made []byte, length int) {
	for len(k.records) > 0 && k.records[0].Key < record.Key {
		k.records = k.records[1:]
		k.next()
	}
	if len(k.records) == 0 || k.records[0] != record {
		return nil, 0
	}
	k.records = k.records[1:]
	return k.next()
}

// item joins an item, which is made if it is not kept, and then not kept.
func (r *room) item(f *form, record *state.Record) error {
	if item := record.Kept(f.id); item != nil {
		r.joined = append(r.joined, item...)
		return nil
	}
	value := r.valueOf(record)
	if f.stored != nil {
		if joined := appendStored(r.joined, f.stored, record, value); joined != nil {
			r.joined = joined
			return nil
		}
	}
	obj, err := decodeValue(f.kind, record, value)
	if err != nil {
		return err
	}
	r.joined, err = f.append(r.joined, obj)
	return err
}

// decode is the function decode by way of a buffer: objects have nothing in common with what they were read from.
func (r *room) decode(k *kind.Kind, record *state.Record) (runtime.Object, error) {
	return decodeValue(k, record, r.valueOf(record))
}

// valueOf returns what is stored, in a buffer if it had to be unpacked.
func (r *room) valueOf(record *state.Record) []byte {
	value := record.ValueIn(r.value)
	if size := record.Size(); size > cap(r.value) {
		r.value = make([]byte, 0, 2*size) // for the next
	}
	return value
}

// head returns the lengths of the items, encoded, and what comes behind.
func (d dense) head() (lengths, packed []byte) {
	n, size := binary.Uvarint(d)
	packed = d[size:]
	lengths = packed
	for range n {
		_, size := binary.Uvarint(packed)
		packed = packed[size:]
	}
	return lengths, packed
}

// size is how many bytes unpack makes.
func (d dense) size() int {
	_, packed := d.head()
	n, _ := s2.DecodedLen(packed) // what is no length is found by who unpacks
	return n
}

// unpack returns the framed items, in the buffer if it is large enough.
func (d dense) unpack(buffer []byte) ([]byte, error) {
	_, packed := d.head()
	b, err := s2.Decode(buffer[:cap(buffer)], packed)
	if err != nil {
		return nil, internalError("items that were packed cannot be unpacked: %v", err)
	}
	return b, nil
}

// items returns the items, one by one, of what was unpacked.
func (d dense) items(media wire.Media, unpacked []byte) items {
	lengths, _ := d.head()
	return items{media, lengths, unpacked}
}

// items are framed items that have not been had.
type items struct {
	media   wire.Media
	lengths []byte // encoded; of all items that are left, and more behind them
	framed  []byte
}

// next returns the next item with its frame and without, nil if there is none.
func (i *items) next() (framed, item []byte) {
	if len(i.framed) == 0 {
		return nil, nil
	}
	n, size := binary.Uvarint(i.lengths)
	i.lengths = i.lengths[size:]
	length := wire.ItemSize(i.media, int(n))
	framed, i.framed = i.framed[:length:length], i.framed[length:]
	if i.media == wire.Protobuf {
		return framed, framed[length-int(n):]
	}
	return framed, framed[:n]
}
