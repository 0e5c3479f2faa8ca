// Package typeschema keeps what upstream's structured-merge-diff must know of types: which fields they have, which lists are
// merged by which keys, what is atomic.
//
// kube-apiserver works that out of its OpenAPI definitions when it starts, which takes hundreds of milliseconds and tens of
// megabytes. Here it is done ahead, by the command in internal/managedfields/generate, and written as a text with a line for
// each type. [Types] finds the lines and reads those that a kind needs when the kind is first asked for.
//
// # The text
//
// Lines are sorted. There are two sorts, their parts separated by tabs:
//
//	K  apps/v1  Deployment  io.k8s.api.apps.v1.Deployment     the type of a kind
//	T  io.k8s.api.apps.v1.Deployment  {"m":...}               a type, in JSON with short names (see atom)
package typeschema

import (
	"fmt"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// Types are the types of a text. They are safe for concurrent use. Make them with Parse.
type Types struct {
	kinds map[schema.GroupVersionKind]string
	lines map[string]string // JSON by the name of the type

	mu       sync.Mutex
	defs     map[string]smd.TypeDef
	finished map[schema.GroupVersionKind]*typed.ParseableType
}

// Parse indexes a text. Types are not read before they are asked for.
func Parse(text string) (*Types, error) {
	t := &Types{
		kinds:    map[schema.GroupVersionKind]string{},
		lines:    map[string]string{},
		defs:     map[string]smd.TypeDef{},
		finished: map[schema.GroupVersionKind]*typed.ParseableType{},
	}
	for line := range strings.SplitSeq(text, "\n") {
		parts := strings.Split(line, "\t")
		switch {
		case line == "":
		case parts[0] == "K" && len(parts) == 4:
			gv, err := schema.ParseGroupVersion(parts[1])
			if err != nil {
				return nil, err
			}
			t.kinds[gv.WithKind(parts[2])] = parts[3]
		case parts[0] == "T" && len(parts) == 3:
			t.lines[parts[1]] = parts[2]
		default:
			return nil, fmt.Errorf("cannot read the line %.80q", line)
		}
	}
	return t, nil
}

// Kinds returns the kinds that have a type.
func (t *Types) Kinds() []schema.GroupVersionKind {
	var kinds []schema.GroupVersionKind
	for gvk := range t.kinds {
		kinds = append(kinds, gvk)
	}
	return kinds
}

// Type returns the type of a kind, the same at every call, or nil if there is none.
func (t *Types) Type(gvk schema.GroupVersionKind) (*typed.ParseableType, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	name, ok := t.kinds[gvk]
	if !ok {
		return nil, nil
	}
	if p := t.finished[gvk]; p != nil {
		return p, nil
	}
	// Each kind has a schema of its own, with the types that it leads to: a schema that upstream has begun to use must not
	// grow any more. The definitions in it are shared.
	s := &smd.Schema{}
	if err := t.collect(name, s, map[string]bool{}); err != nil {
		return nil, fmt.Errorf("the type of %v: %w", gvk, err)
	}
	p := &typed.ParseableType{Schema: s, TypeRef: smd.TypeRef{NamedType: &name}}
	t.finished[gvk] = p
	return p, nil
}

// collect adds a type, and those it leads to, to a schema.
func (t *Types) collect(name string, s *smd.Schema, seen map[string]bool) error {
	if seen[name] {
		return nil
	}
	seen[name] = true
	def, ok := t.defs[name]
	if !ok {
		line, ok := t.lines[name]
		if !ok {
			return fmt.Errorf("there is no type %s", name)
		}
		a, err := decode(line)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		def = smd.TypeDef{Name: name, Atom: a}
		t.defs[name] = def
	}
	s.Types = append(s.Types, def)
	return t.follow(def.Atom, s, seen)
}

// follow collects the types that an atom refers to.
func (t *Types) follow(a smd.Atom, s *smd.Schema, seen map[string]bool) error {
	if a.List != nil {
		if err := t.followRef(a.List.ElementType, s, seen); err != nil {
			return err
		}
	}
	if a.Map == nil {
		return nil
	}
	if err := t.followRef(a.Map.ElementType, s, seen); err != nil {
		return err
	}
	for _, f := range a.Map.Fields {
		if err := t.followRef(f.Type, s, seen); err != nil {
			return err
		}
	}
	return nil
}

func (t *Types) followRef(ref smd.TypeRef, s *smd.Schema, seen map[string]bool) error {
	if ref.NamedType != nil {
		return t.collect(*ref.NamedType, s, seen)
	}
	return t.follow(ref.Inlined, s, seen)
}
