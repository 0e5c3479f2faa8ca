package wire

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// Object frames an item as an object on its own: with its kind and apiVersion, unless gvk is empty: then the item has them. The item
// is not changed.
func Object(media Media, gvk schema.GroupVersionKind, item []byte) ([]byte, error) {
	switch media {
	case Protobuf:
		return appendEnvelope(nil, gvk, item), nil
	case YAML:
		return yaml.JSONToYAML(appendJSONObject(nil, gvk, item))
	}
	return append(appendJSONObject(make([]byte, 0, len(item)+96), gvk, item), '\n'), nil
}

// AppendObject is Object for JSON, with an item that is appended to the document.
func AppendObject(b []byte, gvk schema.GroupVersionKind, item func([]byte) ([]byte, error)) ([]byte, error) {
	begins := len(b)
	if !gvk.Empty() {
		b = appendTypeMeta(b, gvk)
		begins = len(b)
	}
	b, err := item(b)
	switch {
	case err != nil:
		return nil, err
	case gvk.Empty():
	case len(b) > begins+len("{}"):
		b[begins] = ',' // where the item begins
	default:
		b = append(b[:begins], '}')
	}
	return append(b, '\n'), nil
}

// appendJSONObject puts kind and apiVersion in front of the members of an item.
func appendJSONObject(b []byte, gvk schema.GroupVersionKind, item []byte) []byte {
	b, rest := appendJSONHead(b, gvk, item)
	return append(b, rest...)
}

// appendJSONHead appends what comes before the part of an item that stands in the object, and returns that.
func appendJSONHead(b []byte, gvk schema.GroupVersionKind, item []byte) (_, rest []byte) {
	if gvk.Empty() {
		return b, item
	}
	b = appendTypeMeta(b, gvk)
	if len(item) > len("{}") {
		b = append(b, ',')
	}
	return b, item[1:]
}

// appendTypeMeta opens a JSON object, with its first two members.
func appendTypeMeta(b []byte, gvk schema.GroupVersionKind) []byte {
	b = append(b, `{"kind":"`...)
	b = append(b, gvk.Kind...)
	b = append(b, `","apiVersion":"`...)
	b = append(b, gvk.GroupVersion().String()...)
	return append(b, '"')
}

// appendEnvelope wraps a message into a runtime.Unknown behind the magic number, byte for byte as
// apimachinery/pkg/runtime/serializer/protobuf does.
func appendEnvelope(b []byte, gvk schema.GroupVersionKind, message []byte) []byte {
	if b == nil {
		b = make([]byte, 0, len(message)+len(gvk.Group)+len(gvk.Version)+len(gvk.Kind)+40)
	}
	return appendEnvelopeTail(append(appendEnvelopeHead(b, gvk, len(message)), message...))
}

// appendEnvelopeHead begins the envelope of a message of the given size.
func appendEnvelopeHead(b []byte, gvk schema.GroupVersionKind, size int) []byte {
	apiVersion := gvk.GroupVersion().String()
	b = append(b, "k8s\x00"...)
	typeMeta := protowire.SizeBytes(len(apiVersion)) + protowire.SizeBytes(len(gvk.Kind)) + 2
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(typeMeta))
	b = appendProtobufString(b, 1, apiVersion)
	b = appendProtobufString(b, 2, gvk.Kind)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(size))
}

func appendEnvelopeTail(b []byte) []byte {
	return append(b, envelopeTail...)
}

func appendProtobufString(b []byte, number protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), s)
}

// Envelope is what is around the items of a list.
type Envelope struct {
	// Kind is that of the list: "PodList".
	Kind schema.GroupVersionKind
	// Untyped says that the list is of unstructured objects: upstream sorts its members by name, and has a continue token always.
	Untyped bool
}

// List frames items as a list. It is for lists that are small, or in YAML, which knows no parts; others are written as the
// envelope's Head, the items as AppendItem frames them, and its Tail.
func List(media Media, envelope Envelope, meta metav1.ListMeta, items [][]byte) ([]byte, error) {
	framed := media
	if media == YAML {
		framed = JSON
	}
	size := 0
	for _, item := range items {
		size += ItemSize(framed, len(item))
	}
	if framed == JSON && len(items) > 0 {
		size-- // the last comma
	}
	head, tail := envelope.Head(framed, meta, size), envelope.Tail(framed, meta)
	b := append(make([]byte, 0, len(head)+size+len(tail)+1), head...)
	for _, item := range items {
		b, _ = AppendItem(b, framed, item)
	}
	if framed == JSON && len(items) > 0 {
		b = b[:len(b)-1]
	}
	b = append(b, tail...)
	if media == YAML {
		return yaml.JSONToYAML(b)
	}
	return b, nil
}

// Head is what comes before the items of a list, whose frames take itemsSize bytes together.
func (e Envelope) Head(media Media, meta metav1.ListMeta, itemsSize int) []byte {
	gvk := e.Kind
	if media == Protobuf {
		return protobufListHead(gvk, meta, itemsSize)
	}
	if e.Untyped {
		return []byte(`{"apiVersion":"` + gvk.GroupVersion().String() + `","items":[`)
	}
	b := appendTypeMeta(make([]byte, 0, 256+len(meta.Continue)), gvk)
	if meta.ResourceVersion == "" { // of what is not stored, which has no pages either
		return append(b, `,"metadata":{},"items":[`...)
	}
	b = append(b, `,"metadata":{"resourceVersion":"`...)
	b = append(b, meta.ResourceVersion...)
	b = append(b, '"')
	if meta.Continue != "" {
		b = append(b, `,"continue":"`...)
		b = append(b, meta.Continue...) // base64url: nothing to escape
		b = append(b, '"')
	}
	if meta.RemainingItemCount != nil {
		b = append(b, `,"remainingItemCount":`...)
		b = strconv.AppendInt(b, *meta.RemainingItemCount, 10)
	}
	return append(b, `},"items":[`...)
}

func protobufListHead(gvk schema.GroupVersionKind, meta metav1.ListMeta, itemsSize int) []byte {
	listMeta, _ := meta.Marshal() // into memory: cannot fail
	b := appendEnvelopeHead(nil, gvk, 1+protowire.SizeBytes(len(listMeta))+itemsSize)
	return protowire.AppendBytes(protowire.AppendTag(b, 1, protowire.BytesType), listMeta)
}

// Tail is what comes after the items of a list.
func (e Envelope) Tail(media Media, meta metav1.ListMeta) []byte {
	if media == Protobuf {
		return appendEnvelopeTail(nil)
	}
	if !e.Untyped {
		return []byte("]}\n")
	}
	b := []byte(`],"kind":"` + e.Kind.Kind + `","metadata":{"continue":"` + meta.Continue + `"`)
	if meta.RemainingItemCount != nil {
		b = strconv.AppendInt(append(b, `,"remainingItemCount":`...), *meta.RemainingItemCount, 10)
	}
	return append(b, `,"resourceVersion":"`+meta.ResourceVersion+"\"}}\n"...)
}

// AppendItem frames an item for a list, and tells where in b the item begins. Each JSON item is followed by a comma, which the
// last item of a list must lose.
func AppendItem(b []byte, media Media, item []byte) (framed []byte, at int) {
	if media == Protobuf {
		b = ItemHead(b, len(item))
		return append(b, item...), len(b)
	}
	at = len(b)
	return append(append(b, item...), ','), at
}

// FrameItem is AppendItem for an item that stands at the end of b already, from at on.
func FrameItem(b []byte, media Media, at int) []byte {
	if media != Protobuf {
		return append(b, ',')
	}
	var space [16]byte
	return slices.Insert(b, at, ItemHead(space[:0], len(b)-at)...)
}

// ItemHead appends what AppendItem puts before a protobuf item of a size.
func ItemHead(b []byte, size int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.BytesType), uint64(size))
}

// ItemSize is how much AppendItem appends for an item of a size.
func ItemSize(media Media, size int) int {
	if media == Protobuf {
		return 1 + protowire.SizeBytes(size)
	}
	return size + 1
}

// AppendEvent frames a watch event. object is a whole object as Object returns it for the same media; its trailing newline
// does not matter. JSON events are separated by newlines, protobuf events are preceded by their length in four bytes, big
// endian (apimachinery/pkg/util/framer).
func AppendEvent(b []byte, media Media, typ string, object []byte) []byte {
	if media == Protobuf {
		return append(appendEventHead(b, typ, len(object)), object...)
	}
	b = append(b, `{"type":"`...)
	b = append(b, typ...)
	b = append(b, `","object":`...)
	b = append(b, bytes.TrimSuffix(object, []byte("\n"))...)
	return append(b, "}\n"...)
}

// Typed encodes a value of a meta type (Status, Table, PartialObjectMetadata), whose kind and apiVersion are set.
func Typed(media Media, gvk schema.GroupVersionKind, v any) ([]byte, error) {
	if media == Protobuf {
		message, err := v.(interface{ Marshal() ([]byte, error) }).Marshal()
		if err != nil {
			return nil, err
		}
		return Object(media, gvk, message)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if media == YAML {
		return yaml.JSONToYAML(b)
	}
	return append(b, '\n'), nil
}
