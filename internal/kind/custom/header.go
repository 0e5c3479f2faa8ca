package custom

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
)

func selectableName(field apiextensionsv1.SelectableField) string {
	return strings.TrimPrefix(field.JSONPath, ".")
}

// selectableNames lists the fields that any version can be selected by, sorted, and says whether that is the same for all of them.
func (h *head) selectableNames() (names []string, alike bool) {
	alike = true
	for i, v := range h.Spec.Versions {
		var own []string
		for _, f := range v.SelectableFields {
			own = append(own, selectableName(f))
		}
		slices.Sort(own)
		alike = alike && (i == 0 || slices.Equal(own, names))
		names = append(names, own...)
		slices.Sort(names)
		names = slices.Compact(names)
	}
	return names, alike
}

func metadataHeader(_ string, value []byte) (state.Header, error) { return kind.JSONHeader(value) }

// selectableIn finds the fields in the bytes of a stored object, if all are there and look the same in bytes and decoded. What is not
// there may have a default; and of a version that does not select by it, a field may have been pruned.
func (d *definition) selectableIn(value []byte) ([]state.Pair, bool) {
	if !d.selectAlike {
		return nil, false
	}
	found := make([]state.Pair, 0, len(d.selectable))
	for _, name := range d.selectable {
		text, ok := plainAt(value, name)
		if !ok {
			return nil, false
		}
		found = append(found, state.Pair{Key: name, Value: text})
	}
	return found, true
}

// plainAt returns what stands at a path of an object: a string without escapes, an integer, or a boolean.
func plainAt(object []byte, path string) (text string, ok bool) {
	name, rest, more := strings.Cut(path, ".")
	var at []byte
	err := kind.EachMember(object, func(quoted, value []byte) error {
		if len(quoted) == len(name)+2 && string(quoted[1:len(quoted)-1]) == name {
			at = value
		}
		return nil
	})
	switch {
	case err != nil || len(at) == 0:
		return "", false
	case more:
		return plainIn(at, rest)
	case at[0] == '"':
		text = string(at[1 : len(at)-1])
		return text, !strings.ContainsRune(text, '\\') && utf8.ValidString(text)
	}
	text = string(at)
	n, err := strconv.ParseInt(text, 10, 64)
	return text, err == nil && strconv.FormatInt(n, 10) == text || text == "true" || text == "false"
}

func plainIn(value []byte, path string) (string, bool) {
	if value[0] != '{' {
		return "", false
	}
	return plainAt(value, path)
}

// header reads what selectors ask for out of a stored object. Where the bytes do not say it, the object is decoded; it is looked at in the version that it is stored in, without conversion: the state
// must not wait for a webhook.
func (d *definition) header(_ string, value []byte) (state.Header, error) {
	header, err := kind.JSONHeader(value)
	if err != nil || len(d.selectable) == 0 {
		return header, err
	}
	if found, ok := d.selectableIn(value); ok {
		header.Fields = append(header.Fields, found...)
		return header, nil
	}
	schemas, err := d.compiled.schemas()
	if err != nil {
		return header, err
	}
	obj, err := schemas.load(value)
	if err != nil {
		return header, err
	}
	for _, name := range d.selectable {
		text := ""
		if value, ok, err := unstructured.NestedFieldNoCopy(obj.Object, strings.Split(name, ".")...); err == nil && ok && value != nil {
			text = fmt.Sprint(value)
		}
		header.Fields = append(header.Fields, state.Pair{Key: name, Value: text})
	}
	return header, nil
}
