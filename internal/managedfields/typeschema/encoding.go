package typeschema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
)

// Upstream's types have YAML tags only, and embed pointers in a way that encoding/json does not see through. So what is
// written are these.

type atom struct {
	Scalar smd.Scalar `json:"s,omitempty"`
	List   *list      `json:"l,omitempty"`
	Map    *object    `json:"m,omitempty"`
}

type ref struct {
	Name         *string                  `json:"n,omitempty"`
	Relationship *smd.ElementRelationship `json:"r,omitempty"`
	Nullable     bool                     `json:"u,omitempty"`
	Inlined      *atom                    `json:"i,omitempty"`
}

type list struct {
	Element      ref                     `json:"e"`
	Relationship smd.ElementRelationship `json:"r,omitempty"`
	Keys         []string                `json:"k,omitempty"`
}

type object struct {
	Fields       []field                 `json:"f,omitempty"`
	Element      *ref                    `json:"e,omitempty"`
	Relationship smd.ElementRelationship `json:"r,omitempty"`
}

type field struct {
	Name    string `json:"n"`
	Type    ref    `json:"t"`
	Default any    `json:"d,omitempty"`
}

// Encode writes the text of a schema, and of the kinds whose types are in it.
func Encode(types []smd.TypeDef, kinds map[schema.GroupVersionKind]string) (string, error) {
	var lines []string
	for gvk, name := range kinds {
		lines = append(lines, strings.Join([]string{"K", gvk.GroupVersion().String(), gvk.Kind, name}, "\t"))
	}
	for _, def := range types {
		a, err := encodeAtom(def.Atom)
		if err != nil {
			return "", fmt.Errorf("%s: %w", def.Name, err)
		}
		text, err := json.Marshal(a)
		if err != nil {
			return "", fmt.Errorf("%s: %w", def.Name, err)
		}
		lines = append(lines, strings.Join([]string{"T", def.Name, string(text)}, "\t"))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n", nil
}

func encodeAtom(a smd.Atom) (*atom, error) {
	out := &atom{}
	var err error
	if a.Scalar != nil {
		out.Scalar = *a.Scalar
	}
	if a.List != nil {
		out.List = &list{Relationship: a.List.ElementRelationship, Keys: a.List.Keys}
		if out.List.Element, err = encodeRef(a.List.ElementType); err != nil {
			return nil, err
		}
	}
	if a.Map != nil {
		out.Map, err = encodeMap(a.Map)
	}
	return out, err
}

func encodeMap(m *smd.Map) (*object, error) {
	if len(m.Unions) > 0 {
		return nil, errors.New("there are unions now, which are not written yet")
	}
	out := &object{Relationship: m.ElementRelationship}
	for _, f := range m.Fields {
		r, err := encodeRef(f.Type)
		if err != nil {
			return nil, err
		}
		out.Fields = append(out.Fields, field{Name: f.Name, Type: r, Default: f.Default})
	}
	// Upstream's order is that of a Go map.
	slices.SortFunc(out.Fields, func(a, b field) int { return strings.Compare(a.Name, b.Name) })
	r, err := encodeRef(m.ElementType)
	if r != (ref{}) {
		out.Element = &r
	}
	return out, err
}

func encodeRef(r smd.TypeRef) (ref, error) {
	out := ref{Name: r.NamedType, Relationship: r.ElementRelationship, Nullable: r.Nullable}
	if r.Inlined != (smd.Atom{}) {
		var err error
		if out.Inlined, err = encodeAtom(r.Inlined); err != nil {
			return ref{}, err
		}
	}
	return out, nil
}

func decode(text string) (smd.Atom, error) {
	var a atom
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&a); err != nil {
		return smd.Atom{}, err
	}
	return decodeAtom(&a), nil
}

func decodeAtom(a *atom) smd.Atom {
	var out smd.Atom
	if a == nil {
		return out
	}
	if a.Scalar != "" {
		out.Scalar = &a.Scalar
	}
	if a.List != nil {
		out.List = &smd.List{
			ElementType: decodeRef(&a.List.Element), ElementRelationship: a.List.Relationship, Keys: a.List.Keys,
		}
	}
	if a.Map != nil {
		out.Map = &smd.Map{ElementType: decodeRef(a.Map.Element), ElementRelationship: a.Map.Relationship}
		for _, f := range a.Map.Fields {
			out.Map.Fields = append(out.Map.Fields, smd.StructField{Name: f.Name, Type: decodeRef(&f.Type), Default: number(f.Default)})
		}
	}
	return out
}

func decodeRef(r *ref) smd.TypeRef {
	if r == nil {
		return smd.TypeRef{}
	}
	return smd.TypeRef{NamedType: r.Name, ElementRelationship: r.Relationship, Nullable: r.Nullable, Inlined: decodeAtom(r.Inlined)}
}

// number makes an int64 or a float64 of a number; defaults of keys are compared with values.
func number(value any) any {
	n, ok := value.(json.Number)
	if !ok {
		return value
	}
	if i, err := n.Int64(); err == nil {
		return i
	}
	f, _ := n.Float64() // it has been read as a number
	return f
}
