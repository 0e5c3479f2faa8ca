package admission

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"

	"github.com/kayak-k8s/kayak/internal/informers"
)

// quota is upstream's ResourceQuota. It charges a write to the quotas of its namespace by a conditional write of their status,
// through the server's own client, so no more than fits is ever admitted, by however many servers. A write that races with
// another server's reads the quotas again, three times; so that it then sees what the other has written, they are read as new as
// the store.
//
// Upstream hands every write of a namespaced object to workers, which then find out that there is no quota. Here they are not
// troubled with that.
type quota struct {
	admission.ValidationInterface
	quotas *informers.Informer
	// limited says that the configuration names resources that need a quota: then its absence matters.
	limited bool
}

func (b *builder) quota(plugin admission.Interface, configured bool) admission.Interface {
	if wants, ok := plugin.(initializer.WantsExternalKubeInformerFactory); ok {
		wants.SetExternalKubeInformerFactory(b.options.Fresh)
	}
	return &quota{
		ValidationInterface: plugin.(admission.ValidationInterface), limited: configured,
		quotas: b.options.Informers.Of(schema.GroupVersionResource{Version: "v1", Resource: "resourcequotas"}),
	}
}

func (q *quota) idle(a admission.Attributes) bool {
	return a.GetNamespace() == "" || !q.limited && q.quotas.Empty(a.GetNamespace())
}
