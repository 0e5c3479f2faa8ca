package managedfields

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/kayak-k8s/kayak/internal/managedfields/typeschema"
)

// converter is upstream's TypeConverter, over types that are read when they are needed.
type converter struct {
	types *typeschema.Types
}

func (c converter) ObjectToTyped(obj runtime.Object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	gvk := obj.GetObjectKind().GroupVersionKind()
	t, err := c.types.Type(gvk)
	if err != nil {
		return nil, err
	}
	if t == nil {
		// Upstream has an error of its own for this, which nobody else can make. It treats the two alike: entries of a version
		// that is not there any more are dropped.
		return nil, runtime.NewNotRegisteredErrForKind("managedfields", gvk)
	}
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return t.FromUnstructured(u.UnstructuredContent(), options...)
	}
	return t.FromStructured(obj, options...)
}

func (c converter) TypedToObject(value *typed.TypedValue) (runtime.Object, error) {
	content := value.AsValue().Unstructured()
	object, ok := content.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("failed to convert value to unstructured for type %T", content)
	}
	return &unstructured.Unstructured{Object: object}, nil
}
