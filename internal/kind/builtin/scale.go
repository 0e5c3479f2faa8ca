package builtin

import (
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	autoscalingvalidation "k8s.io/kubernetes/pkg/apis/autoscaling/validation"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// scalable is what scaling needs of an object.
type scalable struct {
	meta     *metav1.ObjectMeta
	replicas *int32 // where the wanted number stands
	current  int32
	selector labels.Selector
}

// scale shows an object as a Scale: how many replicas are wanted and how many there are
// (registry/apps/deployment/storage/storage.go, ScaleREST, and its like). versions are those that the kind is or was served in;
// all have the number as spec.replicas.
func (b *builder) scale(resource schema.GroupResource, read func(runtime.Object) (scalable, error), versions ...string) *kind.Subresource {
	replicas := managedfields.ResourcePathMappings{}
	for _, version := range versions {
		gv := schema.GroupVersion{Group: resource.Group, Version: version}
		replicas[gv.String()] = fieldpath.MakePathOrDie("spec", "replicas")
	}
	resource.Resource += "/scale"
	view := &kind.View{
		Replicas: replicas,
		Of: func(obj runtime.Object) (runtime.Object, error) {
			s, err := read(obj)
			if err != nil {
				return nil, apierrors.NewBadRequest(err.Error())
			}
			return s.scale(), nil
		},
		Into: func(obj, view runtime.Object) error {
			s, err := read(obj)
			if err != nil {
				return err
			}
			return s.take(view.(*autoscaling.Scale), resource)
		},
	}
	face := b.face(autoscalingv1.SchemeGroupVersion.WithKind("Scale"), object[autoscaling.Scale])
	return &kind.Subresource{Name: "scale", Face: face, View: view}
}

func (s scalable) scale() *autoscaling.Scale {
	return &autoscaling.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name:              s.meta.Name,
			Namespace:         s.meta.Namespace,
			UID:               s.meta.UID,
			ResourceVersion:   s.meta.ResourceVersion,
			CreationTimestamp: s.meta.CreationTimestamp,
		},
		Spec:   autoscaling.ScaleSpec{Replicas: *s.replicas},
		Status: autoscaling.ScaleStatus{Replicas: s.current, Selector: s.selector.String()},
	}
}

// take puts a changed scale into the object: the number, and the resourceVersion, so that the write of the object is checked
// against what the client has seen.
func (s scalable) take(scale *autoscaling.Scale, resource schema.GroupResource) error {
	if errs := autoscalingvalidation.ValidateScale(scale); len(errs) > 0 {
		return apierrors.NewInvalid(autoscaling.Kind("Scale"), s.meta.Name, errs)
	}
	if len(scale.UID) > 0 && scale.UID != s.meta.UID {
		//lint:ignore ST1005 it is upstream's text
		err := fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", scale.UID, s.meta.UID)
		return apierrors.NewConflict(resource, s.meta.Name, err)
	}
	*s.replicas = scale.Spec.Replicas
	s.meta.ResourceVersion = scale.ResourceVersion
	return nil
}
