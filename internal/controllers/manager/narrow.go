package manager

import (
	"time"

	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// narrowed is an informer whose handlers hear only of what they are interested in. Its lister has everything.
type narrowed struct {
	*informer
	interest
}

// Informer returns itself, for interfaces that have both.
func (n narrowed) Informer() cache.SharedIndexInformer { return n }

// AddEventHandler implements cache.SharedIndexInformer.
func (n narrowed) AddEventHandler(h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return n.add(h, n.interest), nil
}

// AddEventHandlerWithResyncPeriod implements cache.SharedIndexInformer.
func (n narrowed) AddEventHandlerWithResyncPeriod(h cache.ResourceEventHandler, _ time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return n.add(h, n.interest), nil
}

// AddEventHandlerWithOptions implements cache.SharedIndexInformer.
func (n narrowed) AddEventHandlerWithOptions(h cache.ResourceEventHandler, _ cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	return n.add(h, n.interest), nil
}

// narrowConfigMaps and narrowSecrets are what controllers of these kinds take.
type (
	narrowConfigMaps struct{ narrowed }
	narrowSecrets    struct{ narrowed }
)

// Lister implements coreinformers.ConfigMapInformer.
func (n narrowConfigMaps) Lister() corelisters.ConfigMapLister {
	return corelisters.NewConfigMapLister(n.GetIndexer())
}

// Lister implements coreinformers.SecretInformer.
func (n narrowSecrets) Lister() corelisters.SecretLister {
	return corelisters.NewSecretLister(n.GetIndexer())
}
