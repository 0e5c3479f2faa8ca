package connect

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	genericrest "k8s.io/apiserver/pkg/registry/generic/rest"
	"k8s.io/apiserver/pkg/registry/rest"
	core "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/registry/core/pod"
)

// logs reads the log of a container.
type logs struct{ connections *Connections }

var (
	_ rest.GetterWithOptions = &logs{}
	_ rest.StorageMetadata   = &logs{}
)

func (l *logs) New() runtime.Object { return &core.Pod{} }

func (l *logs) Destroy() {}

func (l *logs) NewGetOptions() (runtime.Object, bool, string) {
	return &core.PodLogOptions{}, false, ""
}

// ProducesMIMETypes says that logs are text.
func (l *logs) ProducesMIMETypes(string) []string { return []string{"text/plain"} }

// ProducesObject says that logs are a string.
func (l *logs) ProducesObject(string) any { return "" }

// Get returns a rest.ResourceStreamer. Errors are for the client: 422 for options that are not valid, 400 for a container that
// is not there or not named, 404. What the kubelet answers becomes an error when the stream is opened. The stream of a pod
// that has no node yet is nil, which is answered with 204.
func (l *logs) Get(ctx context.Context, name string, options runtime.Object) (runtime.Object, error) {
	o, ok := options.(*core.PodLogOptions)
	if !ok {
		return nil, invalidOptions(options)
	}
	split := enabled(features.PodLogsQuerySplitStreams)
	if split && o.Stream == nil { // nothing is defaulted when the query is empty
		all := core.LogStreamAll
		o.Stream = &all
	}
	if errs := validation.ValidatePodLogOptions(o, split); len(errs) > 0 {
		return nil, apierrors.NewInvalid(core.Kind("PodLogOptions"), name, errs)
	}
	location, transport, err := pod.LogLocation(ctx, l.connections.options.Pods, l.connections.kubelets, name, o)
	if err != nil {
		return nil, err
	}
	if location != nil {
		if err := l.connections.dialer.allow(ctx, location); err != nil {
			return nil, err
		}
	}
	return &genericrest.LocationStreamer{
		Location: location, Transport: transport, ContentType: "text/plain", Flush: o.Follow,
		ResponseChecker: genericrest.NewGenericHttpResponseChecker(core.Resource("pods/log"), name),
		RedirectChecker: genericrest.PreventRedirects,
	}, nil
}
