package builtin

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/authentication"
	"k8s.io/kubernetes/pkg/apis/authorization"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// Reviews are questions: a create is answered with the same object, filled in, and nothing is stored.

func (b *builder) authentication() []*kind.Kind {
	return inGroup(authentication.GroupName,
		b.review(authentication.GroupName, "selfsubjectreviews", "SelfSubjectReview", object[authentication.SelfSubjectReview]),
		b.review(authentication.GroupName, "tokenreviews", "TokenReview", object[authentication.TokenReview]),
	)
}

func (b *builder) authorization() []*kind.Kind {
	local := b.review(authorization.GroupName, "localsubjectaccessreviews", "LocalSubjectAccessReview",
		object[authorization.LocalSubjectAccessReview])
	local.Namespaced = true
	return inGroup(authorization.GroupName, local,
		b.review(authorization.GroupName, "selfsubjectaccessreviews", "SelfSubjectAccessReview",
			object[authorization.SelfSubjectAccessReview]),
		b.review(authorization.GroupName, "selfsubjectrulesreviews", "SelfSubjectRulesReview",
			object[authorization.SelfSubjectRulesReview]),
		b.review(authorization.GroupName, "subjectaccessreviews", "SubjectAccessReview",
			object[authorization.SubjectAccessReview]),
	)
}

func (b *builder) review(group, resource, name string, newObject func() runtime.Object) *kind.Kind {
	return &kind.Kind{
		Resource: resource, Name: name, New: newObject,
		Virtual: b.virtual(group, resource, newObject), Verbs: []string{"create"},
	}
}
