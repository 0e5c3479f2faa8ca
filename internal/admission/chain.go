package admission

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	podpriority "k8s.io/kubernetes/plugin/pkg/admission/priority"
)

// Chain calls the enabled plugins. It is safe for concurrent use.
type Chain struct {
	plugins []*member
	metrics *metrics
	// everywhere are the plugins that are called for a resource that no plugin's scope names, by operation; scoped are those for the
	// resources that are named.
	everywhere roster
	scoped     map[schema.GroupResource]*roster
	// parameters are the resources that policies have parameters in.
	parameters *sync.Map
	// admitted and checked are the series of the two steps.
	admitted, checked *observers
	// objects adds what webhooks and policies ask for: other resources that are the same objects.
	objects func(admission.ObjectInterfaces) admission.ObjectInterfaces
}

// roster are the plugins to call for each operation.
type roster [operations][]*member

// member is a plugin in the chain.
type member struct {
	name   string
	plugin admission.Interface
	scope  scope

	mutator   admission.MutationInterface
	validator admission.ValidationInterface
	admitted  *observers
	checked   *observers
	// idle says that the plugin has nothing to go by for a write; nil: it always has.
	idle func(admission.Attributes) bool
	// equivalent says that the plugin asks for other resources that are the same objects.
	equivalent bool
}

var (
	_ admission.MutationInterface   = &Chain{}
	_ admission.ValidationInterface = &Chain{}
)

// Names returns the names of the enabled plugins, in the order in which they are called.
func (c *Chain) Names() []string {
	var names []string
	for _, m := range c.plugins {
		names = append(names, m.name)
	}
	return names
}

// Collectors are the chain's metrics.
func (c *Chain) Collectors() []prometheus.Collector { return c.metrics.collectors() }

// Governs reports whether policies have parameters in a resource: then its objects count as what [Governing] lists.
func (c *Chain) Governs(resource schema.GroupResource) bool {
	_, ok := c.parameters.Load(resource)
	return ok
}

func (c *Chain) add(p known, plugin admission.Interface) {
	m := &member{name: p.name, plugin: plugin, scope: p.scope}
	if mutator, ok := plugin.(admission.MutationInterface); ok {
		m.mutator, m.admitted = mutator, c.metrics.ofPlugin(p.name, "admit")
	}
	if validator, ok := plugin.(admission.ValidationInterface); ok {
		m.validator, m.checked = validator, c.metrics.ofPlugin(p.name, "validate")
	}
	if sometimes, ok := plugin.(interface {
		idle(admission.Attributes) bool
	}); ok {
		m.idle = sometimes.idle
	}
	switch plugin.(type) {
	case *lazyMutator, *lazyValidator:
		m.equivalent = true
	}
	c.plugins = append(c.plugins, m)
	c.arrange()
}

// arrange works out which plugins are called for what: neither operations nor scopes of a plugin change.
func (c *Chain) arrange() {
	c.everywhere, c.scoped = roster{}, map[schema.GroupResource]*roster{}
	for _, m := range c.plugins {
		for _, resource := range m.scope {
			c.scoped[resource] = &roster{}
		}
	}
	for i, operation := range []admission.Operation{admission.Create, admission.Update, admission.Delete, admission.Connect} {
		for _, m := range c.plugins {
			if !m.handles(operation) {
				continue
			}
			if m.scope == nil {
				c.everywhere[i] = append(c.everywhere[i], m)
			}
			for resource, roster := range c.scoped {
				if m.scope.has(resource) {
					roster[i] = append(roster[i], m)
				}
			}
		}
	}
}

// handles says whether the plugin has to be called for an operation. Priority says that it handles deletes, and then does nothing (a
// test asks it).
func (m *member) handles(operation admission.Operation) bool {
	return m.plugin.Handles(operation) && !(m.name == podpriority.PluginName && operation == admission.Delete)
}

// members are the plugins to call for a write.
func (c *Chain) members(a admission.Attributes) []*member {
	i := operationIndex(a.GetOperation())
	if roster, ok := c.scoped[a.GetResource().GroupResource()]; ok {
		return roster[i]
	}
	return c.everywhere[i]
}

// concerned says whether the plugin has to be asked about a write that it is a member for.
func (m *member) concerned(a admission.Attributes) bool { return m.idle == nil || !m.idle(a) }

// Unconcerned reports whether no plugin has anything to do with a write. If so, it counts the write as admitted, and there is no need
// to ask.
func (c *Chain) Unconcerned(a admission.Attributes) bool {
	began := time.Now()
	for _, m := range c.members(a) {
		if m.concerned(a) {
			return false
		}
	}
	if c.Handles(a.GetOperation()) {
		c.admitted.observe(a.GetOperation(), began, nil)
		c.checked.observe(a.GetOperation(), began, nil)
	}
	return true
}

// Handles implements admission.Interface.
func (c *Chain) Handles(operation admission.Operation) bool {
	for _, m := range c.plugins {
		if m.plugin.Handles(operation) {
			return true
		}
	}
	return false
}

// Admit implements admission.MutationInterface.
func (c *Chain) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	began := time.Now()
	err := c.admit(ctx, a, o)
	if err == nil && a.GetReinvocationContext().ShouldReinvoke() {
		a.GetReinvocationContext().SetIsReinvoke()
		err = c.admit(ctx, a, o)
	}
	c.admitted.observe(a.GetOperation(), began, err)
	return err
}

func (c *Chain) admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	for _, m := range c.members(a) {
		if m.mutator == nil || !m.concerned(a) {
			continue
		}
		began := time.Now()
		err := m.mutator.Admit(ctx, a, c.interfaces(m, o))
		m.admitted.observe(a.GetOperation(), began, err)
		if err != nil {
			return err
		}
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (c *Chain) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	began := time.Now()
	err := c.validate(ctx, a, o)
	c.checked.observe(a.GetOperation(), began, err)
	return err
}

func (c *Chain) validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	for _, m := range c.members(a) {
		if m.validator == nil || !m.concerned(a) {
			continue
		}
		began := time.Now()
		err := m.validator.Validate(ctx, a, c.interfaces(m, o))
		m.checked.observe(a.GetOperation(), began, err)
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Chain) interfaces(m *member, o admission.ObjectInterfaces) admission.ObjectInterfaces {
	if !m.equivalent {
		return o
	}
	return c.objects(o)
}
