package builtin

import (
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	"k8s.io/kubernetes/pkg/registry/autoscaling/horizontalpodautoscaler"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) autoscaling() []*kind.Kind {
	return inGroup(autoscaling.GroupName, &kind.Kind{
		Resource: "horizontalpodautoscalers", Name: "HorizontalPodAutoscaler", ShortNames: []string{"hpa"},
		Categories: []string{"all"}, Namespaced: true, Versions: []string{"v2", "v1"},
		New: object[autoscaling.HorizontalPodAutoscaler], NewList: object[autoscaling.HorizontalPodAutoscalerList],
		Create: horizontalpodautoscaler.Strategy, Update: horizontalpodautoscaler.Strategy,
		Subresources: subresources(status(horizontalpodautoscaler.StatusStrategy)),
	})
}
