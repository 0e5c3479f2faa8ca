package builtin

import (
	"k8s.io/kubernetes/pkg/apis/policy"
	"k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) policy() []*kind.Kind {
	return inGroup(policy.GroupName, &kind.Kind{
		Resource: "poddisruptionbudgets", Name: "PodDisruptionBudget", ShortNames: []string{"pdb"}, Namespaced: true,
		New: object[policy.PodDisruptionBudget], NewList: object[policy.PodDisruptionBudgetList],
		Create: poddisruptionbudget.Strategy, Update: poddisruptionbudget.Strategy,
		Subresources: subresources(status(poddisruptionbudget.StatusStrategy)),
	})
}
