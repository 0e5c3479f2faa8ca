package managedfields

import (
	"maps"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// equalityWithoutTimes compares as upstream's Semantic does, but for the times of managed fields.
func equalityWithoutTimes() conversion.Equalities {
	equalities := equality.Semantic.Copy()
	err := equalities.AddFunc(func(a, b metav1.ManagedFieldsEntry) bool {
		a.Time, b.Time = nil, nil
		return reflect.DeepEqual(a, b)
	})
	if err != nil {
		panic(err) // a function of the wrong shape
	}
	return equalities
}

// KeepTimes gives obj back the times that the managed fields of existing have, if these times are all that an update would
// change. What the update has brought may have come to nothing since, through defaults or the strategy; then it is to write
// nothing (handlers/fieldmanager/equality.go, IgnoreManagedFieldsTimestampsTransformer).
func (t *Tracker) KeepTimes(obj, existing runtime.Object) {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return
	}
	old, err := meta.Accessor(existing)
	if err != nil {
		return
	}
	entries, before := accessor.GetManagedFields(), old.GetManagedFields()
	if len(entries) != len(before) || sameTimes(entries, before) {
		return
	}
	// The entries first: they nearly always differ when the object does, and they are small.
	if !t.equality.DeepEqual(entries, before) || !t.sameObject(obj, existing) {
		return
	}
	for i := range entries {
		entries[i].Time = before[i].Time
	}
	accessor.SetManagedFields(entries)
}

func sameTimes(entries, before []metav1.ManagedFieldsEntry) bool {
	for i := range entries {
		if !entries[i].Time.Equal(before[i].Time) {
			return false
		}
	}
	return true
}

// sameObject compares objects whose entries have been compared.
func (t *Tracker) sameObject(a, b runtime.Object) bool {
	x, ok := a.(*unstructured.Unstructured)
	if !ok {
		return !t.unlikes.between(a, b) && t.equality.DeepEqual(a, b)
	}
	y, ok := b.(*unstructured.Unstructured)
	return ok && reflect.DeepEqual(withoutEntries(x.Object), withoutEntries(y.Object))
}

// withoutEntries is a copy of an object without its managed fields.
func withoutEntries(object map[string]any) map[string]any {
	object = maps.Clone(object)
	if metadata, ok := object["metadata"].(map[string]any); ok {
		metadata = maps.Clone(metadata)
		delete(metadata, "managedFields")
		object["metadata"] = metadata
	}
	return object
}
