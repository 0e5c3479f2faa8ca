package custom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
)

// head is what is read of a stored definition when it is seen: all but its schemas. It is stored as v1beta1, which has what is the
// same for all versions in the spec and not in the versions.
type head struct {
	Metadata struct {
		Name              string       `json:"name"`
		UID               string       `json:"uid"`
		Generation        int64        `json:"generation"`
		DeletionTimestamp *metav1.Time `json:"deletionTimestamp"`
		Finalizers        []string     `json:"finalizers"`
	} `json:"metadata"`
	Spec struct {
		Group      string                                        `json:"group"`
		Version    string                                        `json:"version"`
		Names      apiextensionsv1.CustomResourceDefinitionNames `json:"names"`
		Scope      apiextensionsv1.ResourceScope                 `json:"scope"`
		Versions   []headVersion                                 `json:"versions"`
		Conversion *struct {
			Strategy apiextensionsv1.ConversionStrategyType `json:"strategy"`
		} `json:"conversion"`
		Subresources     *apiextensionsv1.CustomResourceSubresources `json:"subresources"`
		SelectableFields []apiextensionsv1.SelectableField           `json:"selectableFields"`
	} `json:"spec"`
	Status struct {
		AcceptedNames apiextensionsv1.CustomResourceDefinitionNames       `json:"acceptedNames"`
		Conditions    []apiextensionsv1.CustomResourceDefinitionCondition `json:"conditions"`
	} `json:"status"`
}

type headVersion struct {
	Name               string                                      `json:"name"`
	Served             bool                                        `json:"served"`
	Storage            bool                                        `json:"storage"`
	Deprecated         bool                                        `json:"deprecated"`
	DeprecationWarning *string                                     `json:"deprecationWarning"`
	Subresources       *apiextensionsv1.CustomResourceSubresources `json:"subresources"`
	SelectableFields   []apiextensionsv1.SelectableField           `json:"selectableFields"`
}

// readHead reads it. What is large and not needed, schemas and managed fields, is not even parsed.
func readHead(value []byte) (*head, error) {
	var reduced bytes.Buffer
	if err := reduce(&reduced, value, ""); err != nil {
		return nil, err
	}
	h := &head{}
	if err := json.Unmarshal(reduced.Bytes(), h); err != nil {
		return nil, err
	}
	if len(h.Spec.Versions) == 0 && h.Spec.Version != "" { // as v1beta1 defaults it
		h.Spec.Versions = []headVersion{{Name: h.Spec.Version, Served: true, Storage: true}}
	}
	for i := range h.Spec.Versions {
		v := &h.Spec.Versions[i]
		if v.Subresources == nil {
			v.Subresources = h.Spec.Subresources
		}
		if v.SelectableFields == nil {
			v.SelectableFields = h.Spec.SelectableFields
		}
	}
	return h, nil
}

// reduce copies an object without the members that readHead leaves out.
func reduce(to *bytes.Buffer, object []byte, path string) error {
	to.WriteByte('{')
	first := true
	err := kind.EachMember(object, func(name, value []byte) error {
		switch path + string(name) {
		case `"spec""validation"`, `"metadata""managedFields"`, `"metadata""annotations"`, `"spec""additionalPrinterColumns"`:
			return nil
		}
		if !first {
			to.WriteByte(',')
		}
		first = false
		to.Write(name)
		to.WriteByte(':')
		switch within := path + string(name); within {
		case `"spec"`, `"metadata"`:
			if value[0] == '{' {
				return reduce(to, value, within)
			}
		case `"spec""versions"`:
			if value[0] == '[' {
				return reduceVersions(to, value)
			}
		}
		to.Write(value)
		return nil
	})
	to.WriteByte('}')
	return err
}

func reduceVersions(to *bytes.Buffer, array []byte) error {
	to.WriteByte('[')
	first := true
	err := kind.EachElement(array, func(version []byte) error {
		if !first {
			to.WriteByte(',')
		}
		first = false
		to.WriteByte('{')
		firstMember := true
		err := kind.EachMember(version, func(name, value []byte) error {
			if string(name) == `"schema"` || string(name) == `"additionalPrinterColumns"` {
				return nil
			}
			if !firstMember {
				to.WriteByte(',')
			}
			firstMember = false
			to.Write(name)
			to.WriteByte(':')
			to.Write(value)
			return nil
		})
		to.WriteByte('}')
		return err
	})
	to.WriteByte(']')
	return err
}

func (h *head) condition(typ apiextensionsv1.CustomResourceDefinitionConditionType) bool {
	for _, c := range h.Status.Conditions {
		if c.Type == typ {
			return c.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}

// serves reports whether objects can be had: names are accepted, or have been.
func (h *head) serves() bool {
	names := &h.Status.AcceptedNames
	return (h.condition(apiextensionsv1.NamesAccepted) || h.condition(apiextensionsv1.Established)) &&
		names.Plural != "" && names.Singular != "" && names.Kind != "" && names.ListKind != ""
}

// settled reports whether names and conditions are as they should be, as far as the head shows.
func (h *head) settled() bool {
	return h.condition(apiextensionsv1.NamesAccepted) && h.condition(apiextensionsv1.Established) &&
		reflect.DeepEqual(h.Spec.Names, h.Status.AcceptedNames)
}

func (h *head) terminating() bool {
	return h.Metadata.DeletionTimestamp != nil || h.condition(apiextensionsv1.Terminating)
}

func (h *head) storageVersion() string {
	for _, v := range h.Spec.Versions {
		if v.Storage {
			return v.Name
		}
	}
	return ""
}

// definition is a definition as it stands. It is immutable but for what is compiled of it, and for whether it is terminating.
type definition struct {
	*head // as it was when this edition was first seen
	key   string
	// state is the newest head of the edition: conditions change.
	state atomic.Pointer[head]
	// record is the newest one with this edition.
	record atomic.Pointer[state.Record]
	// edition is what must be the same for the definition to be the same, but for conditions.
	edition string
	// resources are its served versions; none if it serves nothing. The registry's mu guards them.
	resources []*kind.Resource
	// stored is the storage version, served or not.
	stored *kind.Resource
	// selectable are the fields that objects can be selected by in some version; selectAlike says that it is so in all of them.
	selectable  []string
	selectAlike bool
	ending      atomic.Bool
	done        chan struct{}
	compiled    *compiler
}

// newDefinition describes a stored definition. An error is one of the stored bytes.
func (r *Registry) newDefinition(record *state.Record) (*definition, error) {
	h, err := readHead(record.Value())
	if err != nil {
		return nil, fmt.Errorf("custom resource definition %s: %w", record.Key, err)
	}
	d := &definition{head: h, key: record.Key, done: make(chan struct{})}
	names, err := json.Marshal(h.Status.AcceptedNames)
	if err != nil {
		return nil, err
	}
	d.edition = fmt.Sprintf("%s/%d/%t/%t/%s", h.Metadata.UID, h.Metadata.Generation, h.serves(),
		h.condition(apiextensionsv1.Established), names)
	d.ending.Store(h.terminating())
	d.selectable, d.selectAlike = h.selectableNames()
	d.compiled = &compiler{registry: r, definition: d}
	d.record.Store(record)
	d.state.Store(h)
	if h.serves() && h.storageVersion() != "" {
		r.addResources(d)
	}
	return d, nil
}

// addResources makes the kinds of the served versions, and of the storage version.
func (r *Registry) addResources(d *definition) {
	for i := range d.Spec.Versions {
		v := &d.Spec.Versions[i]
		if !v.Served && !v.Storage {
			continue
		}
		resource := kind.NewResource(d.newKind(v), v.Name)
		resource.Deprecation = d.deprecation(v)
		if v.Storage {
			d.stored = resource
		}
		// What the server itself serves comes first, whole group versions of it.
		if v.Served && len(r.base.Version(d.Spec.Group, v.Name)) == 0 {
			d.resources = append(d.resources, resource)
		}
	}
	slices.SortFunc(d.resources, func(a, b *kind.Resource) int { // the preferred first
		return version.CompareKubeAwareVersionStrings(b.Version.Version, a.Version.Version)
	})
}

func (d *definition) newest() *head { return d.state.Load() }

func (d *definition) prefix() string { return d.Spec.Group + "/" + d.Status.AcceptedNames.Plural }

// deprecation is what clients of a version are warned of (apiextensions-apiserver/pkg/apiserver/customresource_handler.go).
func (d *definition) deprecation(v *headVersion) string {
	if !v.Deprecated {
		return ""
	}
	if v.DeprecationWarning != nil {
		return *v.DeprecationWarning
	}
	message := fmt.Sprintf("%s/%s %s is deprecated", d.Spec.Group, v.Name, d.Spec.Names.Kind)
	var better []string
	for _, other := range d.Spec.Versions {
		if other.Served && !other.Deprecated && version.CompareKubeAwareVersionStrings(v.Name, other.Name) < 0 {
			better = append(better, other.Name)
		}
	}
	if len(better) == 0 {
		return message
	}
	best := slices.MaxFunc(better, version.CompareKubeAwareVersionStrings)
	return message + fmt.Sprintf("; use %s/%s %s", d.Spec.Group, best, d.Spec.Names.Kind)
}

func (d *definition) gvk(version string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: d.Spec.Group, Version: version, Kind: d.Status.AcceptedNames.Kind}
}

func (d *definition) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: d.Spec.Group, Resource: d.Status.AcceptedNames.Plural}
}

func (d *definition) namespaced() bool { return d.Spec.Scope == apiextensionsv1.NamespaceScoped }

func fieldPath(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }
