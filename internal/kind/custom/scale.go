package custom

import (
	"fmt"
	"sync"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	runtimeserializer "k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/managedfields"
	scalescheme "k8s.io/client-go/scale"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// notSet is what a Scale shows as the wanted number while an object has none (registry/customresource/etcd.go).
const notSet = -2147483648

// scale shows an object as a Scale, with numbers and selector from where the definition says they are.
func (d *definition) scale(f *form, paths *apiextensionsv1.CustomResourceSubresourceScale) *kind.Subresource {
	replicas := managedfields.ResourcePathMappings{}
	for _, v := range d.Spec.Versions {
		version := d.gvk(v.Name).GroupVersion().String()
		replicas[version] = nil
		if v.Subresources == nil || v.Subresources.Scale == nil {
			continue
		}
		path := fieldpath.Path{}
		for _, name := range fieldPath(v.Subresources.Scale.SpecReplicasPath) {
			path = append(path, fieldpath.PathElement{FieldName: &name})
		}
		replicas[version] = path
	}
	return &kind.Subresource{Name: "scale", Face: scaleFace(), View: &kind.View{
		Replicas: replicas,
		Of: func(obj runtime.Object) (runtime.Object, error) {
			scale, _, err := scaleOf(obj.(*unstructured.Unstructured), paths)
			return scale, err
		},
		Check: func(obj runtime.Object) error {
			_, found, err := scaleOf(obj.(*unstructured.Unstructured), paths)
			if err == nil && !found {
				err = apierrors.NewInternalError(fmt.Errorf("the spec replicas field %q does not exist", paths.SpecReplicasPath))
			}
			return err
		},
		ForWrite: func(obj runtime.Object) (runtime.Object, error) {
			scale, found, err := scaleOf(obj.(*unstructured.Unstructured), paths)
			if err == nil && !found {
				scale.Spec.Replicas = notSet
			}
			return scale, err
		},
		Into: func(obj, view runtime.Object) error {
			scale, ok := view.(*autoscalingv1.Scale)
			if !ok {
				return apierrors.NewBadRequest(fmt.Sprintf("wrong object passed to Scale update: %v", view))
			}
			if scale.Spec.Replicas == notSet {
				return apierrors.NewBadRequest(fmt.Sprintf("the spec replicas field %q cannot be empty", paths.SpecReplicasPath))
			}
			u := obj.(*unstructured.Unstructured)
			if scale.ResourceVersion != "" {
				u.SetResourceVersion(scale.ResourceVersion)
			}
			return unstructured.SetNestedField(u.Object, int64(scale.Spec.Replicas), fieldPath(paths.SpecReplicasPath)...)
		},
	}}
}

// scaleOf makes the Scale of an object; found says whether the object has a wanted number.
func scaleOf(u *unstructured.Unstructured, paths *apiextensionsv1.CustomResourceSubresourceScale) (_ *autoscalingv1.Scale, found bool, _ error) {
	wanted, found, err := unstructured.NestedInt64(u.Object, fieldPath(paths.SpecReplicasPath)...)
	if err != nil {
		return nil, false, err
	}
	current, _, err := unstructured.NestedInt64(u.Object, fieldPath(paths.StatusReplicasPath)...)
	if err != nil {
		return nil, false, err
	}
	selector := ""
	if path := paths.LabelSelectorPath; path != nil && *path != "" {
		if selector, _, err = unstructured.NestedString(u.Object, fieldPath(*path)...); err != nil {
			return nil, false, err
		}
	}
	return &autoscalingv1.Scale{
		TypeMeta: metav1.TypeMeta{APIVersion: "autoscaling/v1", Kind: "Scale"},
		ObjectMeta: metav1.ObjectMeta{
			Name: u.GetName(), Namespace: u.GetNamespace(), UID: u.GetUID(),
			ResourceVersion: u.GetResourceVersion(), CreationTimestamp: u.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: int32(wanted)},
		Status: autoscalingv1.ScaleStatus{Replicas: int32(current), Selector: selector},
	}, found, nil
}

// scaleFace is a Scale as bodies have it: any version of it that clients know, with autoscaling/v1 as the hub.
var scaleFace = sync.OnceValue(func() *kind.Resource {
	scheme := scalescheme.NewScaleConverter().Scheme()
	codecs := runtimeserializer.NewCodecFactory(scheme)
	hub := autoscalingv1.SchemeGroupVersion
	codec := &kind.Codec{
		Typer: scheme, Creater: scheme, Defaulter: scheme, Convertor: scheme, Serializer: codecs,
		Parameters: runtime.NewParameterCodec(scheme), Hub: hub, Load: codecs.UniversalDecoder(hub),
	}
	gvk := schema.GroupVersionKind{Group: hub.Group, Version: hub.Version, Kind: "Scale"}
	face := kind.Face(gvk, codec, func() runtime.Object { return &autoscalingv1.Scale{} })
	face.Columns, _ = tableconvertor.New([]apiextensionsv1.CustomResourceColumnDefinition{ // whose paths are right
		{Name: "Desired", Type: "integer", Description: "Number of desired replicas", JSONPath: ".spec.replicas"},
		{Name: "Available", Type: "integer", Description: "Number of actual replicas", JSONPath: ".status.replicas"},
		ageColumn(),
	})
	return face
})
