package kind

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Ownership is the part of an object that garbage collection goes by.
type Ownership struct {
	Owners            []metav1.OwnerReference
	Finalizers        []string
	DeletionTimestamp *metav1.Time
}

// Equal compares what there is to compare.
func (o *Ownership) Equal(other *Ownership) bool {
	return (o.DeletionTimestamp == nil) == (other.DeletionTimestamp == nil) && slices.Equal(o.Finalizers, other.Finalizers) &&
		slices.EqualFunc(o.Owners, other.Owners, func(a, b metav1.OwnerReference) bool {
			return a.APIVersion == b.APIVersion && a.Kind == b.Kind && a.Name == b.Name && a.UID == b.UID &&
				is(a.Controller) == is(b.Controller) && is(a.BlockOwnerDeletion) == is(b.BlockOwnerDeletion)
		})
}

func is(b *bool) bool { return b != nil && *b }

// Further field numbers of metav1.ObjectMeta.
const (
	metaDeletionTimestamp = 9
	metaOwnerReferences   = 13
	metaFinalizers        = 14
)

// Ownership reads it out of a stored value, without decoding the rest where the form allows it. It may be called from any number
// of goroutines.
func (k *Kind) Ownership(value []byte) (Ownership, error) {
	if bytes.HasPrefix(value, protobufMagic) {
		raw, _, _, err := unwrap(value[len(protobufMagic):]) // metadata is the same in all versions
		if err != nil {
			return Ownership{}, err
		}
		return readOwnership(raw)
	}
	if bytes.HasPrefix(value, []byte("{")) {
		return jsonOwnership(value)
	}
	obj, err := k.Decode(value, 0)
	if err != nil {
		return Ownership{}, err
	}
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return Ownership{}, err
	}
	return Ownership{accessor.GetOwnerReferences(), accessor.GetFinalizers(), accessor.GetDeletionTimestamp()}, nil
}

// jsonOwnership looks for the names first: most objects have none of these fields, and parsing is a hundred times slower.
func jsonOwnership(value []byte) (Ownership, error) {
	names := []string{`"ownerReferences"`, `"finalizers"`, `"deletionTimestamp"`}
	if !slices.ContainsFunc(names, func(name string) bool { return bytes.Contains(value, []byte(name)) }) {
		return Ownership{}, nil
	}
	var obj metav1.PartialObjectMetadata
	if err := json.Unmarshal(value, &obj); err != nil {
		return Ownership{}, err
	}
	return Ownership{obj.OwnerReferences, obj.Finalizers, obj.DeletionTimestamp}, nil
}

func readOwnership(message []byte) (o Ownership, err error) {
	err = eachField(message, func(number protowire.Number, _ protowire.Type, metadata []byte) error {
		if number != 1 { // metadata
			return nil
		}
		return eachField(metadata, func(number protowire.Number, _ protowire.Type, value []byte) error {
			switch number {
			case metaDeletionTimestamp:
				return o.readDeletionTimestamp(value)
			case metaOwnerReferences:
				o.Owners = append(o.Owners, metav1.OwnerReference{})
				return o.Owners[len(o.Owners)-1].Unmarshal(value)
			case metaFinalizers:
				o.Finalizers = append(o.Finalizers, string(value))
			}
			return nil
		})
	})
	return o, err
}

func (o *Ownership) readDeletionTimestamp(timestamp []byte) error {
	return eachField(timestamp, func(number protowire.Number, _ protowire.Type, value []byte) error {
		if number == 1 { // seconds
			seconds, n := protowire.ConsumeVarint(value)
			if n < 0 {
				return errMalformed
			}
			t := metav1.NewTime(time.Unix(int64(seconds), 0))
			o.DeletionTimestamp = &t
		}
		return nil
	})
}
