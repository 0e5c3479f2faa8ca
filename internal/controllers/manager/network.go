package manager

import (
	"context"

	"k8s.io/client-go/kubernetes"
	"k8s.io/kubernetes/pkg/controller/endpoint"
	"k8s.io/kubernetes/pkg/controller/endpointslice"
	"k8s.io/kubernetes/pkg/controller/endpointslicemirroring"
)

// The controllers of Services' endpoints, with kube-controller-manager's limits.
const (
	endpointsPerSlice  = 100
	endpointsPerSubset = 1000
)

func newEndpoints(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := kubernetes.NewForConfig(e.config("endpoint-controller"))
	if err != nil {
		return nil, err
	}
	core := e.factory.Core().V1()
	c := endpoint.NewEndpointController(ctx, core.Pods(), core.Services(), core.Endpoints(), client, 0)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func newEndpointSlices(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := kubernetes.NewForConfig(e.config("endpointslice-controller"))
	if err != nil {
		return nil, err
	}
	core := e.factory.Core().V1()
	c := endpointslice.NewController(ctx, core.Pods(), core.Services(), core.Nodes(), e.factory.Discovery().V1().EndpointSlices(),
		endpointsPerSlice, client, 0)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func newMirroring(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := kubernetes.NewForConfig(e.config("endpointslicemirroring-controller"))
	if err != nil {
		return nil, err
	}
	core := e.factory.Core().V1()
	c := endpointslicemirroring.NewController(ctx, core.Endpoints(), e.factory.Discovery().V1().EndpointSlices(), core.Services(),
		endpointsPerSubset, client, 0)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}
