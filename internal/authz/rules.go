package authz

import (
	"context"
	"slices"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// RulesFor implements authorizer.RuleResolver, for "kubectl auth can-i --list": what the user may do in a namespace, as far as the
// parts of the chain can say. incomplete tells that some cannot.
func (c Chain) RulesFor(ctx context.Context, u user.Info, namespace string) (resources []authorizer.ResourceRuleInfo,
	paths []authorizer.NonResourceRuleInfo, incomplete bool, err error) {
	if u != nil && slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) {
		all := []string{"*"}
		resources = append(resources, &authorizer.DefaultResourceRuleInfo{Verbs: all, APIGroups: all, Resources: all})
		paths = append(paths, &authorizer.DefaultNonResourceRuleInfo{Verbs: all, NonResourceURLs: all})
	}
	paths = append(paths, &authorizer.DefaultNonResourceRuleInfo{Verbs: []string{"get"}, NonResourceURLs: publicPaths})
	var errs []error
	for _, one := range c {
		resolver, ok := one.(authorizer.RuleResolver)
		if !ok {
			continue
		}
		r, p, part, err := resolver.RulesFor(ctx, u, namespace)
		resources, paths, incomplete = append(resources, r...), append(paths, p...), incomplete || part
		if err != nil {
			errs = append(errs, err)
		}
	}
	return resources, paths, incomplete, utilerrors.NewAggregate(errs)
}
