package manager

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/client-go/informers"
	"k8s.io/kubernetes/pkg/controller"
	"k8s.io/kubernetes/pkg/controller/resourcequota"
	quotainstall "k8s.io/kubernetes/pkg/quota/v1/install"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
)

const (
	// quotaResync is how often all usage is counted again; kube-controller-manager's --resource-quota-sync-period.
	quotaResync  = 5 * time.Minute
	quotaWorkers = 2
)

// newResourceQuota makes the controller that counts what ResourceQuotas limit. It wants to hear of every object of every kind in
// a namespace; here it hears of those in namespaces that have a ResourceQuota, and other objects are not even decoded.
func newResourceQuota(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := coreClient(e.config("resourcequota-controller"))
	if err != nil {
		return nil, err
	}
	configuration, err := quotainstall.NewQuotaConfigurationForControllers(generic.ListerFuncForResourceFunc(e.factory.ForResource), e.factory)
	if err != nil {
		return nil, err
	}
	quotas := e.factory.resource(corev1.SchemeGroupVersion.WithKind("ResourceQuota"))
	if quotas == nil {
		return func(context.Context) {}, nil
	}
	started := make(chan struct{})
	close(started)
	c, err := resourcequota.NewController(ctx, &resourcequota.ControllerOptions{
		QuotaClient: client.v1, ResourceQuotaInformer: e.factory.Core().V1().ResourceQuotas(),
		ResyncPeriod: controller.StaticResyncPeriodFunc(quotaResync), ReplenishmentResyncPeriod: controller.NoResyncPeriodFunc,
		InformerFactory: limited{e.factory, quotas}, InformersStarted: started,
		DiscoveryFunc: e.Kinds.namespaced, IgnoredResourcesFunc: configuration.IgnoredResources,
		Registry: generic.NewRegistry(configuration.Evaluators()), UpdateFilter: quotainstall.DefaultUpdateFilter(),
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		found := &changes{kinds: e.Kinds, ctx: ctx}
		together(
			func() { c.Run(ctx, quotaWorkers) },
			func() { c.Sync(ctx, found.namespaced, syncPause) },
		)
	}, nil
}

// limited makes informers that tell of objects in namespaces with a ResourceQuota.
type limited struct {
	*factory
	quotas *kind.Resource
}

// ForResource implements informerfactory.InformerFactory.
func (l limited) ForResource(gvr schema.GroupVersionResource) (informers.GenericInformer, error) {
	i, err := l.factory.find(gvr)
	if err != nil {
		return nil, err
	}
	in := interest{changesOnly: true, in: func(record *state.Record) bool {
		namespace, _ := split(i.prefix, record.Key)
		return l.feed.snapshot.Load().Count(l.quotas.KeyPrefix(l.root, namespace), "") > 0
	}}
	return genericInformer{narrowed{i, in}, gvr.GroupResource()}, nil
}
