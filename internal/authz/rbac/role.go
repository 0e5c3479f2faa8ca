package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"
)

// role is a Role or a ClusterRole, or the lack of one that bindings refer to.
type role struct {
	exists     bool
	references int // bindings that refer to it
	// read reads and compiles the rules when they are first asked for: most roles of a cluster never are.
	read func() *rules
}

// rules are those of the role, nil if it does not exist, or cannot be read.
func (r *role) rules() *rules {
	if !r.exists {
		return nil
	}
	return r.read()
}

// rules are those of a role.
type rules struct {
	all []rbacv1.PolicyRule
	// byResource and byPath say which rules are worth looking at. A role of few rules has neither: all are.
	byResource map[string][]*rbacv1.PolicyRule
	byPath     []*rbacv1.PolicyRule
}

// fewRules are looked at sooner than looked up.
const fewRules = 4

// compile makes the tables. Whether a rule that they lead to allows something is upstream's to say, so they may lead to too many,
// but never to too few: a rule is under every resource that it names, "pods/log" and "*/scale" and "*" as they are.
func compile(list []rbacv1.PolicyRule) *rules {
	r := &rules{all: list}
	if len(list) <= fewRules {
		return r
	}
	r.byResource = map[string][]*rbacv1.PolicyRule{}
	for i := range list {
		rule := &list[i]
		for _, resource := range rule.Resources {
			r.byResource[resource] = append(r.byResource[resource], rule)
		}
		if len(rule.NonResourceURLs) > 0 {
			r.byPath = append(r.byPath, rule)
		}
	}
	return r
}

// question is a request, with what it can be looked up by.
type question struct {
	authorizer.Attributes
	// resources are the names under which rules can be that allow it: "pods/log", "*/log", "*".
	resources [3]string
	names     int
}

func newQuestion(a authorizer.Attributes) question {
	q := question{Attributes: a}
	if !a.IsResourceRequest() {
		return q
	}
	q.resources = [3]string{a.GetResource(), rbacv1.ResourceAll}
	q.names = 2
	if sub := a.GetSubresource(); sub != "" {
		q.resources[0] += "/" + sub
		q.resources[2] = "*/" + sub
		q.names = 3
	}
	return q
}

// allow reports whether one of the rules allows what is asked.
func (r *rules) allow(q *question) bool {
	if r.byResource == nil {
		for i := range r.all {
			if rbac.RuleAllows(q.Attributes, &r.all[i]) {
				return true
			}
		}
		return false
	}
	if !q.IsResourceRequest() {
		return anyAllows(q, r.byPath)
	}
	for _, name := range q.resources[:q.names] {
		if anyAllows(q, r.byResource[name]) {
			return true
		}
	}
	return false
}

func anyAllows(q *question, rules []*rbacv1.PolicyRule) bool {
	for _, rule := range rules {
		if rbac.RuleAllows(q.Attributes, rule) {
			return true
		}
	}
	return false
}
