package custom

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// settledMetadata reports whether metadata is what it would be after a way through its Go type, which is how upstream checks it (objectmeta):
// all is known, of the right type, not empty, and written as it would be. Most metadata is, and then a look is enough; the way through
// JSON and back costs more than all else that is done to a small object.
func settledMetadata(metadata map[string]any) bool {
	for name, value := range metadata {
		ok := false
		switch name {
		case "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion":
			ok = isText(value)
		case "generation":
			n, number := value.(int64)
			ok = number && n != 0
		case "deletionGracePeriodSeconds":
			_, ok = value.(int64)
		case "creationTimestamp", "deletionTimestamp":
			ok = isTime(value)
		case "labels", "annotations":
			ok = areTexts(value)
		case "finalizers":
			ok = each(value, func(e any) bool { _, text := e.(string); return text })
		case "ownerReferences":
			ok = each(value, isOwnerReference)
		case "managedFields":
			ok = each(value, isManagedFields)
		}
		if !ok {
			return false
		}
	}
	return true
}

func isText(value any) bool {
	text, ok := value.(string)
	return ok && text != ""
}

// isTime accepts what a time is written as.
func isTime(value any) bool {
	text, ok := value.(string)
	if !ok || len(text) != len("2006-01-02T15:04:05Z") || text[len(text)-1] != 'Z' {
		return false
	}
	_, err := time.Parse(time.RFC3339, text)
	return err == nil
}

func areTexts(value any) bool {
	m, ok := value.(map[string]any)
	if !ok || len(m) == 0 {
		return false
	}
	for _, v := range m {
		if _, ok := v.(string); !ok {
			return false
		}
	}
	return true
}

// each reports whether value is a list that is not empty, and all its elements are right.
func each(value any, right func(any) bool) bool {
	list, ok := value.([]any)
	if !ok || len(list) == 0 {
		return false
	}
	for _, e := range list {
		if !right(e) {
			return false
		}
	}
	return true
}

func isOwnerReference(value any) bool {
	m, ok := value.(map[string]any)
	if !ok {
		return false
	}
	required := 0
	for name, value := range m {
		ok := false
		switch name {
		case "apiVersion", "kind", "name", "uid":
			_, ok = value.(string)
			required++
		case "controller", "blockOwnerDeletion":
			_, ok = value.(bool)
		}
		if !ok {
			return false
		}
	}
	return required == 4
}

func isManagedFields(value any) bool {
	m, ok := value.(map[string]any)
	if !ok {
		return false
	}
	for name, value := range m {
		ok := false
		switch name {
		case "manager", "operation", "apiVersion", "fieldsType", "subresource":
			ok = isText(value)
		case "time":
			ok = isTime(value)
		case "fieldsV1":
			ok = areSets(value)
		}
		if !ok {
			return false
		}
	}
	return true
}

// areSets reports whether there is nothing in it but objects.
func areSets(value any) bool {
	m, ok := value.(map[string]any)
	if !ok {
		return false
	}
	for _, v := range m {
		if !areSets(v) {
			return false
		}
	}
	return true
}

// lighten takes an object's managed fields out of it, where these are certainly valid. Upstream reads metadata into its Go type to validate
// it, more than once, and of that managed fields are most.
func lighten(obj runtime.Object) (restore func()) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil
	}
	metadata, ok := u.Object["metadata"].(map[string]any)
	if !ok || !settledMetadata(metadata) {
		return nil
	}
	entries, ok := metadata["managedFields"]
	if !ok || !each(entries, validManagedFields) {
		return nil
	}
	delete(metadata, "managedFields")
	return func() {
		if metadata, ok := u.Object["metadata"].(map[string]any); ok {
			metadata["managedFields"] = entries
		}
	}
}

// validManagedFields reports whether there is nothing in a settled entry that upstream's ValidateManagedFields could refuse.
func validManagedFields(value any) bool {
	const longest = 128 // of the name of a manager
	entry, _ := value.(map[string]any)
	manager, _ := entry["manager"].(string)
	for _, c := range manager {
		if c < ' ' || c > '~' {
			return false
		}
	}
	subresource, _ := entry["subresource"].(string)
	operation := entry["operation"]
	return (operation == string(metav1.ManagedFieldsOperationUpdate) || operation == string(metav1.ManagedFieldsOperationApply)) &&
		entry["fieldsType"] == "FieldsV1" && len(manager) <= longest && len(subresource) <= longest
}
