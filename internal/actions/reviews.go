package actions

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/authentication"
	"k8s.io/kubernetes/pkg/apis/authorization"
	"k8s.io/kubernetes/pkg/registry/authentication/selfsubjectreview"
	"k8s.io/kubernetes/pkg/registry/authentication/tokenreview"
	"k8s.io/kubernetes/pkg/registry/authorization/localsubjectaccessreview"
	"k8s.io/kubernetes/pkg/registry/authorization/selfsubjectaccessreview"
	"k8s.io/kubernetes/pkg/registry/authorization/selfsubjectrulesreview"
	"k8s.io/kubernetes/pkg/registry/authorization/subjectaccessreview"
)

// addReviews adds the reviews, which are upstream's: they only pass a question on.
func addReviews(storages map[schema.GroupResource]rest.Storage, o Options) {
	storages[authentication.Resource("tokenreviews")] = tokenreview.NewREST(o.Authenticator, o.Audiences)
	storages[authentication.Resource("selfsubjectreviews")] = selfsubjectreview.NewREST()
	if o.Authorizer != nil {
		scheme := legacyscheme.Scheme
		storages[authorization.Resource("subjectaccessreviews")] = subjectaccessreview.NewREST(o.Authorizer, scheme)
		storages[authorization.Resource("selfsubjectaccessreviews")] = selfsubjectaccessreview.NewREST(o.Authorizer, scheme)
		storages[authorization.Resource("localsubjectaccessreviews")] = localsubjectaccessreview.NewREST(o.Authorizer, scheme)
	}
	if o.RuleResolver != nil {
		storages[authorization.Resource("selfsubjectrulesreviews")] = selfsubjectrulesreview.NewREST(o.RuleResolver)
	}
}
