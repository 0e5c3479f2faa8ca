// Package builtin is the table of Kubernetes' own kinds.
//
// What a Pod is comes from Kubernetes' modules: Go types and protobuf from k8s.io/api, defaults and conversion from
// k8s.io/kubernetes/pkg/apis, validation through the strategies in k8s.io/kubernetes/pkg/registry, columns from its printers.
// This package only connects them: a kind is one entry, and there is a file for each API group. What upstream sets up in its
// storage packages (NewREST) and nowhere else, such as short names, is repeated in the entry.
//
// A kind is there with all versions that upstream can serve, also those that are off by default: whoever builds a server takes
// out of Kind.Versions what its --runtime-config does not want. Kinds behind a feature gate are there when the gate is on at
// the time of the call, under the conditions that upstream's storage providers (pkg/registry/<group>/rest) check.
//
// [Options] carries what some strategies have to ask (an authorizer, another object), and the implementations of everything
// that is not an object in the store: reviews, exec, eviction. All of it is optional, so that tools can have the table, too.
//
// # Adding a kind
//
// Add an entry to its group's file. inGroup fills in what most kinds have in common. The tests compare names, verbs and
// storage versions with upstream's own discovery documents, and the stored form and the selectable fields with upstream's
// codecs and functions, over random objects.
package builtin

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/capabilities"
	"k8s.io/kubernetes/pkg/printers"
	printersinternal "k8s.io/kubernetes/pkg/printers/internalversion"
	printerstorage "k8s.io/kubernetes/pkg/printers/storage"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// builder makes the entries of one call to Kinds.
type builder struct {
	Options
	columns rest.TableConvertor // what upstream's printers know
	codecs  map[codecKey]*kind.Codec
	unused  map[schema.GroupResource]rest.Storage // those of the options that nothing has asked for so far
}

// Kinds returns the built-in kinds, in the order in which discovery lists their groups. Each call makes new values, so servers
// in one process share nothing that is theirs. It is an error when the options have a storage for what is not there.
func Kinds(options Options) ([]*kind.Kind, error) {
	// Upstream keeps this in a process-wide variable; the first caller decides, and kayak has only one opinion.
	capabilities.Setup(true, 0)
	b := &builder{
		Options: options.withDefaults(),
		columns: printerstorage.TableConvertor{TableGenerator: printers.NewTableGenerator().With(printersinternal.AddHandlers)},
		codecs:  map[codecKey]*kind.Codec{},
		unused:  maps.Clone(options.Storages),
	}
	kinds := b.all()
	for gr := range b.unused {
		return nil, fmt.Errorf("there is a storage for %s, which is no action, review or the like", gr)
	}
	for _, k := range kinds {
		if k.Codec == nil {
			k.Codec = b.codec(k)
		}
		if k.Columns == nil {
			k.Columns = b.columns
		}
	}
	return kinds, nil
}

// all returns the groups in the order of their priority in discovery (kubernetes/pkg/controlplane/apiserver/aggregator.go,
// DefaultGenericAPIServicePriorities, and cmd/kube-apiserver/app/server.go): kubectl takes the first group that has a name.
func (b *builder) all() []*kind.Kind {
	return slices.Concat(
		b.core(), b.apiregistration(), b.apps(), b.events(), b.authentication(), b.authorization(), b.autoscaling(), b.batch(),
		b.certificates(), b.networking(), b.policy(), b.rbac(), b.storage(), b.admissionregistration(), b.apiextensions(),
		b.scheduling(), b.coordination(), b.node(), b.discovery(), b.resource(), b.flowcontrol(), b.apiserverinternal(),
		b.storagemigration(), b.lifecycle(),
	)
}

// inGroup fills in what most kinds of a group have in common: served as v1, stored in the first version served, under the
// name of the resource.
func inGroup(group string, kinds ...*kind.Kind) []*kind.Kind {
	for _, k := range kinds {
		k.Group = group
		if k.Versions == nil {
			k.Versions = []string{"v1"}
		}
		if k.Virtual != nil {
			continue
		}
		if k.Prefix == "" {
			k.Prefix = k.Resource
		}
		if k.Storage.Empty() {
			k.Storage = schema.GroupVersion{Group: group, Version: k.Versions[0]}
		}
	}
	return kinds
}

// gated returns the kinds if a feature gate is on.
func gated(enabled bool, kinds ...*kind.Kind) []*kind.Kind {
	if !enabled {
		return nil
	}
	return kinds
}

// object makes an empty object; object[core.Pod] is what a kind's New asks for.
func object[T any, P interface {
	*T
	runtime.Object
}]() runtime.Object {
	return P(new(T))
}

// subresources indexes subresources by name.
func subresources(list ...*kind.Subresource) map[string]*kind.Subresource {
	m := map[string]*kind.Subresource{}
	for _, s := range list {
		m[s.Name] = s
	}
	return m
}

func status(strategy rest.RESTUpdateStrategy) *kind.Subresource {
	return &kind.Subresource{Name: "status", Update: strategy}
}

// action is a subresource that does something; its implementation comes with the options, as "pods/exec".
func (b *builder) action(resource, name string, face *kind.Resource, verbs ...string) *kind.Subresource {
	gr := schema.GroupResource{Resource: resource + "/" + name}
	return &kind.Subresource{Name: name, Face: face, Storage: b.take(gr), Verbs: verbs}
}

// face is what bodies of a subresource are, when that is not the object itself.
func (b *builder) face(gvk schema.GroupVersionKind, newObject func() runtime.Object) *kind.Resource {
	face := kind.Face(gvk, b.codecFor(gvk.GroupVersion(), gvk.Group), newObject)
	face.Columns = b.columns
	return face
}

// virtual serves a kind that is not stored with what the options have for it.
func (b *builder) virtual(group, resource string, newObject func() runtime.Object) rest.Storage {
	if storage := b.take(schema.GroupResource{Group: group, Resource: resource}); storage != nil {
		return storage
	}
	return unserved{newObject}
}

func (b *builder) take(gr schema.GroupResource) rest.Storage {
	delete(b.unused, gr)
	return b.Storages[gr]
}

// unserved stands for an implementation that the options do not have: it has no verb.
type unserved struct {
	newObject func() runtime.Object
}

func (u unserved) New() runtime.Object { return u.newObject() }

func (unserved) Destroy() {}
