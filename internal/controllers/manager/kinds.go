package manager

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
)

// Kinds returns the kinds that are served at the moment, and a channel that is closed when there are others; nil: look again
// when a CustomResourceDefinition has changed.
type Kinds func() (*kind.Table, <-chan struct{})

// resources returns the kinds whose objects are stored as discovery would: each in the version that clients prefer.
func (k Kinds) resources(namespacedOnly bool) ([]*kind.Resource, []*metav1.APIResourceList) {
	table, _ := k()
	byVersion := map[string]*metav1.APIResourceList{}
	var found []*kind.Resource
	var lists []*metav1.APIResourceList
	seen := map[schema.GroupResource]bool{} // a custom resource is a kind in each of its versions, the preferred first
	for _, kd := range table.Kinds() {
		r := table.Resource(kd.Group, kd.Versions[0], kd.Resource)
		if r == nil || !kd.Stored() || namespacedOnly && !kd.Namespaced || seen[kd.GroupResource()] {
			continue
		}
		seen[kd.GroupResource()] = true
		version := r.Version.String()
		list := byVersion[version]
		if list == nil {
			list = &metav1.APIResourceList{GroupVersion: version}
			byVersion[version] = list
			lists = append(lists, list)
		}
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: kd.Resource, SingularName: kd.Singular, Namespaced: kd.Namespaced, Kind: kd.Name,
			Group: r.Version.Group, Version: r.Version.Version, Verbs: kd.Verbs,
		})
		found = append(found, r)
	}
	return found, lists
}

// namespaced is what upstream's controllers call to discover the resources that are in namespaces.
func (k Kinds) namespaced() ([]*metav1.APIResourceList, error) {
	_, lists := k.resources(true)
	return lists, nil
}

// definitions tells of new kinds where Kinds itself does not: they come from CustomResourceDefinitions, so there may be others
// whenever one of those has changed.
type definitions struct {
	kinds Kinds

	mu   sync.Mutex
	next chan struct{}
}

// following returns the kinds with a channel that is closed when a definition has changed.
func (k Kinds) following(f *feed, root string) Kinds {
	table, _ := k()
	r := table.Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions")
	if r == nil {
		return k
	}
	d := &definitions{kinds: k, next: make(chan struct{})}
	f.listen(map[string]listener{r.KeyPrefix(root, ""): d})
	return d.get
}

func (d *definitions) get() (*kind.Table, <-chan struct{}) {
	d.mu.Lock()
	next := d.next
	d.mu.Unlock()
	table, told := d.kinds() // after the channel was taken: what changes from now on closes it
	if told != nil {
		return table, told
	}
	return table, next
}

// begin implements listener.
func (d *definitions) begin(*state.Snapshot) {}

// keep implements listener.
func (d *definitions) keep(*state.Event) {}

// changed implements listener.
func (d *definitions) changed(*state.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.next)
	d.next = make(chan struct{})
}

// changes makes a loop that asks for the kinds again and again, in intervals, into one that waits for changes.
type changes struct {
	kinds Kinds
	ctx   context.Context
	// settled, when set, is called whenever the loop has made use of what there is, and waits.
	settled func()
	seen    bool
	next    <-chan struct{}
	last    time.Time
}

// apart is how long after one change of the kinds the next one is seen: hundreds of definitions may come at once, and each time
// the loops go through all kinds there are.
const apart = 250 * time.Millisecond

// wait returns when there are other kinds than at the call before, or when ctx ends.
func (c *changes) wait() {
	if c.seen {
		if c.settled != nil {
			c.settled()
		}
		select {
		case <-c.next: // never, when there never are others
		case <-c.ctx.Done():
		}
		select {
		case <-time.After(time.Until(c.last.Add(apart))):
		case <-c.ctx.Done():
		}
	}
	c.seen, c.last = true, time.Now()
	_, c.next = c.kinds()
}

// namespaced is Kinds.namespaced, once for each change.
func (c *changes) namespaced() ([]*metav1.APIResourceList, error) {
	c.wait()
	return c.kinds.namespaced()
}

// discoveryOf is a discovery.ServerResourcesInterface that answers from the table.
type discoveryOf struct {
	changes
	// before is called with what is about to be answered.
	before func([]*kind.Resource)
}

// ServerPreferredResources implements discovery.ServerResourcesInterface. It answers once for each change.
func (d *discoveryOf) ServerPreferredResources() ([]*metav1.APIResourceList, error) {
	d.wait()
	found, lists := d.kinds.resources(false)
	d.before(found)
	return lists, nil
}

// ServerPreferredNamespacedResources implements discovery.ServerResourcesInterface.
func (d *discoveryOf) ServerPreferredNamespacedResources() ([]*metav1.APIResourceList, error) {
	return d.kinds.namespaced()
}

// ServerGroupsAndResources implements discovery.ServerResourcesInterface.
func (d *discoveryOf) ServerGroupsAndResources() ([]*metav1.APIGroup, []*metav1.APIResourceList, error) {
	_, lists := d.kinds.resources(false)
	return nil, lists, nil
}

// ServerResourcesForGroupVersion implements discovery.ServerResourcesInterface.
func (d *discoveryOf) ServerResourcesForGroupVersion(version string) (*metav1.APIResourceList, error) {
	_, lists := d.kinds.resources(false)
	i := slices.IndexFunc(lists, func(l *metav1.APIResourceList) bool { return l.GroupVersion == version })
	if i < 0 {
		return &metav1.APIResourceList{GroupVersion: version}, nil
	}
	return lists[i], nil
}

// mapper is a meta.ResettableRESTMapper that answers from the table, so it never is outdated.
type mapper struct{ kinds Kinds }

var _ meta.ResettableRESTMapper = mapper{}

// Reset implements meta.ResettableRESTMapper.
func (m mapper) Reset() {}

func (m mapper) find(partial schema.GroupVersionResource) []*kind.Resource {
	table, _ := m.kinds()
	var found []*kind.Resource
	for _, k := range table.Kinds() {
		if k.Resource != partial.Resource && k.Singular != partial.Resource || partial.Group != "" && k.Group != partial.Group {
			continue
		}
		for _, v := range k.Versions {
			if partial.Version == "" || partial.Version == v {
				found = append(found, table.Resource(k.Group, v, k.Resource))
			}
		}
	}
	return found
}

// KindFor implements meta.RESTMapper.
func (m mapper) KindFor(partial schema.GroupVersionResource) (schema.GroupVersionKind, error) {
	table, _ := m.kinds()
	if r := table.Resource(partial.Group, partial.Version, partial.Resource); r != nil {
		return r.GVK(), nil
	}
	found, err := m.KindsFor(partial)
	if err != nil {
		return schema.GroupVersionKind{}, err
	}
	return found[0], nil
}

// KindsFor implements meta.RESTMapper.
func (m mapper) KindsFor(partial schema.GroupVersionResource) ([]schema.GroupVersionKind, error) {
	var kinds []schema.GroupVersionKind
	for _, r := range m.find(partial) {
		kinds = append(kinds, r.GVK())
	}
	if len(kinds) == 0 {
		return nil, &meta.NoResourceMatchError{PartialResource: partial}
	}
	return kinds, nil
}

// ResourceFor implements meta.RESTMapper.
func (m mapper) ResourceFor(partial schema.GroupVersionResource) (schema.GroupVersionResource, error) {
	found, err := m.ResourcesFor(partial)
	if err != nil {
		return schema.GroupVersionResource{}, err
	}
	return found[0], nil
}

// ResourcesFor implements meta.RESTMapper.
func (m mapper) ResourcesFor(partial schema.GroupVersionResource) ([]schema.GroupVersionResource, error) {
	var resources []schema.GroupVersionResource
	for _, r := range m.find(partial) {
		resources = append(resources, r.GVR())
	}
	if len(resources) == 0 {
		return nil, &meta.NoResourceMatchError{PartialResource: partial}
	}
	return resources, nil
}

// RESTMapping implements meta.RESTMapper.
func (m mapper) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	mappings, err := m.RESTMappings(gk, versions...)
	if err != nil {
		return nil, err
	}
	return mappings[0], nil
}

// RESTMappings implements meta.RESTMapper.
func (m mapper) RESTMappings(gk schema.GroupKind, versions ...string) ([]*meta.RESTMapping, error) {
	table, _ := m.kinds()
	wanted := versions
	if len(wanted) == 0 {
		wanted = table.GroupVersions(gk.Group)
	}
	var mappings []*meta.RESTMapping
	for _, version := range wanted {
		for _, r := range table.Version(gk.Group, version) {
			if r.Name == gk.Kind {
				mappings = append(mappings, &meta.RESTMapping{Resource: r.GVR(), GroupVersionKind: r.GVK(), Scope: scope(r)})
			}
		}
	}
	if len(mappings) == 0 {
		return nil, &meta.NoKindMatchError{GroupKind: gk, SearchedVersions: versions}
	}
	return mappings, nil
}

func scope(r *kind.Resource) meta.RESTScope {
	if r.Namespaced {
		return meta.RESTScopeNamespace
	}
	return meta.RESTScopeRoot
}

// ResourceSingularizer implements meta.RESTMapper.
func (m mapper) ResourceSingularizer(resource string) (string, error) {
	for _, r := range m.find(schema.GroupVersionResource{Resource: resource}) {
		return r.Singular, nil
	}
	return resource, nil
}
