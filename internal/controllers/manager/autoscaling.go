package manager

import (
	"context"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/scale"
	"k8s.io/kubernetes/pkg/controller/podautoscaler"
	"k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
	resourceclient "k8s.io/metrics/pkg/client/clientset/versioned/typed/metrics/v1beta1"
	"k8s.io/metrics/pkg/client/custom_metrics"
	"k8s.io/metrics/pkg/client/external_metrics"
)

// The times are kube-controller-manager's.
const (
	autoscalingPeriod    = 15 * time.Second
	autoscalingWindow    = 5 * time.Minute
	autoscalingTolerance = 0.1
	autoscalingCPUStart  = 5 * time.Minute
	autoscalingReadiness = 30 * time.Second
)

// newAutoscaling makes the controller of HorizontalPodAutoscalers. The metrics that it asks for are APIs like others: without nodes
// somebody else has to serve them, as custom resources of the groups metrics.k8s.io, custom.metrics.k8s.io or
// external.metrics.k8s.io.
func newAutoscaling(ctx context.Context, e *environment) (func(context.Context), error) {
	config := e.config("horizontal-pod-autoscaler")
	config.ContentType = "application/json" // custom resources have no other form
	config.AcceptContentTypes = config.ContentType
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	scales, err := scale.NewForConfig(config, mapper{e.Kinds}, dynamic.LegacyAPIPathResolverFunc,
		scale.NewDiscoveryScaleKindResolver(client.Discovery()))
	if err != nil {
		return nil, err
	}
	resources, err := resourceclient.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	external, err := external_metrics.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	versions := custom_metrics.NewAvailableAPIsGetter(client.Discovery())
	custom := custom_metrics.NewForConfig(config, mapper{e.Kinds}, versions)
	c := podautoscaler.NewHorizontalController(ctx, client.CoreV1(), scales, client.AutoscalingV2(), mapper{e.Kinds},
		metrics.NewRESTMetricsClient(resources, custom, external), e.factory.Autoscaling().V2().HorizontalPodAutoscalers(),
		e.factory.Core().V1().Pods(), autoscalingPeriod, autoscalingWindow, autoscalingTolerance, autoscalingCPUStart,
		autoscalingReadiness)
	return func(ctx context.Context) {
		together(
			func() { custom_metrics.PeriodicallyInvalidate(versions, autoscalingPeriod, ctx.Done()) },
			func() { c.Run(ctx, workers) },
		)
	}, nil
}
