package kind

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kayak-k8s/kayak/internal/quickjson"
)

// Codec leads between the forms of an object. Its parts are upstream's interfaces; a scheme and its codec factory provide all
// of them for built-in kinds.
type Codec struct {
	Typer      runtime.ObjectTyper
	Creater    runtime.ObjectCreater
	Defaulter  runtime.ObjectDefaulter
	Convertor  runtime.ObjectConvertor
	Serializer runtime.NegotiatedSerializer
	// Parameters reads options from a query, for subresources that have options of their own.
	Parameters runtime.ParameterCodec
	// Hub is the version of objects inside the engine.
	Hub runtime.GroupVersioner
	// Stored encodes objects of the hub version for the store.
	Stored runtime.Encoder
	// Load decodes stored bytes, in any version the scheme knows, into the hub version, with defaults.
	Load runtime.Decoder

	// Written, when set, makes of an object that has been encoded for the store what Decode would read, in a fraction of the time. It may
	// change it, and returns nil if it must be read. asStored says that reading adds nothing to the protobuf message, nil if it has been
	// encoded as something else.
	Written func(obj runtime.Object, message []byte) (read runtime.Object, asStored bool)

	// Accept, when set, does to an object that is made of maps, and belongs to the caller, what is done to one that is read from a body. It
	// returns false if there is anything to be said about it, even a warning; what has become of it is of no use then.
	Accept func(obj runtime.Object) bool

	// Bodies keeps the decoders that are made for bodies, strict (true) or not: making one costs as much as reading a small body.
	Bodies sync.Map
}

// Decode reads a stored object; revision becomes its resourceVersion.
func (k *Kind) Decode(value []byte, revision int64) (runtime.Object, error) {
	if k.Codec.Written != nil { // it is a scheme, and protobuf
		if obj := k.decodeOwn(value); obj != nil {
			return k.read(obj, revision)
		}
	}
	obj, _, err := k.Codec.Load.Decode(value, nil, k.New())
	if err != nil {
		return nil, err
	}
	return k.read(obj, revision)
}

// Reread is Decode for the value that Encode has just made of obj, which must not be used afterwards.
func (k *Kind) Reread(obj runtime.Object, value []byte, revision int64) (runtime.Object, error) {
	written, _, err := k.Written(obj, nil, revision)
	if written == nil && err == nil {
		return k.Decode(value, revision)
	}
	return written, err
}

// Written is Reread where the object need not be read for it: otherwise it returns nil. What obj shares with the result must not be
// changed; it may be encoded again. asStored tells whether StoredItem may be used for the value; without a value nobody finds that out.
func (k *Kind) Written(obj runtime.Object, value []byte, revision int64) (written runtime.Object, asStored bool, err error) {
	if k.Codec.Written == nil {
		return nil, false, nil
	}
	var message []byte
	if k.OnRead == nil {
		message = k.message(value)
	}
	if written, asStored = k.Codec.Written(obj, message); written == nil {
		return nil, false, nil
	}
	written, err = k.read(written, revision)
	return written, asStored, err
}

// read completes an object that has been read.
func (k *Kind) read(obj runtime.Object, revision int64) (runtime.Object, error) {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	accessor.SetResourceVersion(strconv.FormatInt(revision, 10))
	if k.OnRead != nil {
		k.OnRead(obj)
	}
	return obj, nil
}

// Encode makes the stored form of an object of the hub version, which it leaves without a resourceVersion: that is the
// store's to give.
func (k *Kind) Encode(obj runtime.Object) ([]byte, error) {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	accessor.SetResourceVersion("")
	accessor.SetSelfLink("")
	var v value
	if encoder, ok := k.Codec.Stored.(runtime.EncoderWithAllocator); ok {
		err = encoder.EncodeWithAllocator(obj, &v, &v)
	} else {
		err = k.Codec.Stored.Encode(obj, &v)
	}
	return v.written, err
}

// value takes what is encoded for the store. What an encoder makes in memory that it has asked for is not copied.
type value struct{ allocated, written []byte }

// Allocate implements runtime.MemoryAllocator.
func (v *value) Allocate(n uint64) []byte {
	v.allocated = make([]byte, n)
	return v.allocated
}

// Write implements io.Writer.
func (v *value) Write(p []byte) (int, error) {
	if v.written == nil && len(p) > 0 && len(v.allocated) >= len(p) && &p[0] == &v.allocated[0] {
		v.written = p[:len(p):len(p)]
	} else {
		v.written = append(v.written, p...)
	}
	return len(p), nil
}

// Convert returns obj, of the hub version, in the resource's version. It may share memory with obj.
func (r *Resource) Convert(obj runtime.Object) (runtime.Object, error) {
	return r.Codec.Sharing().ConvertToVersion(obj, r.Version)
}

// Sharing is the Convertor without the copy that a scheme makes of what it converts: the result may share memory with it.
func (c *Codec) Sharing() runtime.ObjectConvertor {
	if scheme, ok := c.Convertor.(*runtime.Scheme); ok {
		return runtime.UnsafeObjectConvertor(scheme)
	}
	return c.Convertor
}

// Item is an encoded object the way it stands in a list, for most kinds without apiVersion and kind (see Resource.Frame): for JSON
// an object that begins with "{", for protobuf the message itself.
type Item []byte

// ItemID names the encoding of an item in a record.
func (r *Resource) ItemID(protobuf bool) string {
	if protobuf {
		return r.protobufID
	}
	return r.jsonID
}

// EncodeItem encodes obj, of the hub version, in the resource's version.
func (r *Resource) EncodeItem(obj runtime.Object, protobuf bool) (Item, error) {
	shown, err := r.shown(obj, protobuf)
	switch {
	case err != nil:
		return nil, err
	case protobuf:
		return shown.(protobufMessage).Marshal()
	}
	return quickjson.Marshal(shown)
}

// AppendItem is EncodeItem behind what is in b.
func (r *Resource) AppendItem(b []byte, obj runtime.Object, protobuf bool) ([]byte, error) {
	shown, err := r.shown(obj, protobuf)
	if err != nil {
		return b, err
	}
	if !protobuf {
		return quickjson.Append(b, shown)
	}
	message := shown.(protobufMessage)
	size := message.Size()
	b = slices.Grow(b, size)
	n, err := message.MarshalToSizedBuffer(b[len(b) : len(b)+size])
	return b[:len(b)+n], err
}

// protobufMessage is an object with a protobuf form, as the generated ones have it.
type protobufMessage interface {
	Size() int
	Marshal() ([]byte, error)
	MarshalToSizedBuffer([]byte) (int, error)
}

// shown is what encodes as the item of an object: a protobufMessage if that is wanted.
func (r *Resource) shown(obj runtime.Object, protobuf bool) (any, error) {
	if untyped, ok := obj.(*unstructured.Unstructured); ok && r.Custom != nil {
		// As it is: with kind and apiVersion, as upstream has it in lists as well, because members are sorted by name. There is no
		// protobuf form: the error is that of upstream's encoder.
		if protobuf {
			return nil, NoProtobuf(obj)
		}
		return untyped.Object, nil
	}
	versioned, err := r.Convert(obj)
	if err != nil {
		return nil, err
	}
	versioned.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	if _, ok := versioned.(protobufMessage); protobuf && !ok {
		return nil, fmt.Errorf("%T has no protobuf form", versioned)
	}
	return versioned, nil
}

// NoProtobuf is the error of an object that exists in JSON only.
func NoProtobuf(obj runtime.Object) error {
	return apierrors.NewGenericServerResponse(http.StatusNotAcceptable, "", schema.GroupResource{}, "", fmt.Sprintf(
		"object %T does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message", obj), 0, false)
}

func (k *Kind) metadataAttributes(obj runtime.Object) (labels.Set, fields.Set, error) {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, nil, err
	}
	set := fields.Set{"metadata.name": accessor.GetName()}
	if k.Namespaced {
		set["metadata.namespace"] = accessor.GetNamespace()
	}
	return accessor.GetLabels(), set, nil
}

func lower(s string) string { return strings.ToLower(s) }
