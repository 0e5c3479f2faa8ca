// Package custom makes kinds of the CustomResourceDefinitions that are stored.
//
// A custom resource is one more kind ([kind.Kind]), served by the verbs, the state and the wire code that serve Pods. What is
// special about it is here: its objects are unstructured, and a definition, which can change at any time, says what they are.
// Data flows one way:
//
//	records of definitions in the state ▸ definition (names, versions) ▸ kinds ▸ a table ▸ discovery, OpenAPI
//	                                           └▸ compiled when it is used: schemas, CEL, validators, types of fields
//
// # The registry
//
// A [Registry] follows the definitions in the state. It is not told of changes, it looks: [Registry.Table] first takes in what the
// state has, which costs nothing when there is nothing new, and returns an immutable [kind.Table]. So whoever has seen a change, in
// a watch or in the answer to a write, also gets what follows from it; nothing has to be waited for. A resource that a table does not
// have may still be one that another server on the same store has established: [Registry.CatchUp] asks the store before a 404.
//
// # At rest and in use
//
// All that is held of a definition that nobody uses are its names and versions (definition.go), a few KB; its schemas stay in the
// state's record, unparsed. They are compiled when an object is first read or written (compile.go), with upstream's packages:
// structural schemas, pruning, defaulting, validation, CEL, list types, conversion. [Registry.Sweep] drops what was not used since it
// was called before.
//
// # A life of a definition
//
// The strategy of the kind CustomResourceDefinition is wrapped ([Registry.Hook]): a definition that is valid gets its accepted
// names and its conditions in the write that brings it, not afterwards, and the write is answered when this server serves it.
// [Registry.Run] does what is left: definitions that others have written, names that have become free, and deletion, which waits for
// all objects to go (lifecycle.go).
//
// # Where it comes from
//
// k8s.io/apiextensions-apiserver/pkg/apiserver/customresource_handler.go and pkg/controller are what this does the work of; their
// leaf packages are used as libraries.
package custom

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/conversion"
	"k8s.io/apiserver/pkg/util/webhook"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// Options are what a registry needs. All fields are required.
type Options struct {
	// API writes definitions' statuses and deletes objects; it may be filled in later, before the first Table.
	API *verb.API
	// Services finds the services of conversion webhooks, and Authentication their credentials.
	Services       webhook.ServiceResolver
	Authentication webhook.AuthenticationInfoResolverWrapper
	Logger         *slog.Logger
}

// Registry has the custom resources of one server. It is safe for concurrent use once Connect has been called.
//
// Ownership: mu guards what follows it. Tables are immutable.
type Registry struct {
	options    Options
	log        *slog.Logger
	converters *conversion.CRConverterFactory
	kind       *kind.Kind // of definitions
	resource   *kind.Resource
	base       *kind.Table
	prefix     string

	// seen is the state's revision up to which definitions are in current.
	seen    atomic.Int64
	current atomic.Pointer[served]

	mu          sync.Mutex
	cursor      *state.Cursor
	definitions map[string]*definition // by name
	families    map[string]string      // by prefix of keys, the edition of the definition whose it is
	names       reservations
	// changed has the names of definitions that Run has yet to look at.
	changed map[string]bool
	wake    chan struct{}
}

// served is a table, with a channel that is closed when there is another one.
type served struct {
	table    *kind.Table
	replaced chan struct{}
}

// New returns a registry without any definition.
func New(options Options) (*Registry, error) {
	converters, err := conversion.NewCRConverterFactory(options.Services, options.Authentication)
	if err != nil {
		return nil, err
	}
	return &Registry{
		options: options, log: options.Logger, converters: converters,
		definitions: map[string]*definition{}, families: map[string]string{}, names: reservations{},
		changed: map[string]bool{}, wake: make(chan struct{}, 1),
	}, nil
}

// Connect tells the registry which kinds there are: served are those that the server has of its own, all includes the kind of
// definitions, served or not. It is called once, before anything else but Hook.
func (r *Registry) Connect(all, served *kind.Table) error {
	r.resource = all.Resource(apiextensions.GroupName, "v1", "customresourcedefinitions")
	if r.resource == nil {
		return errors.New("there is no kind CustomResourceDefinition")
	}
	r.kind, r.base = r.resource.Kind, served
	r.prefix = r.kind.KeyPrefix(r.options.API.Root, "")
	r.current.Store(newServed(served))
	return nil
}

func newServed(table *kind.Table) *served { return &served{table, make(chan struct{})} }

// Table returns all resources that are served, with those of all definitions that the state has.
func (r *Registry) Table() *kind.Table {
	if r.seen.Load() != r.options.API.State.Snapshot().Revision() {
		r.takeIn()
	}
	return r.current.Load().table
}

// Tables is Table, with a channel that is closed when there is another table, provided that Run runs.
func (r *Registry) Tables() (*kind.Table, <-chan struct{}) {
	r.Table()
	current := r.current.Load()
	return current.table, current.replaced
}

// catchUpTime bounds the question to the store before something is not found.
const catchUpTime = 2 * time.Second

// CatchUp makes the next Table one that has everything that was acknowledged, by whatever server, before the call. It reports
// whether that is another one than before.
func (r *Registry) CatchUp(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	before := r.current.Load().table
	if _, err := r.options.API.State.Consistent(ctx); err != nil {
		return false
	}
	return r.Table() != before
}

// takeIn brings current up to the state.
func (r *Registry) takeIn() {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := false
	for {
		if r.cursor == nil {
			if !r.load() {
				return
			}
			changed = true
			continue
		}
		events, revision, err := r.cursor.TryNext()
		if err != nil {
			r.cursor.Close()
			r.cursor = nil
			continue
		}
		for _, event := range events {
			changed = r.take(event.Record, event.Deleted) || changed
		}
		if len(events) > 0 {
			continue
		}
		if changed {
			r.rebuild()
		}
		r.seen.Store(revision)
		return
	}
}

// load begins anew with what the state has; false when it has nothing yet.
func (r *Registry) load() bool {
	snapshot := r.options.API.State.Snapshot()
	if snapshot.Revision() == 0 {
		return false
	}
	cursor, err := r.options.API.State.Watch(state.Filter{Prefix: r.prefix}, snapshot.Revision())
	if err != nil {
		return false
	}
	r.cursor = cursor
	gone := map[string]bool{}
	for name := range r.definitions {
		gone[name] = true
	}
	var records []*state.Record
	snapshot.Ascend(r.prefix, "", func(record *state.Record) bool {
		records = append(records, record)
		delete(gone, strings.TrimPrefix(record.Key, r.prefix))
		return true
	})
	for name := range gone {
		r.drop(name)
	}
	for _, record := range records {
		r.take(record, false)
	}
	return true
}

// take takes in a change, and reports whether a table has to be made.
func (r *Registry) take(record *state.Record, deleted bool) bool {
	name := strings.TrimPrefix(record.Key, r.prefix)
	old := r.definitions[name]
	if deleted {
		r.drop(name)
		return old != nil
	}
	next, err := r.newDefinition(record)
	if err != nil {
		r.log.Error("cannot read a custom resource definition", "error", err)
		r.drop(name)
		return old != nil
	}
	r.names.seen(name, &next.Status.AcceptedNames)
	r.look(name)
	if old != nil && old.edition == next.edition {
		old.record.Store(record)
		old.state.Store(next.head)
		ending := next.ending.Load()
		return old.ending.Swap(ending) != ending && old.showAgain()
	}
	if old != nil {
		close(old.done)
	}
	r.definitions[name] = next
	r.setFamily(next)
	return true
}

func (r *Registry) drop(name string) {
	old := r.definitions[name]
	if old == nil {
		return
	}
	delete(r.definitions, name)
	close(old.done)
	for other, d := range r.definitions { // names have become free
		if d.Spec.Group == old.Spec.Group {
			r.look(other)
		}
	}
}

// setFamily tells the state which keys belong together. Records that are there get their headers anew when what can be selected by
// may have changed. The family of a definition that is gone stays until Sweep: watchers are still to be told of the last objects.
func (r *Registry) setFamily(next *definition) {
	if next.stored == nil || r.overlaps(next) {
		return
	}
	prefix := next.stored.KeyPrefix(r.options.API.Root, "")
	edition, header := "", metadataHeader // which does not keep the definition alive
	if len(next.selectable) > 0 {
		edition, header = next.edition, next.header
	}
	if have, ok := r.families[prefix]; ok && have == edition {
		return
	}
	r.families[prefix] = edition
	r.options.API.State.AddFamily(state.Family{Prefix: prefix, Header: header})
}

// overlaps reports whether a definition's objects would be where objects of the server's own kinds are: then those keep the place.
func (r *Registry) overlaps(d *definition) bool {
	return slices.ContainsFunc(r.base.Kinds(), func(k *kind.Kind) bool { return k.Stored() && k.Prefix == d.prefix() })
}

// rebuild makes the table.
func (r *Registry) rebuild() {
	names := make([]string, 0, len(r.definitions))
	for name := range r.definitions {
		names = append(names, name)
	}
	slices.Sort(names)
	var resources []*kind.Resource
	for _, name := range names {
		resources = append(resources, r.definitions[name].resources...)
	}
	close(r.current.Swap(newServed(r.base.With(resources...))).replaced)
}

// look has Run look at a definition.
func (r *Registry) look(name string) {
	r.changed[name] = true
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// read decodes a definition.
func (r *Registry) read(d *definition) (*apiextensionsv1.CustomResourceDefinition, error) {
	record := d.record.Load()
	obj, err := r.kind.Decode(record.Value(), record.Revision)
	if err != nil {
		return nil, err
	}
	versioned, err := r.resource.Convert(obj)
	if err != nil {
		return nil, err
	}
	crd, ok := versioned.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return nil, fmt.Errorf("%s is stored as a %T", d.Metadata.Name, versioned)
	}
	return crd, nil
}

// definition returns a definition as the state has it, or nil.
func (r *Registry) definition(name string) *definition {
	r.Table()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.definitions[name]
}

// Sweep lets go of what is compiled of definitions that were not used since the last call.
func (r *Registry) Sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	used := map[string]bool{}
	for _, d := range r.definitions {
		d.compiled.sweep()
		if d.stored != nil {
			used[d.stored.KeyPrefix(r.options.API.Root, "")] = true
		}
	}
	for prefix := range r.families {
		if !used[prefix] {
			r.options.API.State.RemoveFamily(prefix)
			delete(r.families, prefix)
		}
	}
}
