package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// Object frames an item as an object on its own: with its kind and apiVersion. The item is not changed.
func Object(media Media, gvk schema.GroupVersionKind, item []byte) ([]byte, error) {
	switch media {
	case Protobuf:
		return appendEnvelope(nil, gvk, len(item), func(b []byte) []byte { return append(b, item...) }), nil
	case YAML:
		return yaml.JSONToYAML(appendJSONObject(nil, gvk, item))
	}
	return append(appendJSONObject(make([]byte, 0, len(item)+96), gvk, item), '\n'), nil
}

// appendJSONObject puts kind and apiVersion in front of the members of an item.
func appendJSONObject(b []byte, gvk schema.GroupVersionKind, item []byte) []byte {
	b = appendTypeMeta(b, gvk)
	if len(item) > len("{}") {
		b = append(b, ',')
	}
	return append(b, item[1:]...)
}

// appendTypeMeta opens a JSON object, with its first two members.
func appendTypeMeta(b []byte, gvk schema.GroupVersionKind) []byte {
	b = append(b, `{"kind":"`...)
	b = append(b, gvk.Kind...)
	b = append(b, `","apiVersion":"`...)
	b = append(b, gvk.GroupVersion().String()...)
	return append(b, '"')
}

// appendEnvelope wraps a message of the given size into a runtime.Unknown behind the magic number, byte for byte as
// apimachinery/pkg/runtime/serializer/protobuf does.
func appendEnvelope(b []byte, gvk schema.GroupVersionKind, size int, message func([]byte) []byte) []byte {
	apiVersion := gvk.GroupVersion().String()
	if b == nil {
		b = make([]byte, 0, size+len(apiVersion)+len(gvk.Kind)+32)
	}
	b = append(b, "k8s\x00"...)
	typeMeta := protowire.SizeBytes(len(apiVersion)) + protowire.SizeBytes(len(gvk.Kind)) + 2
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(typeMeta))
	b = appendProtobufString(b, 1, apiVersion)
	b = appendProtobufString(b, 2, gvk.Kind)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = message(b)
	b = appendProtobufString(b, 3, "") // contentEncoding
	return appendProtobufString(b, 4, "")
}

func appendProtobufString(b []byte, number protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), s)
}

// List frames items as a list of the given kind ("PodList").
func List(media Media, gvk schema.GroupVersionKind, meta metav1.ListMeta, items [][]byte) ([]byte, error) {
	switch media {
	case Protobuf:
		return protobufList(gvk, meta, items), nil
	case YAML:
		return yaml.JSONToYAML(jsonList(gvk, meta, items))
	}
	return jsonList(gvk, meta, items), nil
}

func jsonList(gvk schema.GroupVersionKind, meta metav1.ListMeta, items [][]byte) []byte {
	size := 256
	for _, item := range items {
		size += len(item) + 1
	}
	b := appendTypeMeta(make([]byte, 0, size), gvk)
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
	b = append(b, `},"items":[`...)
	for i, item := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, item...)
	}
	return append(b, "]}\n"...)
}

func protobufList(gvk schema.GroupVersionKind, meta metav1.ListMeta, items [][]byte) []byte {
	listMeta, _ := meta.Marshal() // into memory: cannot fail
	size := 1 + protowire.SizeBytes(len(listMeta))
	for _, item := range items {
		size += 1 + protowire.SizeBytes(len(item))
	}
	return appendEnvelope(nil, gvk, size, func(b []byte) []byte {
		b = protowire.AppendBytes(protowire.AppendTag(b, 1, protowire.BytesType), listMeta)
		for _, item := range items {
			b = protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), item)
		}
		return b
	})
}

// AppendEvent frames a watch event. object is a whole object as Object returns it for the same media; its trailing newline
// does not matter. JSON events are separated by newlines, protobuf events are preceded by their length in four bytes, big
// endian (apimachinery/pkg/util/framer).
func AppendEvent(b []byte, media Media, typ string, object []byte) []byte {
	if media == Protobuf {
		raw := 1 + protowire.SizeBytes(len(object))
		size := 1 + protowire.SizeBytes(len(typ)) + 1 + protowire.SizeBytes(raw)
		b = binary.BigEndian.AppendUint32(b, uint32(size))
		b = appendProtobufString(b, 1, typ)
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(raw))
		return protowire.AppendBytes(protowire.AppendTag(b, 1, protowire.BytesType), object)
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

// Indent makes JSON readable, as apimachinery's pretty serializer does: without a newline at its end.
func Indent(b []byte) ([]byte, error) {
	var buffer bytes.Buffer
	if err := json.Indent(&buffer, bytes.TrimSuffix(b, []byte("\n")), "", "  "); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}
