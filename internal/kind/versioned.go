package kind

import (
	"bytes"

	"k8s.io/apimachinery/pkg/runtime"
)

// DecodeVersioned decodes a stored value into an object of the resource's version, for those who think in the types of k8s.io/api.
// Where that is the stored version it costs a fraction of Decode, because what is stored in it and in protobuf, as everything is
// that Kubernetes itself writes, is neither converted nor given defaults: it had them when it was written.
func (r *Resource) DecodeVersioned(value []byte) (runtime.Object, error) {
	if r.Version == r.Storage && bytes.HasPrefix(value, protobufMagic) {
		raw, apiVersion, err := unwrap(value[len(protobufMagic):])
		if err == nil && apiVersion == r.Storage.String() {
			obj, err := r.Codec.Creater.New(r.GVK())
			if err != nil {
				return nil, err
			}
			if message, ok := obj.(interface{ Unmarshal([]byte) error }); ok {
				return obj, message.Unmarshal(raw)
			}
		}
	}
	obj, err := r.Decode(value, 0)
	if err != nil {
		return nil, err
	}
	return r.Convert(obj)
}
