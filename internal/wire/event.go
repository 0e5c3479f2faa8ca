package wire

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// AppendItemEvent frames a watch event around an item: what AppendEvent makes of what Object makes of it, without a copy of the
// object in between.
func AppendItemEvent(b []byte, media Media, typ string, gvk schema.GroupVersionKind, item []byte) []byte {
	if media == Protobuf {
		var space [128]byte // usual names fit
		head := appendEnvelopeHead(space[:0], gvk, len(item))
		b = appendEventHead(b, typ, len(head)+len(item)+len(envelopeTail))
		return append(append(append(b, head...), item...), envelopeTail...)
	}
	b = append(b, `{"type":"`...)
	b = append(b, typ...)
	b = append(b, `","object":`...)
	b = appendJSONObject(b, gvk, item)
	return append(b, "}\n"...)
}

// envelopeTail ends an envelope: contentEncoding and contentType, with nothing in them.
const envelopeTail = "\x1a\x00\x22\x00"

// appendEventHead begins a protobuf event whose object has the given size: the length of its frame, its type, and the tags and
// lengths around the object.
func appendEventHead(b []byte, typ string, object int) []byte {
	raw := 1 + protowire.SizeBytes(object)
	size := 1 + protowire.SizeBytes(len(typ)) + 1 + protowire.SizeBytes(raw)
	b = binary.BigEndian.AppendUint32(b, uint32(size))
	b = appendProtobufString(b, 1, typ)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(raw))
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(object))
}
