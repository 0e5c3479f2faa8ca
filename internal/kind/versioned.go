package kind

import (
	"bytes"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// DecodeVersioned decodes a stored value into an object of the resource's version, for those who think in the types of k8s.io/api.
// Where that is the stored version it costs a fraction of Decode, because what is stored in it and in protobuf, as everything is
// that Kubernetes itself writes, is neither converted nor given defaults: it had them when it was written.
func (r *Resource) DecodeVersioned(value []byte) (runtime.Object, error) {
	if r.Version == r.Storage {
		if obj := r.unmarshal(value); obj != nil {
			return obj, nil
		}
	}
	obj, err := r.Decode(value, 0)
	if err != nil {
		return nil, err
	}
	return r.Convert(obj)
}

// StoredItem returns, of a value in the resource's version, the protobuf message in it. But for the resourceVersion, which is empty, it
// is the item that encoding the object would give, if Written has said so when it was stored. It returns nil for other values, and is
// a part of the value.
func (r *Resource) StoredItem(value []byte) Item {
	if r.Version != r.Storage {
		return nil
	}
	return r.message(value)
}

// message is the protobuf message of the kind's version in a value, nil if it is none.
func (k *Kind) message(value []byte) []byte {
	message, ok := bytes.CutPrefix(value, protobufMagic)
	if !ok {
		return nil
	}
	raw, apiVersion, name, err := unwrap(message)
	if err != nil || string(name) != k.Name || !isVersion(apiVersion, k.Storage) {
		return nil
	}
	return raw
}

// unmarshal reads what is stored as protobuf in the kind's version into an object of that version, as it stands there: without kind and
// apiVersion, and without defaults. It returns nil for anything else, and for what cannot be read.
func (k *Kind) unmarshal(value []byte) runtime.Object {
	raw := k.message(value)
	if raw == nil {
		return nil
	}
	obj, err := k.Codec.Creater.New(k.Storage.WithKind(k.Name))
	if err != nil {
		return nil
	}
	if in, ok := obj.(interface{ Unmarshal([]byte) error }); !ok || in.Unmarshal(raw) != nil {
		return nil
	}
	return obj
}

// isVersion tells whether an apiVersion is a version, without making a string of it.
func isVersion(apiVersion []byte, version schema.GroupVersion) bool {
	group, name, found := bytes.Cut(apiVersion, []byte{'/'})
	if !found {
		group, name = nil, apiVersion
	}
	return string(group) == version.Group && string(name) == version.Version
}

// decodeOwn is what Codec.Load does to what this kind stores, without the search for its form and a copy of it; nil for anything else.
func (k *Kind) decodeOwn(value []byte) runtime.Object {
	obj := k.unmarshal(value)
	if obj == nil {
		return nil
	}
	k.Codec.Defaulter.Default(obj)
	hub, err := k.Codec.Sharing().ConvertToVersion(obj, k.Codec.Hub)
	if err != nil {
		return nil
	}
	return hub
}
