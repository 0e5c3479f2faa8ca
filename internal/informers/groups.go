package informers

import (
	"context"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers/admissionregistration"
	"k8s.io/client-go/informers/apiserverinternal"
	"k8s.io/client-go/informers/apps"
	"k8s.io/client-go/informers/autoscaling"
	"k8s.io/client-go/informers/batch"
	"k8s.io/client-go/informers/certificates"
	"k8s.io/client-go/informers/coordination"
	"k8s.io/client-go/informers/core"
	"k8s.io/client-go/informers/discovery"
	"k8s.io/client-go/informers/events"
	"k8s.io/client-go/informers/extensions"
	"k8s.io/client-go/informers/flowcontrol"
	"k8s.io/client-go/informers/internalinterfaces"
	"k8s.io/client-go/informers/lifecycle"
	"k8s.io/client-go/informers/networking"
	"k8s.io/client-go/informers/node"
	"k8s.io/client-go/informers/policy"
	"k8s.io/client-go/informers/rbac"
	"k8s.io/client-go/informers/resource"
	"k8s.io/client-go/informers/scheduling"
	"k8s.io/client-go/informers/storage"
	"k8s.io/client-go/informers/storagemigration"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
)

// Groups is what client-go's factories of informers have in common, when informers are views of the state: the types of every group,
// and that there is nothing to start, to stop and to wait for. A factory has it as its first field and adds where informers are from.
type Groups struct {
	// OfKind returns the informer of a kind. One that there is not has no objects.
	OfKind func(schema.GroupVersionKind) cache.SharedIndexInformer
}

// InformerFor returns the informer of a type of client-go's.
func (g *Groups) InformerFor(obj runtime.Object, _ internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	gvks, _, err := scheme.Scheme.ObjectKinds(obj)
	if err != nil {
		panic(err) // a type that client-go makes informers of and does not know
	}
	return g.OfKind(gvks[0])
}

// Start does nothing: there is nothing to start. Nor is there anything to stop.
func (g *Groups) Start(<-chan struct{})            {}
func (g *Groups) StartWithContext(context.Context) {}
func (g *Groups) Shutdown()                        {}

// WaitForCacheSync waits for nothing; who wants to know asks HasSynced.
func (g *Groups) WaitForCacheSync(<-chan struct{}) map[reflect.Type]bool { return nil }

// WaitForCacheSyncWithContext is WaitForCacheSync.
func (g *Groups) WaitForCacheSyncWithContext(context.Context) cache.SyncResult {
	return cache.SyncResult{}
}

// InformerName is for metrics of informers, of which there are none.
func (g *Groups) InformerName() *cache.InformerName { return nil }

// What follows are the informers by group, as client-go generates them.

func (g *Groups) Admissionregistration() admissionregistration.Interface {
	return admissionregistration.New(g, "", nil)
}
func (g *Groups) Internal() apiserverinternal.Interface { return apiserverinternal.New(g, "", nil) }
func (g *Groups) Apps() apps.Interface                  { return apps.New(g, "", nil) }
func (g *Groups) Autoscaling() autoscaling.Interface    { return autoscaling.New(g, "", nil) }
func (g *Groups) Batch() batch.Interface                { return batch.New(g, "", nil) }
func (g *Groups) Certificates() certificates.Interface  { return certificates.New(g, "", nil) }
func (g *Groups) Coordination() coordination.Interface  { return coordination.New(g, "", nil) }
func (g *Groups) Core() core.Interface                  { return core.New(g, "", nil) }
func (g *Groups) Discovery() discovery.Interface        { return discovery.New(g, "", nil) }
func (g *Groups) Events() events.Interface              { return events.New(g, "", nil) }
func (g *Groups) Extensions() extensions.Interface      { return extensions.New(g, "", nil) }
func (g *Groups) Flowcontrol() flowcontrol.Interface    { return flowcontrol.New(g, "", nil) }
func (g *Groups) Lifecycle() lifecycle.Interface        { return lifecycle.New(g, "", nil) }
func (g *Groups) Networking() networking.Interface      { return networking.New(g, "", nil) }
func (g *Groups) Node() node.Interface                  { return node.New(g, "", nil) }
func (g *Groups) Policy() policy.Interface              { return policy.New(g, "", nil) }
func (g *Groups) Rbac() rbac.Interface                  { return rbac.New(g, "", nil) }
func (g *Groups) Resource() resource.Interface          { return resource.New(g, "", nil) }
func (g *Groups) Scheduling() scheduling.Interface      { return scheduling.New(g, "", nil) }
func (g *Groups) Storage() storage.Interface            { return storage.New(g, "", nil) }
func (g *Groups) Storagemigration() storagemigration.Interface {
	return storagemigration.New(g, "", nil)
}
