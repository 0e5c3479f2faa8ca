package builtin

import (
	"context"
	"errors"
	"slices"

	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/kubernetes/pkg/apis/scheduling"
	schedulingapi "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/registry/scheduling/compositepodgroup"
	"k8s.io/kubernetes/pkg/registry/scheduling/podgroup"
	"k8s.io/kubernetes/pkg/registry/scheduling/priorityclass"
	"k8s.io/kubernetes/pkg/registry/scheduling/workload"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) scheduling() []*kind.Kind {
	return inGroup(scheduling.GroupName, slices.Concat([]*kind.Kind{{
		Resource: "priorityclasses", Name: "PriorityClass", ShortNames: []string{"pc"},
		New: object[scheduling.PriorityClass], NewList: object[scheduling.PriorityClassList],
		Create: priorityclass.Strategy, Update: priorityclass.Strategy,
		BeforeDelete: keepSystemPriorities,
	}},
		gated(utilfeature.DefaultFeatureGate.Enabled(features.GenericWorkload), workloads(), podGroups()),
		gated(utilfeature.DefaultFeatureGate.Enabled(features.CompositePodGroup), compositePodGroups()),
	)...)
}

// keepSystemPriorities refuses to delete the classes that the system comes with. Only a delete by name is refused, as in
// upstream (registry/scheduling/priorityclass/storage/storage.go).
func keepSystemPriorities(_ context.Context, name string, _ *metav1.DeleteOptions) error {
	if !slices.Contains(schedulingapi.SystemPriorityClassNames(), name) {
		return nil
	}
	return apierrors.NewForbidden(scheduling.Resource("priorityclasses"), name,
		errors.New("this is a system priority class and cannot be deleted"))
}

func workloads() *kind.Kind {
	return &kind.Kind{
		Resource: "workloads", Name: "Workload", Namespaced: true,
		Storage: schedulingv1beta1.SchemeGroupVersion, Versions: []string{"v1beta1", "v1alpha3"},
		New: object[scheduling.Workload], NewList: object[scheduling.WorkloadList],
		Create: workload.Strategy, Update: workload.Strategy,
	}
}

func podGroups() *kind.Kind {
	strategy := podgroup.NewStrategy()
	return &kind.Kind{
		Resource: "podgroups", Name: "PodGroup", Namespaced: true,
		Storage: schedulingv1beta1.SchemeGroupVersion, Versions: []string{"v1beta1", "v1alpha3"},
		New: object[scheduling.PodGroup], NewList: object[scheduling.PodGroupList],
		Create: strategy, Update: strategy,
		Subresources: subresources(status(podgroup.NewStatusStrategy(strategy))),
	}
}

func compositePodGroups() *kind.Kind {
	strategy := compositepodgroup.NewStrategy()
	return &kind.Kind{
		Resource: "compositepodgroups", Name: "CompositePodGroup", Namespaced: true, Versions: []string{"v1alpha3"},
		New: object[scheduling.CompositePodGroup], NewList: object[scheduling.CompositePodGroupList],
		Create: strategy, Update: strategy,
		Subresources: subresources(status(compositepodgroup.NewStatusStrategy(strategy))),
	}
}
