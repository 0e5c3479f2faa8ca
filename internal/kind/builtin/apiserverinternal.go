package builtin

import (
	"k8s.io/kubernetes/pkg/apis/apiserverinternal"
	"k8s.io/kubernetes/pkg/registry/apiserverinternal/storageversion"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) apiserverinternal() []*kind.Kind {
	return inGroup(apiserverinternal.GroupName, &kind.Kind{
		Resource: "storageversions", Name: "StorageVersion", Versions: []string{"v1alpha1"},
		New: object[apiserverinternal.StorageVersion], NewList: object[apiserverinternal.StorageVersionList],
		Create: storageversion.Strategy, Update: storageversion.Strategy,
		Subresources: subresources(status(storageversion.StatusStrategy)),
	})
}
