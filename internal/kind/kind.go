// Package kind says what a kind of object is, as data.
//
// A [Kind] is everything the engine must know about, say, Pods: the names it has in paths and documents, the versions it is
// served in, where and in which form it is stored, the strategies that prepare and validate it, what selectors may ask for,
// the columns of its table, its subresources. The verbs (package verb) are written once, against this description; a further
// kind is a further value, not further code. Built-in kinds are a table in kind/builtin, filled from upstream's strategies.
//
// Inside the engine an object is in its hub version (upstream's internal version). A [Codec] leads from there to the stored
// form and to the versions that clients speak. The strategies, printers and codecs are upstream's contracts
// (k8s.io/apiserver/pkg/registry/rest, k8s.io/apimachinery/pkg/runtime), so what is written for kube-apiserver fits.
//
// A [Table] is an immutable set of kinds, indexed the way requests ask.
//
// # Adding a kind
//
// Fill in a Kind and hand it to [NewTable]. New, NewList, Create, Update and Codec are required, Attributes decides what
// selectors may ask for; the fields' comments say what the others add.
package kind

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/endpoints/deprecation"
	"k8s.io/apiserver/pkg/registry/rest"

	kayakversion "github.com/kayak-k8s/kayak/internal/version"
)

// Kind describes one kind of object. It is immutable once it is part of a Table.
type Kind struct {
	// Group, Resource and Name identify the kind: "apps", "deployments", "Deployment".
	Group, Resource, Name string
	// Singular defaults to Name in lower case, ListName to Name + "List".
	Singular, ListName string
	// ShortNames and Categories are what discovery tells of them: "deploy"; "all".
	ShortNames, Categories []string
	// Namespaced says that every object is in a namespace.
	Namespaced bool
	// Prefix is the part of the storage key that the kind's objects share, below the root, without slashes at its ends:
	// "deployments", "services/specs".
	Prefix string
	// Storage is the group version of the stored form; Versions are the served ones, the preferred first.
	Storage  schema.GroupVersion
	Versions []string

	// New and NewList make empty objects of the hub version.
	New, NewList func() runtime.Object
	// Codec converts between the hub version, the stored form and the served versions.
	Codec *Codec

	// Create, Update and Delete are the strategies of the object itself. Delete defaults to Create.
	Create rest.RESTCreateStrategy
	Update rest.RESTUpdateStrategy
	Delete rest.RESTDeleteStrategy
	// Attributes returns the labels and the selectable fields of an object, metadata.name and metadata.namespace included.
	// nil means just those two fields.
	Attributes func(runtime.Object) (labels.Set, fields.Set, error)
	// Fields says where the selectable fields stand in the stored form, so that they can be read without decoding the
	// object. Without it, or for objects that are not stored in protobuf, Attributes is asked.
	Fields []Field
	// NameLabel is a label that every object has, with its name as the value, whatever is stored.
	NameLabel string
	// Index names the selectable fields by which many watchers are expected to select, one value each.
	Index []string
	// Columns makes tables.
	Columns rest.TableConvertor

	// ReturnDeleted answers a delete with the object, not with a Status.
	ReturnDeleted bool
	// NoUnsafeDelete refuses to delete an object that cannot be read, even if the options ask for it.
	NoUnsafeDelete bool
	// EventTTL lets objects disappear after the server's event TTL.
	EventTTL bool
	// KeepWhileUpdating, when set, can keep an update that empties the finalizers of a terminating object from removing it.
	KeepWhileUpdating func(obj, existing runtime.Object) bool
	// Terminate, when set, replaces the first delete of an object: it marks existing as terminating, and it stays.
	Terminate func(existing runtime.Object, options *metav1.DeleteOptions)
	// Terminated, when set, says whether a terminating object may be removed by a further delete.
	Terminated func(existing runtime.Object) bool

	// BeginCreate and BeginUpdate, when set, take what an object needs besides its own key, a cluster IP say, after admission
	// has changed the object and before it is validated. They may change obj. The Finish they return (nil: nothing to do) is
	// called once, with whether the object was written; a write that loses a race and starts over begins again. A dry run is
	// told by the options, and must leave nothing taken.
	BeginCreate func(ctx context.Context, obj runtime.Object, options *metav1.CreateOptions) (Finish, error)
	BeginUpdate func(ctx context.Context, obj, existing runtime.Object, options *metav1.UpdateOptions) (Finish, error)
	// BeforeDelete, when set, is called once for a request to delete: before anything is read or decided, with the name of the
	// object, or "" for a collection. An error ends the request; warnings go to the context.
	BeforeDelete func(ctx context.Context, name string, options *metav1.DeleteOptions) error
	// AfterDelete, when set, is called with an object that is gone, and must not change it. A dry run is told by the options.
	AfterDelete func(obj runtime.Object, options *metav1.DeleteOptions)
	// Governs says that other requests are judged by these objects: namespaces, roles, the configuration of webhooks. A write of one
	// is acknowledged when the state has it, so it is in force on this server for whoever has got the answer.
	Governs bool
	// OnRead, when set, gives an object that was read from the store what objects written by older versions lack.
	OnRead func(runtime.Object)
	// Virtual serves a kind whose objects are not stored: it implements rest.Creater, rest.Getter or rest.Lister, for the verbs
	// that the kind has. Such a kind has no Prefix, Storage and strategies.
	Virtual rest.Storage
	// Verbs are the verbs of the object itself, as discovery lists them; default: AllVerbs.
	Verbs []string
	// Discovered, when set, is what discovery lists instead, in this order: it may tell of less than there is.
	Discovered []string
	// Subresources by name: "status".
	Subresources map[string]*Subresource
	// JSON says that objects are stored as JSON, and selected by nothing but their metadata.
	JSON bool
	// Custom is what a kind has that is not compiled into the server: package custom.
	Custom *Custom

	*completion
}

// Custom is what the engine must know of a kind without Go types. Its objects are unstructured, and exist in JSON and YAML only.
type Custom struct {
	// Edition tells what is made of the kind's objects, as it is described now, from what was made of them before.
	Edition string
	// Done is closed when the kind is no longer served as it is described here: watches end.
	Done <-chan struct{}
	// Types is what managed fields must know of the kind's types.
	Types func() (managedfields.TypeConverter, error)
	// Keep returns what is kept of the kind under a name, or makes it. It goes when the kind is not used for long.
	Keep func(name string, make func() (any, error)) (any, error)
	// Lighten takes out of an object what is costly to validate and certainly valid. The function that it returns puts it back; nil:
	// there is nothing of that sort.
	Lighten func(obj runtime.Object) (restore func())
}

// completion is what is worked out of a kind when it first becomes part of a table. Copies share it.
type completion struct {
	once       sync.Once
	headerPlan *headerPlan
}

// Finish ends what a hook has begun: written says whether the object was written.
type Finish func(ctx context.Context, written bool)

// Subresource is a part of an object, or something to do with it, at a path of its own: /pods/{name}/status. It is one of:
//
//   - a part of the object (status): read as the whole object, and written through the strategy Update, which takes from the
//     body only what belongs to it;
//   - a view (scale): Face and View are set;
//   - an action: Storage is set, and implements rest.NamedCreater for POST with a body (eviction), rest.Connecter for what takes
//     over the connection (exec, proxy), or rest.GetterWithOptions for what is read as a stream (log).
type Subresource struct {
	Name   string
	Update rest.RESTUpdateStrategy
	// Face is the kind of the bodies, when that is not the object's own: Scale, Eviction. It is not served by itself.
	Face *Resource
	// View makes a Face's object out of the kind's, and back.
	View *View
	// Storage does what neither strategies nor a view can say.
	Storage rest.Storage
	// Verbs default to get, patch and update.
	Verbs []string
}

// View shows a few fields of an object as an object of another kind, its Face. Both are of their hub versions.
type View struct {
	// Of returns the view of an object.
	Of func(obj runtime.Object) (runtime.Object, error)
	// Check, when set, says whether there is something to show to a reader.
	Check func(obj runtime.Object) error
	// ForWrite, when set, is Of for a view that is about to be changed.
	ForWrite func(obj runtime.Object) (runtime.Object, error)
	// Into puts a changed view into obj, which is the caller's copy of the existing object.
	Into func(obj, view runtime.Object) error
	// Replicas, when set, says that the view is a Scale, and where the versions of the kind have what a Scale has as
	// spec.replicas: "apps/v1": spec.replicas. Who has set it is kept in the managed fields of the object.
	Replicas managedfields.ResourcePathMappings
}

// AllVerbs are the verbs that most kinds have, sorted.
var AllVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// GroupResource returns the kind's group and resource.
func (k *Kind) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.Group, Resource: k.Resource}
}

// GroupKind returns the kind's group and name.
func (k *Kind) GroupKind() schema.GroupKind { return schema.GroupKind{Group: k.Group, Kind: k.Name} }

// Key returns the storage key of an object below root ("/registry/"). The caller has checked that namespace and name are
// path segments.
func (k *Kind) Key(root, namespace, name string) string { return k.KeyPrefix(root, namespace) + name }

// KeyPrefix returns the prefix of the storage keys of the kind's objects, in one namespace when that is given. It always ends
// with a slash, so that no other resource's keys begin with it (CVE-2022-3162).
func (k *Kind) KeyPrefix(root, namespace string) string {
	if namespace != "" && k.Namespaced {
		return root + k.Prefix + "/" + namespace + "/"
	}
	return root + k.Prefix + "/"
}

// Resource is a kind in one of the versions it is served in.
type Resource struct {
	*Kind
	Version schema.GroupVersion
	// Deprecation is what clients are warned of when they use the version, or empty.
	Deprecation string
	// Removed is the release that no longer has the version, if that is known.
	Removed string

	// jsonID and protobufID name the encodings of the version's objects in a record.
	jsonID, protobufID string
}

// GVK returns the group, version and kind.
func (r *Resource) GVK() schema.GroupVersionKind { return r.Version.WithKind(r.Name) }

// Frame returns what has to be put around an encoded item: nothing for kinds whose items have it already.
func (r *Resource) Frame() schema.GroupVersionKind {
	if r.Custom != nil {
		return schema.GroupVersionKind{}
	}
	return r.GVK()
}

// GVR returns the group, version and resource.
func (r *Resource) GVR() schema.GroupVersionResource { return r.Version.WithResource(r.Kind.Resource) }

// FieldLabel checks and translates the name of a selectable field of the version into the hub's.
func (r *Resource) FieldLabel(label, value string) (string, string, error) {
	return r.Codec.Convertor.ConvertFieldLabel(r.GVK(), label, value)
}

// Allows reports whether the kind, or its subresource when that is named, has a verb.
func (k *Kind) Allows(subresource, verb string) bool {
	if subresource == "" {
		return slices.Contains(k.Verbs, verb)
	}
	s := k.Subresources[subresource]
	return s != nil && slices.Contains(s.Verbs, verb)
}

// Table is a set of kinds. It is immutable and safe for concurrent use.
type Table struct {
	kinds     []*Kind
	resources map[schema.GroupVersionResource]*Resource
	versions  map[schema.GroupVersion][]*Resource
	groups    []string
}

// NewResource returns a kind in a version, to be added to a table by With. The kind must not be changed afterwards.
func NewResource(k *Kind, version string) *Resource {
	k.begin()
	return newResource(k, schema.GroupVersion{Group: k.Group, Version: version})
}

// With returns a table that has further resources besides those of t, which stays as it is.
func (t *Table) With(resources ...*Resource) *Table {
	next := &Table{
		kinds: slices.Clone(t.kinds), groups: slices.Clone(t.groups),
		resources: maps.Clone(t.resources), versions: maps.Clone(t.versions),
	}
	added := map[schema.GroupVersion]bool{}
	groups := make(map[string]bool, len(t.groups))
	for _, group := range t.groups {
		groups[group] = true
	}
	for _, r := range resources {
		if !groups[r.Group] {
			groups[r.Group] = true
			next.groups = append(next.groups, r.Group)
		}
		next.kinds = append(next.kinds, r.Kind)
		next.resources[r.GVR()] = r
		if !added[r.Version] {
			next.versions[r.Version] = slices.Clone(next.versions[r.Version])
			added[r.Version] = true
		}
		next.versions[r.Version] = append(next.versions[r.Version], r)
	}
	for gv := range added {
		sortResources(next.versions[gv])
	}
	return next
}

func sortResources(list []*Resource) {
	slices.SortFunc(list, func(a, b *Resource) int { return strings.Compare(a.Kind.Resource, b.Kind.Resource) })
}

// NewTable indexes kinds. They must not be changed afterwards; they may be part of several tables, the first of which must be
// finished before the next is begun. Groups keep the order in
// which kinds first name them.
func NewTable(kinds ...*Kind) *Table {
	t := &Table{
		resources: map[schema.GroupVersionResource]*Resource{},
		versions:  map[schema.GroupVersion][]*Resource{},
	}
	release := currentRelease()
	seen := map[string]bool{}
	for _, k := range kinds {
		k.begin()
		t.kinds = append(t.kinds, k)
		if !seen[k.Group] {
			seen[k.Group] = true
			t.groups = append(t.groups, k.Group)
		}
		for _, v := range k.Versions {
			gv := schema.GroupVersion{Group: k.Group, Version: v}
			r := newResource(k, gv)
			r.Deprecation, r.Removed = k.deprecation(r.GVK(), release)
			t.resources[r.GVR()] = r
			t.versions[gv] = append(t.versions[gv], r)
		}
	}
	for _, rs := range t.versions {
		sortResources(rs)
	}
	return t
}

func (k *Kind) begin() {
	if k.completion == nil {
		k.completion = &completion{}
	}
	k.once.Do(k.complete)
}

// Face returns a kind as bodies of a subresource have it: version is what is spoken. newObject makes an empty object of the
// hub version.
func Face(gvk schema.GroupVersionKind, codec *Codec, newObject func() runtime.Object) *Resource {
	k := &Kind{Group: gvk.Group, Name: gvk.Kind, Versions: []string{gvk.Version}, Codec: codec, New: newObject}
	return newResource(k, gvk.GroupVersion())
}

func newResource(k *Kind, gv schema.GroupVersion) *Resource {
	id := gv.String()
	if k.Custom != nil {
		id += "@" + k.Custom.Edition
	}
	return &Resource{Kind: k, Version: gv, jsonID: id + "/json", protobufID: id + "/protobuf"}
}

// deprecation asks the version's Go type (the APILifecycle functions that upstream generates).
func (k *Kind) deprecation(gvk schema.GroupVersionKind, release release) (warning, removed string) {
	obj, err := k.Codec.Creater.New(gvk)
	if err != nil || !deprecation.IsDeprecated(obj, release.major, release.minor) {
		return "", ""
	}
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return deprecation.WarningMessage(obj), deprecation.RemovedRelease(obj)
}

// release is the one whose deprecations count.
type release struct{ major, minor int }

func currentRelease() release {
	major, minor, err := deprecation.MajorMinor(kayakversion.Info())
	if err != nil {
		panic(err) // constants that are no numbers
	}
	return release{major, minor}
}

// Stored reports whether the kind's objects are kept in the store.
func (k *Kind) Stored() bool { return k.Virtual == nil }

func (k *Kind) complete() {
	if k.Singular == "" {
		k.Singular = lower(k.Name)
	}
	if k.ListName == "" {
		k.ListName = k.Name + "List"
	}
	if k.Verbs == nil {
		k.Verbs = AllVerbs
	}
	for _, s := range k.Subresources {
		if s.Verbs == nil {
			s.Verbs = []string{"get", "patch", "update"}
		}
	}
	if k.Delete == nil {
		k.Delete = k.Create
	}
	if k.Attributes == nil {
		k.Attributes = k.metadataAttributes
	}
	if k.Stored() && k.Custom == nil {
		k.headerPlan = planHeader(k)
	}
}

// Kinds returns all kinds in the order they were given.
func (t *Table) Kinds() []*Kind { return t.kinds }

// Groups returns the groups, the core group ("") among them.
func (t *Table) Groups() []string { return t.groups }

// Select returns a table of those kinds, in those of their versions, that are enabled.
func (t *Table) Select(enabled func(schema.GroupVersionResource) bool) *Table {
	var kinds []*Kind
	for _, k := range t.kinds {
		var versions []string
		for _, v := range k.Versions {
			if enabled(schema.GroupVersionResource{Group: k.Group, Version: v, Resource: k.Resource}) {
				versions = append(versions, v)
			}
		}
		switch len(versions) {
		case 0:
		case len(k.Versions):
			kinds = append(kinds, k)
		default:
			selected := *k
			selected.Versions = versions
			kinds = append(kinds, &selected)
		}
	}
	return NewTable(kinds...)
}

// Resource returns what a request names, or nil.
func (t *Table) Resource(group, version, resource string) *Resource {
	return t.resources[schema.GroupVersionResource{Group: group, Version: version, Resource: resource}]
}

// Version returns the resources of a group version, sorted by name; none when it is not served.
func (t *Table) Version(group, version string) []*Resource {
	return t.versions[schema.GroupVersion{Group: group, Version: version}]
}

// GroupVersions returns the served versions of a group, the preferred first: stable before beta before alpha, and the newer
// before the older.
func (t *Table) GroupVersions(group string) []string {
	var versions []string
	for gv := range t.versions {
		if gv.Group == group {
			versions = append(versions, gv.Version)
		}
	}
	slices.SortFunc(versions, func(a, b string) int { return version.CompareKubeAwareVersionStrings(b, a) })
	return versions
}

// Table makes a table of an object or a list of the hub version.
func (k *Kind) Table(ctx context.Context, obj runtime.Object, options *metav1.TableOptions) (*metav1.Table, error) {
	columns := k.Columns
	if columns == nil {
		columns = rest.NewDefaultTableConvertor(k.GroupResource())
	}
	return columns.ConvertToTable(ctx, obj, options)
}
