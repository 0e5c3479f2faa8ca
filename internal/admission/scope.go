package admission

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// scope has the resources that a plugin looks at; nil for all. Each of the plugins that have one begins by returning when it is
// asked about another resource, so not asking it changes nothing (a test asks them).
type scope []schema.GroupResource

func (s scope) has(resource schema.GroupResource) bool {
	return s == nil || slices.Contains(s, resource)
}

func core(resources ...string) scope { return inGroup("", resources...) }

func inGroup(group string, resources ...string) scope { return scope(nil).and(group, resources...) }

// and returns a scope with resources of a group besides.
func (s scope) and(group string, resources ...string) scope {
	s = slices.Clone(s)
	for _, resource := range resources {
		s = append(s, schema.GroupResource{Group: group, Resource: resource})
	}
	return s
}
