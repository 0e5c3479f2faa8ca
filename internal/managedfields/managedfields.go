// Package managedfields keeps metadata.managedFields, which says who has set which field of an object, and merges what is
// applied (server-side apply, KEP-555).
//
// A [Tracker] has a [Manager] for each resource and subresource, in each of its versions. A verb calls
//
//   - [Manager.Update] after it has made the new object of a create, an update or a patch, and before admission;
//   - [Manager.Apply] to make the new object out of an applied configuration;
//   - [Tracker.KeepTimes] before it validates an update, so that a write that changes nothing really changes nothing;
//   - [Valid] after mutating admission, which may touch the entries.
//
// # Where it comes from
//
// What a field is, who owns it after a write and what conflicts is upstream's k8s.io/apimachinery/pkg/util/managedfields, used
// as a library. What it must know of types, lists with keys and what is atomic, kube-apiserver works out of its OpenAPI
// definitions when it starts; here that is done ahead, by the command in generate, and embedded (package typeschema). It is
// decompressed at the first write, and a type is read when it is first needed.
//
// That work is done by a comparison that is compiled once for each type (plan.go, compare.go, update.go; apply.go for what is
// applied; shape.go and maps.go for writes of custom resources), which costs a fraction, and to the byte gives what upstream's
// package gives. It does what is usual; for the rest,
// entries of several versions, more managers than are kept, names that JSON escapes, objects that upstream finds invalid, it
// gives way to upstream's. A differential fuzz test over all kinds holds them together.
//
// The rest is what upstream has in k8s.io/apiserver/pkg/endpoints (installer.go, handlers/create.go, handlers/update.go,
// handlers/patch.go) and handlers/fieldmanager.
package managedfields

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"sync"
	"time"
	"weak"

	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/managedfields/typeschema"
)

//go:generate go run ./generate types.txt.gz

//go:embed types.txt.gz
var compressedTypes []byte

// Tracker has the managers of all resources. It is safe for concurrent use. Make one with New.
type Tracker struct {
	types    func() (*vocabulary, error)
	equality conversion.Equalities // without the times of managed fields
	unlikes  unlikes               // but for managed fields; found sooner

	mu       sync.RWMutex
	managers map[managerKey]*Manager
}

// managerKey is what managers are kept under. Resources live as long as their table.
type managerKey struct {
	resource *kind.Resource
	sub      string
}

// New makes a tracker. It costs nothing until something is written.
func New() *Tracker {
	return &Tracker{
		types:    sync.OnceValues(shared.read),
		equality: equalityWithoutTimes(),
		managers: map[managerKey]*Manager{},
	}
}

// shared lets the servers of a process that live at the same time read the types, and compile plans of them, once: they never
// change. When nobody uses them any more they are gone.
var shared sharedTypes

type sharedTypes struct {
	mu    sync.Mutex // guards types
	types weak.Pointer[vocabulary]
}

// vocabulary are the types of the built-in kinds, with the plans that were compiled of them so far.
type vocabulary struct {
	*typeschema.Types
	plans sync.Map // of *plan by planID
}

func (s *sharedTypes) read() (*vocabulary, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if types := s.types.Value(); types != nil {
		return types, nil
	}
	read, err := readTypes()
	if err != nil {
		return nil, err
	}
	types := &vocabulary{Types: read}
	s.types = weak.Make(types)
	return types, nil
}

func readTypes() (*typeschema.Types, error) {
	r, err := gzip.NewReader(bytes.NewReader(compressedTypes))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return typeschema.Parse(string(text))
}

// Converter returns what makes typed values of the objects of a kind, for merging them; nil when the kind has no types.
func (t *Tracker) Converter(gvk schema.GroupVersionKind) managedfields.TypeConverter {
	types, err := t.types()
	if err != nil {
		return nil
	}
	if found, err := types.Type(gvk); err != nil || found == nil {
		return nil
	}
	return converter{types.Types}
}

// Manager keeps the managed fields of one resource or subresource, in one version. It is safe for concurrent use.
type Manager struct {
	fields  *managedfields.FieldManager
	updater *updater // does what is usual; nil: nothing
}

// Manager returns the manager for a resource, or for one of its subresources. The error is one of the program: a strategy that
// contradicts itself, or types that were not generated.
func (t *Tracker) Manager(r *kind.Resource, sub *kind.Subresource) (*Manager, error) {
	key := managerKey{resource: r}
	if sub != nil {
		key.sub = sub.Name
	}
	if r.Custom != nil {
		return customManager(r, sub, key.sub)
	}
	t.mu.RLock()
	m := t.managers[key]
	t.mu.RUnlock()
	if m != nil {
		return m, nil
	}
	m, err := t.newManager(r, sub)
	if err != nil {
		return nil, fmt.Errorf("managed fields of %v %s: %w", r.GVR(), key.sub, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.managers[key] = m
	return m, nil
}

// newManager does what upstream's installer does for each path (registerResourceHandlers).
func (t *Tracker) newManager(r *kind.Resource, sub *kind.Subresource) (*Manager, error) {
	types, err := t.types()
	if err != nil {
		return nil, err
	}
	face, name := r, ""
	if sub != nil {
		name = sub.Name
		if sub.Face != nil {
			face = sub.Face
		}
	}
	gvk := face.GVK()
	convertor := face.Codec.Sharing()
	exclude := resetFields(r, sub)
	hub := schema.GroupVersion{Group: gvk.Group, Version: runtime.APIVersionInternal}
	fields, err := managedfields.NewDefaultFieldManager(
		converter{types.Types}, convertor, face.Codec.Defaulter, face.Codec.Creater,
		gvk, hub, name, fieldpath.NewExcludeFilterSetMap(exclude))
	if err != nil {
		return nil, err
	}
	m := &Manager{fields: fields}
	if reset, ok := fieldsetOf(exclude[fieldpath.APIVersion(gvk.GroupVersion().String())]); ok {
		m.updater = &updater{
			types: types, convertor: convertor, defaulter: face.Codec.Defaulter, gvk: gvk, hub: hub, subresource: name,
			reset: reset, never: neverOwned(), now: time.Now,
		}
	}
	return m, nil
}

// resetFields are the fields that a write leaves alone, whatever is sent: the status of an update of the object, say. So who
// sends them does not own them. They are sets by version.
//
// Upstream also knows filters (rest.ResetFieldsFilterStrategy): the strategies of pods/ephemeralcontainers and pods/resize have
// them, but the storages that would have to hand them on do not. So those subresources reset nothing.
func resetFields(r *kind.Resource, sub *kind.Subresource) map[fieldpath.APIVersion]*fieldpath.Set {
	var of any = r.Update
	switch {
	case sub == nil:
	case sub.View != nil:
		return nil
	case sub.Storage != nil:
		of = sub.Storage
	default:
		of = sub.Update
	}
	if _, ok := of.(rest.ResetFieldsFilterStrategy); ok {
		return nil
	}
	if strategy, ok := of.(rest.ResetFieldsStrategy); ok {
		return strategy.GetResetFields()
	}
	return nil
}

// Update returns obj with the managed fields that a write by a manager (see Name) leads to: obj's fields, where they differ
// from live's, belong to it. For a create live is Empty's. obj may be changed, live is not. There are no errors: when something
// cannot be worked out, an old version that is not known any more, obj keeps the entries that live has.
func (m *Manager) Update(live, obj runtime.Object, manager string) runtime.Object {
	if m.updater != nil && m.updater.update(live, obj, manager) {
		return obj
	}
	return m.fields.UpdateNoErrors(live, obj, manager)
}

// Apply merges an applied configuration into live, which is not changed, and returns the outcome, of the hub version. Errors
// are those that a client gets; force takes over what other managers own, without it that is a conflict.
func (m *Manager) Apply(live, applied runtime.Object, manager string, force bool) (runtime.Object, error) {
	if m.updater != nil && m.updater.shape == nil {
		if obj, ok := m.updater.apply(live, applied, manager, force); ok {
			return obj, nil
		}
	}
	return m.fields.Apply(live, applied, manager, force)
}

// Empty returns the object that a create is compared with.
func Empty(r *kind.Resource) (runtime.Object, error) {
	obj, err := r.Codec.Creater.New(r.GVK())
	if err == nil {
		obj.GetObjectKind().SetGroupVersionKind(r.GVK())
	}
	return obj, err
}
