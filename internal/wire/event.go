package wire

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// AppendItemEvent frames a watch event around an item: what AppendEvent makes of what Object makes of it, without a copy of the
// object in between.
func AppendItemEvent(b []byte, media Media, typ string, gvk schema.GroupVersionKind, item []byte) []byte {
	head, body, tail := ItemEvent(b, media, typ, gvk, item)
	return append(append(head, body...), tail...)
}

// ItemEvent returns the parts of what AppendItemEvent appends, of which body is a part of item: it appends to b only what comes before.
func ItemEvent(b []byte, media Media, typ string, gvk schema.GroupVersionKind, item []byte) (head, body []byte, tail string) {
	if media == Protobuf {
		var space [128]byte // usual names fit
		head := appendEnvelopeHead(space[:0], gvk, len(item))
		b = appendEventHead(b, typ, len(head)+len(item)+len(envelopeTail))
		return append(b, head...), item, envelopeTail
	}
	b = append(b, `{"type":"`...)
	b = append(b, typ...)
	b = append(b, `","object":`...)
	b, body = appendJSONHead(b, gvk, item)
	return b, body, "}\n"
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
