package verb

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/s2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kayak-k8s/kayak/internal/state"
)

// Rows that are too many to be kept as they are, are kept packed, those of a leaf together, each row with the JSON of its object:
// a tenth of the size or less. They are unpacked into buffers that are used again once the rows in them have been written. So what
// a large table takes beyond what is kept is bounded, and small.

// packs reports whether rows can be kept packed. Whole objects are too large, and of custom objects no rows are kept at all.
func (t *tableWriter) packs() bool {
	return t.options.IncludeObject != metav1.IncludeObject && t.call.Resource.Custom == nil
}

// addPacked adds the rows of a span that keeps.
func (t *tableWriter) addPacked(ctx context.Context, span state.Span, object *form) error {
	id := "table/rows/packed"
	if object != nil {
		id += "/" + object.id
	}
	packed, err := span.Encoding(id, func(former state.Former) ([]byte, error) {
		room := newRoom()
		defer room.free()
		if err := t.joinRows(ctx, room, span.Records, object, former); err != nil {
			return nil, err
		}
		return room.packBehind(nil), nil
	})
	if err != nil {
		return err
	}
	buffer, err := s2.Decode(t.buffer(packed), packed)
	if err != nil {
		return internalError("rows that were packed cannot be unpacked: %v", err)
	}
	// Only now: rows that are written meanwhile free the buffers of those before.
	defer func() { t.used = append(t.used, buffer) }()
	for rest, i := buffer, 0; i < len(span.Records); i++ {
		var kept, json []byte
		if kept, rest, err = cutPiece(rest); err == nil {
			json, rest, err = cutPiece(rest)
		}
		switch {
		case err != nil:
			return internalError("rows were packed wrongly: %v", err)
		case len(kept) == 0:
			if err := t.addMade(ctx, span.Records[i:i+1]); err != nil {
				return err
			}
		default:
			t.add(tableRow{kept: kept, age: keptRow(kept).age(t.now), object: json}, len(kept)+len(json))
		}
	}
	return nil
}

// joinRows makes the rows of records as they are packed: of each the row to keep and the object, with their lengths before them;
// both are empty when the row cannot be kept. What was made of them formerly is not made again.
func (t *tableWriter) joinRows(ctx context.Context, room *room, records []*state.Record, object *form, former state.Former) error {
	room.joined = room.joined[:0]
	known, err := room.knownRows(former)
	if err != nil {
		return err
	}
	for _, record := range records {
		if row, _ := known.of(record); row != nil {
			room.joined = append(room.joined, row...)
			continue
		}
		obj, err := room.decode(t.call.Resource.Kind, record)
		if err != nil {
			return err
		}
		kept, json, err := t.makeKept(ctx, obj, object)
		if err != nil {
			return err
		}
		if len(kept) == 0 {
			json = nil
		}
		room.joined = appendPiece(appendPiece(room.joined, kept), json)
	}
	return nil
}

// knownRows are the rows of a former span, as they are packed.
func (r *room) knownRows(former state.Former) (_ known, err error) {
	if former.Data == nil {
		return known{}, nil
	}
	if r.former, err = s2.Decode(r.former[:cap(r.former)], former.Data); err != nil {
		return known{}, internalError("rows that were packed cannot be unpacked: %v", err)
	}
	rest := r.former
	return known{former.Records, func() ([]byte, int) {
		row := rest
		for range 2 { // the row and the object
			if _, rest, err = cutPiece(rest); err != nil {
				return nil, 0
			}
		}
		return row[:len(row)-len(rest)], 0
	}}, nil
}

// makeKept makes a row to keep and its object, both of one decoded object, which it changes.
func (t *tableWriter) makeKept(ctx context.Context, obj runtime.Object, object *form) (kept, json []byte, err error) {
	json = []byte("null")
	if object != nil {
		if json, err = object.of(obj); err != nil {
			return nil, nil, err
		}
	}
	kept, err = t.keptRow(ctx, obj)
	return kept, json, err
}

func appendPiece(b, piece []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(piece))), piece...)
}

func cutPiece(b []byte) (piece, rest []byte, err error) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, fmt.Errorf("%d bytes are left", len(b))
	}
	return b[n : n+int(size)], b[n+int(size):], nil
}

// buffer returns memory to unpack into.
func (t *tableWriter) buffer(packed []byte) []byte {
	size, _ := s2.DecodedLen(packed) // what is no length is found by who unpacks
	if n := len(t.spare); n > 0 {
		b := t.spare[n-1]
		if t.spare = t.spare[:n-1]; cap(b) >= size {
			return b
		}
	}
	return make([]byte, 0, (size/bufferStep+1)*bufferStep) // what is there for one leaf should do for most
}

const bufferStep = 64 << 10
