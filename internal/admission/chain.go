package admission

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apiserver/pkg/admission"
)

// Chain calls the enabled plugins. It is safe for concurrent use.
type Chain struct {
	plugins  []*member
	names    []string
	admitted *observers
	checked  *observers
	metrics  *metrics
	objects  func(admission.ObjectInterfaces) admission.ObjectInterfaces
}

// member is a plugin in the chain.
type member struct {
	name   string
	plugin admission.Interface
	scope  scope

	mutator    admission.MutationInterface
	validator  admission.ValidationInterface
	admitted   *observers
	checked    *observers
	idle       func() bool
	equivalent bool
}

var (
	_ admission.MutationInterface   = &Chain{}
	_ admission.ValidationInterface = &Chain{}
)

// Names returns the names of the enabled plugins, in the order in which they are called.
func (c *Chain) Names() []string { return c.names }

// Collectors are the chain's metrics.
func (c *Chain) Collectors() []prometheus.Collector { return c.metrics.collectors() }

func (c *Chain) add(name string, plugin admission.Interface) {
	m := &member{name: name, plugin: plugin, scope: scopeOf(name)}
	if mutator, ok := plugin.(admission.MutationInterface); ok {
		m.mutator, m.admitted = mutator, c.metrics.ofPlugin(name, "admit")
	}
	if validator, ok := plugin.(admission.ValidationInterface); ok {
		m.validator, m.checked = validator, c.metrics.ofPlugin(name, "validate")
	}
	if lazy, ok := plugin.(interface{ idle() bool }); ok {
		m.idle, m.equivalent = lazy.idle, true
	}
	c.plugins = append(c.plugins, m)
	c.names = append(c.names, name)
}

// concerned says whether the plugin has to be asked about a write.
func (m *member) concerned(a admission.Attributes) bool {
	return m.plugin.Handles(a.GetOperation()) && m.scope.has(a) && (m.idle == nil || !m.idle())
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
	for _, m := range c.plugins {
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
	for _, m := range c.plugins {
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

// interfaces adds what only webhooks and policies ask for: other resources that are the same objects.
func (c *Chain) interfaces(m *member, o admission.ObjectInterfaces) admission.ObjectInterfaces {
	if !m.equivalent {
		return o
	}
	return c.objects(o)
}
