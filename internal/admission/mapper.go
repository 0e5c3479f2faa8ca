package admission

import (
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// Mapper is a meta.RESTMapper over a table of kinds, made again when the table is another one.
type Mapper struct {
	table func() *kind.Table

	mu   sync.Mutex
	of   *kind.Table
	made meta.RESTMapper
}

var _ meta.RESTMapper = &Mapper{}

// NewMapper returns a mapper over what table returns. It costs nothing until it is asked.
func NewMapper(table func() *kind.Table) *Mapper { return &Mapper{table: table} }

func (m *Mapper) mapper() meta.RESTMapper {
	table := m.table()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of != table {
		m.of, m.made = table, newMapper(table)
	}
	return m.made
}

func newMapper(table *kind.Table) meta.RESTMapper {
	var preferred []schema.GroupVersion
	for _, group := range table.Groups() {
		for _, version := range table.GroupVersions(group) {
			preferred = append(preferred, schema.GroupVersion{Group: group, Version: version})
		}
	}
	made := meta.NewDefaultRESTMapper(preferred)
	for _, gv := range preferred {
		for _, r := range table.Version(gv.Group, gv.Version) {
			scope := meta.RESTScopeRoot
			if r.Namespaced {
				scope = meta.RESTScopeNamespace
			}
			made.AddSpecific(r.GVK(), r.GVR(), gv.WithResource(r.Singular), scope)
		}
	}
	return made
}

func (m *Mapper) KindFor(resource schema.GroupVersionResource) (schema.GroupVersionKind, error) {
	return m.mapper().KindFor(resource)
}

func (m *Mapper) KindsFor(resource schema.GroupVersionResource) ([]schema.GroupVersionKind, error) {
	return m.mapper().KindsFor(resource)
}

func (m *Mapper) ResourceFor(input schema.GroupVersionResource) (schema.GroupVersionResource, error) {
	return m.mapper().ResourceFor(input)
}

func (m *Mapper) ResourcesFor(input schema.GroupVersionResource) ([]schema.GroupVersionResource, error) {
	return m.mapper().ResourcesFor(input)
}

func (m *Mapper) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	return m.mapper().RESTMapping(gk, versions...)
}

func (m *Mapper) RESTMappings(gk schema.GroupKind, versions ...string) ([]*meta.RESTMapping, error) {
	return m.mapper().RESTMappings(gk, versions...)
}

func (m *Mapper) ResourceSingularizer(resource string) (string, error) {
	return m.mapper().ResourceSingularizer(resource)
}
