package manager

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/namespace/deletion"
)

// namespaces deletes what is in namespaces that are to go, and then lets them go. What has to be done is upstream's deleter, with
// its order (Pods first) and its conditions. When it is done is ours: upstream waits five seconds before it begins, because other
// servers may not know yet that the namespace is going, and at least eight before it looks again.
type namespaces struct {
	deleter deletion.NamespacedResourcesDeleterInterface
	queue   workqueue.TypedRateLimitingInterface[string]
	// grace is how long other servers may need to hear of a deletion.
	grace time.Duration
}

const (
	// The pauses before a namespace is looked at again, from the first to the last, which is upstream's.
	firstLook = 50 * time.Millisecond
	lastLook  = 8 * time.Second

	// sharedGrace is the grace when there are other servers.
	sharedGrace = time.Second

	// quietLooks is how often something else may be written into the namespace while it is being emptied.
	quietLooks = 3

	namespaceWorkers = 2
)

func newNamespaces(ctx context.Context, e *environment) (func(context.Context), error) {
	config := e.config("namespace-controller")
	client, err := coreClient(config)
	if err != nil {
		return nil, err
	}
	metadataClient, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	n := &namespaces{
		deleter: deletion.NewNamespacedResourcesDeleter(ctx, client.v1.Namespaces(), metadataClient, client.v1, e.Kinds.namespaced,
			corev1.FinalizerKubernetes),
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstLook, lastLook),
			workqueue.TypedRateLimitingQueueConfig[string]{Name: "namespace"}),
	}
	if e.Elect != "" {
		n.grace = sharedGrace
	}
	informer := e.factory.informer(corev1.SchemeGroupVersion.WithKind("Namespace"))
	informer.add(cache.ResourceEventHandlerFuncs{
		AddFunc:    n.enqueue,
		UpdateFunc: func(_, obj any) { n.enqueue(obj) },
	}, interest{})
	return n.run, nil
}

func (n *namespaces) enqueue(obj any) {
	if namespace, ok := obj.(*corev1.Namespace); ok && namespace.DeletionTimestamp != nil {
		n.queue.AddAfter(namespace.Name, n.grace)
	}
}

func (n *namespaces) run(ctx context.Context) {
	workers := []func(){func() {
		<-ctx.Done()
		n.queue.ShutDown()
	}}
	for range namespaceWorkers {
		workers = append(workers, func() { wait.UntilWithContext(ctx, n.work, time.Second) })
	}
	together(workers...)
}

func (n *namespaces) work(ctx context.Context) {
	for {
		name, quit := n.queue.Get()
		if quit {
			return
		}
		n.look(ctx, name)
		n.queue.Done(name)
	}
}

func (n *namespaces) look(ctx context.Context, name string) {
	err := n.deleter.Delete(ctx, name)
	var remaining *deletion.ResourcesRemainingError
	switch {
	case err == nil:
		n.queue.Forget(name)
		return
	case !errors.As(err, &remaining) && n.queue.NumRequeues(name) >= quietLooks:
		klog.FromContext(ctx).Error(err, "cannot delete the content of a namespace", "namespace", name)
	}
	n.queue.AddRateLimited(name)
}
