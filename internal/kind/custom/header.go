package custom

import (
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
)

func selectableName(field apiextensionsv1.SelectableField) string {
	return strings.TrimPrefix(field.JSONPath, ".")
}

// selectableNames lists the fields that any version can be selected by, sorted.
func (d *definition) selectableNames() []string {
	var names []string
	for _, v := range d.Spec.Versions {
		for _, f := range v.SelectableFields {
			names = append(names, selectableName(f))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func metadataHeader(_ string, value []byte) (state.Header, error) { return kind.JSONHeader(value) }

// header reads what selectors ask for out of a stored object. Only for a definition with selectable fields is it decoded, because
// a field may have its value from a default; it is looked at in the version that it is stored in, without conversion: the state
// must not wait for a webhook.
func (d *definition) header(_ string, value []byte) (state.Header, error) {
	header, err := kind.JSONHeader(value)
	names := d.selectableNames()
	if err != nil || len(names) == 0 {
		return header, err
	}
	schemas, err := d.compiled.schemas()
	if err != nil {
		return header, err
	}
	obj, err := schemas.load(value)
	if err != nil {
		return header, err
	}
	for _, name := range names {
		text := ""
		if value, ok, err := unstructured.NestedFieldNoCopy(obj.Object, strings.Split(name, ".")...); err == nil && ok && value != nil {
			text = fmt.Sprint(value)
		}
		header.Fields = append(header.Fields, state.Pair{Key: name, Value: text})
	}
	return header, nil
}
