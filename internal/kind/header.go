package kind

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/kayak-k8s/kayak/internal/state"
)

// Field says where a selectable field stands in the stored form.
type Field struct {
	// Name is the field's name in selectors of the hub version: "spec.nodeName".
	Name string
	// Paths are JSON paths in the stored version; the first one with a value other than zero counts. On a list, the first
	// element is taken. Default: one path, equal to Name.
	Paths []string
	// Zero is the value when the stored form has none, "" unless given: what such an object has after defaulting.
	Zero string
}

// protobufMagic begins what Kubernetes stores in protobuf: then a runtime.Unknown follows, with the object's message in raw
// (apimachinery/pkg/runtime/serializer/protobuf).
var protobufMagic = []byte("k8s\x00")

// headerPlan reads the few facts that selectors ask for out of a stored protobuf message, without decoding the rest.
type headerPlan struct {
	apiVersion string
	fields     []plannedField // sorted by name
	// slow is set when the fields' places are not known; then every object is decoded.
	slow bool
}

type plannedField struct {
	name, zero string
	paths      [][]protowire.Number
	kinds      []reflect.Kind // of the value at the end of each path
}

// planHeader resolves the kind's fields against the Go type of its stored version. A field that cannot be found is a mistake
// in the table of kinds, hence the panic.
func planHeader(k *Kind) *headerPlan {
	plan := &headerPlan{apiVersion: k.Storage.String()}
	obj, err := k.Codec.Creater.New(k.Storage.WithKind(k.Name))
	if err != nil {
		return &headerPlan{slow: true}
	}
	for _, field := range k.Fields {
		planned := plannedField{name: field.Name, zero: field.Zero}
		paths := field.Paths
		if len(paths) == 0 {
			paths = []string{field.Name}
		}
		for _, path := range paths {
			numbers, kind, err := resolve(reflect.TypeOf(obj).Elem(), strings.Split(path, "."))
			if err != nil {
				panic(fmt.Sprintf("kind %s, field %s: %v", k.Name, field.Name, err))
			}
			planned.paths = append(planned.paths, numbers)
			planned.kinds = append(planned.kinds, kind)
		}
		plan.fields = append(plan.fields, planned)
	}
	sort.Slice(plan.fields, func(i, j int) bool { return plan.fields[i].name < plan.fields[j].name })
	return plan
}

// resolve turns a JSON path into field numbers, with the json and protobuf tags of the Go type.
func resolve(t reflect.Type, path []string) ([]protowire.Number, reflect.Kind, error) {
	var numbers []protowire.Number
	for _, name := range path {
		field, ok := fieldByJSONName(t, name)
		if !ok {
			return nil, 0, fmt.Errorf("%s has no field %q", t, name)
		}
		number, err := strconv.Atoi(strings.SplitN(field.Tag.Get("protobuf"), ",", 3)[1])
		if err != nil {
			return nil, 0, fmt.Errorf("%s.%s has no protobuf tag", t, field.Name)
		}
		numbers = append(numbers, protowire.Number(number))
		t = field.Type
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
	}
	return numbers, t.Kind(), nil
}

func fieldByJSONName(t reflect.Type, name string) (reflect.StructField, bool) {
	if t.Kind() != reflect.Struct {
		return reflect.StructField{}, false
	}
	for i := range t.NumField() {
		field := t.Field(i)
		tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if tag == name && field.Tag.Get("protobuf") != "" {
			return field, true
		}
	}
	return reflect.StructField{}, false
}

// Header reads what selectors ask for out of a stored value. metadata.name and metadata.namespace are not in the header's
// fields: they are in the key. A value in another form or version than the kind's own is decoded whole. Header is pure and
// may be called from any number of goroutines.
func (k *Kind) Header(key string, value []byte) (state.Header, error) {
	if !k.headerPlan.slow && bytes.HasPrefix(value, protobufMagic) {
		raw, apiVersion, _, err := unwrap(value[len(protobufMagic):])
		if err == nil && string(apiVersion) == k.headerPlan.apiVersion {
			header, err := k.headerPlan.read(raw)
			if k.NameLabel != "" {
				header.Labels = withLabel(header.Labels, k.NameLabel, key[strings.LastIndexByte(key, '/')+1:])
			}
			return header, err
		}
	}
	if k.JSON && len(value) > 0 && value[0] == '{' {
		return JSONHeader(value)
	}
	return k.decodedHeader(value)
}

// withLabel sets a label in a sorted set.
func withLabel(labels state.Set, name, value string) state.Set {
	i := sort.Search(len(labels), func(i int) bool { return labels[i].Key >= name })
	if i < len(labels) && labels[i].Key == name {
		labels[i].Value = value
		return labels
	}
	return slices.Insert(labels, i, state.Pair{Key: name, Value: value})
}

func (k *Kind) decodedHeader(value []byte) (state.Header, error) {
	obj, err := k.Decode(value, 0)
	if err != nil {
		return state.Header{}, err
	}
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return state.Header{}, err
	}
	labels, fields, err := k.Attributes(obj)
	if err != nil {
		return state.Header{}, err
	}
	delete(fields, "metadata.name")
	delete(fields, "metadata.namespace")
	return state.Header{UID: string(accessor.GetUID()), Labels: setOf(labels), Fields: setOf(fields)}, nil
}

func setOf(m map[string]string) state.Set {
	if len(m) == 0 {
		return nil
	}
	set := make(state.Set, 0, len(m))
	for key, value := range m {
		set = append(set, state.Pair{Key: key, Value: value})
	}
	sort.Slice(set, func(i, j int) bool { return set[i].Key < set[j].Key })
	return set
}

var errMalformed = errors.New("malformed protobuf message")

// unwrap returns raw and typeMeta of a runtime.Unknown.
func unwrap(unknown []byte) (raw, apiVersion, kind []byte, err error) {
	err = eachField(unknown, func(number protowire.Number, _ protowire.Type, value []byte) error {
		switch number {
		case 1: // typeMeta
			return eachField(value, func(number protowire.Number, _ protowire.Type, value []byte) error {
				switch number {
				case 1:
					apiVersion = value
				case 2:
					kind = value
				}
				return nil
			})
		case 2:
			raw = value
		}
		return nil
	})
	return raw, apiVersion, kind, err
}

// eachField calls fn for every field of a message. For length-delimited fields value is their content, otherwise it is the
// encoded number.
func eachField(message []byte, fn func(protowire.Number, protowire.Type, []byte) error) error {
	for len(message) > 0 {
		number, typ, n := protowire.ConsumeTag(message)
		if n < 0 {
			return errMalformed
		}
		message = message[n:]
		var value []byte
		if typ == protowire.BytesType {
			value, n = protowire.ConsumeBytes(message)
		} else if n = protowire.ConsumeFieldValue(number, typ, message); n >= 0 {
			value = message[:n]
		}
		if n < 0 {
			return errMalformed
		}
		if err := fn(number, typ, value); err != nil {
			return err
		}
		message = message[n:]
	}
	return nil
}

// Field numbers of metav1.ObjectMeta (apimachinery/pkg/apis/meta/v1/generated.proto).
const (
	metaUID    = 5
	metaLabels = 11
)

func (p *headerPlan) read(message []byte) (state.Header, error) {
	var header state.Header
	err := eachField(message, func(number protowire.Number, _ protowire.Type, value []byte) error {
		if number != 1 { // metadata is the first field of every stored object
			return nil
		}
		return readMetadata(value, &header)
	})
	if err != nil {
		return state.Header{}, err
	}
	sort.Slice(header.Labels, func(i, j int) bool { return header.Labels[i].Key < header.Labels[j].Key })
	if len(p.fields) == 0 {
		return header, nil
	}
	header.Fields = make(state.Set, len(p.fields))
	for i := range p.fields {
		header.Fields[i] = state.Pair{Key: p.fields[i].name, Value: p.fields[i].read(message)}
	}
	return header, nil
}

func readMetadata(metadata []byte, header *state.Header) error {
	return eachField(metadata, func(number protowire.Number, _ protowire.Type, value []byte) error {
		switch number {
		case metaUID:
			header.UID = string(value)
		case metaLabels:
			var pair state.Pair
			err := eachField(value, func(number protowire.Number, _ protowire.Type, value []byte) error {
				switch number {
				case 1:
					pair.Key = string(value)
				case 2:
					pair.Value = string(value)
				}
				return nil
			})
			if err != nil {
				return err
			}
			header.Labels = append(header.Labels, pair)
		}
		return nil
	})
}

func (f *plannedField) read(message []byte) string {
	for i, path := range f.paths {
		if value := lookup(message, path, f.kinds[i]); value != "" {
			return value
		}
	}
	return f.zero
}

// lookup returns the value at a path as a selector sees it, "" when it is absent or zero.
func lookup(message []byte, path []protowire.Number, kind reflect.Kind) string {
	for len(message) > 0 {
		number, typ, n := protowire.ConsumeTag(message)
		if n < 0 {
			return ""
		}
		rest := message[n:]
		length := protowire.ConsumeFieldValue(number, typ, rest)
		if length < 0 {
			return ""
		}
		if number != path[0] {
			message = rest[length:]
			continue
		}
		switch typ {
		case protowire.BytesType:
			value, _ := protowire.ConsumeBytes(rest)
			if len(path) == 1 {
				return string(value)
			}
			return lookup(value, path[1:], kind)
		case protowire.VarintType:
			number, _ := protowire.ConsumeVarint(rest)
			return formatVarint(number, kind)
		}
		return ""
	}
	return ""
}

func formatVarint(number uint64, kind reflect.Kind) string {
	if kind == reflect.Bool {
		if number == 0 {
			return ""
		}
		return "true"
	}
	if number == 0 {
		return ""
	}
	return strconv.FormatInt(int64(number), 10)
}
