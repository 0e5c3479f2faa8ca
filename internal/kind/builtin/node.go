package builtin

import (
	"k8s.io/kubernetes/pkg/apis/node"
	"k8s.io/kubernetes/pkg/registry/node/runtimeclass"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) node() []*kind.Kind {
	return inGroup(node.GroupName, &kind.Kind{
		Resource: "runtimeclasses", Name: "RuntimeClass",
		New: object[node.RuntimeClass], NewList: object[node.RuntimeClassList],
		Create: runtimeclass.Strategy, Update: runtimeclass.Strategy,
	})
}
