package verb

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// A resource.Quantity is compared with the largest one as soon as it is parsed, and for that it is written out: the eleven bytes
// of "1e999999999" become a number of 400 MB, which takes minutes (kube-apiserver does that). Quantities parse themselves while
// the body is decoded, so they have to be looked for before. Reading a body twice is not for every request: first the bytes
// are searched for anything that could be such a number, which hardly any body has; what has is read along its Go type, to
// find out whether it stands where a quantity is wanted, and not in a label that is a commit's hash.

const (
	// maxExponentDigits and maxQuantity bound a quantity: 10^9999 is compared in microseconds.
	maxExponentDigits = 4
	maxQuantity       = 1000
)

var errQuantity = errors.New("quantities must have no more than " + strconv.Itoa(maxExponentDigits) +
	" digits in their exponent and " + strconv.Itoa(maxQuantity) + " characters")

// expensive reports whether anything in the bytes could be a quantity that takes long to parse.
func expensive(data []byte) bool { return anyExpensive(data, nil) }

// expensiveJSON is expensive for a JSON document. A number there that comes right behind a digit of a hexadecimal number, as in the middle of most
// UIDs and checksums, is none: a quantity begins with its string, or behind white space or a colon.
func expensiveJSON(data []byte) bool {
	if bytes.Contains(data, []byte(`\u`)) { // which can be white space
		return expensive(data)
	}
	return anyExpensive(data, func(before []byte) bool {
		last := func() byte {
			if len(before) == 0 {
				return 0
			}
			return before[len(before)-1]
		}
		if c := last(); c == '-' || c == '+' {
			before = before[:len(before)-1]
		}
		c := last()
		return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
	})
}

// anyExpensive looks at every number in the bytes but those that are within something else, by what is before them.
func anyExpensive(data []byte, within func(before []byte) bool) bool {
	for i := 0; i < len(data); i++ {
		if !isNumeral(data[i]) {
			continue
		}
		start := i
		for i < len(data) && isNumeral(data[i]) {
			i++
		}
		if i-start > maxQuantity {
			return true
		}
		if i == len(data) || data[i]|0x20 != 'e' || within != nil && within(data[:start]) {
			continue
		}
		end := i + 1
		if end < len(data) && (data[end] == '+' || data[end] == '-') {
			end++
		}
		digits := end
		for end < len(data) && data[end] >= '0' && data[end] <= '9' {
			end++
		}
		if end-digits > maxExponentDigits {
			return true
		}
	}
	return false
}

func isNumeral(c byte) bool { return c >= '0' && c <= '9' || c == '.' }

// checkQuantities refuses a body that has a quantity which takes long to parse. Bodies that cannot be read pass: decoding says
// why.
func checkQuantities(r *kind.Resource, media wire.Media, body []byte) error {
	switch {
	case media == wire.YAML && (expensive(body) || bytes.IndexByte(body, '\\') >= 0): // with escapes nothing can be seen from outside
		converted, err := yaml.YAMLToJSON(body)
		if err != nil {
			return nil
		}
		body = converted
	case media == wire.JSON && !expensiveJSON(body), media != wire.JSON && !expensive(body):
		return nil
	}
	obj, err := r.Codec.Creater.New(r.GVK())
	if err != nil {
		return nil
	}
	t := reflect.TypeOf(obj)
	if media == wire.Protobuf {
		var unknown runtime.Unknown
		const magic = 4
		if len(body) < magic || unknown.Unmarshal(body[magic:]) != nil {
			return nil
		}
		return (&protobufReader{}).value(t, unknown.Raw, 0)
	}
	d := &quantityReader{Decoder: json.NewDecoder(bytes.NewReader(body))}
	if err := d.value(t, 0); errors.Is(err, errQuantity) {
		return err
	}
	return nil
}

// checkPatchedQuantities is checkQuantities for an object that a patch has made.
func checkPatchedQuantities(r *kind.Resource, patch []byte, patched any) error {
	if !expensive(patch) && bytes.IndexByte(patch, '\\') < 0 {
		return nil
	}
	document, err := json.Marshal(patched)
	if err != nil {
		return nil
	}
	return checkQuantities(r, wire.JSON, document)
}

var quantityType = reflect.TypeFor[resource.Quantity]()

// quantityReader reads JSON along a Go type. It reads every member, also those that come twice, as decoders do.
type quantityReader struct {
	*json.Decoder
	structs perType[string]
}

// perType is what has been found out about the structs in a body: the types of their members. There may be a million structs.
type perType[K comparable] map[reflect.Type]map[K]reflect.Type

func (p *perType[K]) get(t reflect.Type, make func(reflect.Type) map[K]reflect.Type) map[K]reflect.Type {
	fields, ok := (*p)[t]
	if !ok {
		if *p == nil {
			*p = perType[K]{}
		}
		fields = make(t)
		(*p)[t] = fields
	}
	return fields
}

func (d *quantityReader) value(t reflect.Type, depth int) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if depth > maxNesting {
		return errors.New("nested too deeply")
	}
	var fields map[string]reflect.Type
	switch {
	case t == quantityType:
		return d.quantity()
	case isUnmarshaler(t):
		return d.skip()
	case t.Kind() == reflect.Struct:
		fields = d.structs.get(t, jsonFields)
	case t.Kind() != reflect.Map && t.Kind() != reflect.Slice:
		return d.skip()
	}
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		err = d.members(t, fields, depth)
	case json.Delim('['):
		if t.Kind() != reflect.Slice {
			return errors.New("a list in a wrong place")
		}
		for err == nil && d.More() {
			err = d.value(t.Elem(), depth+1)
		}
	default:
		return nil
	}
	if err == nil {
		_, err = d.Token()
	}
	return err
}

func (d *quantityReader) members(t reflect.Type, fields map[string]reflect.Type, depth int) error {
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return err
		}
		key, _ := token.(string)
		switch {
		case t.Kind() == reflect.Map:
			if hasMetrics(key) {
				err = d.quantity()
			} else {
				err = d.value(t.Elem(), depth+1)
			}
		case fields[key] != nil:
			err = d.value(fields[key], depth+1)
		default:
			err = d.skip()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hasMetrics reports whether an annotation's text is JSON with quantities in it, which a conversion of autoscalers parses.
func hasMetrics(annotation string) bool {
	return strings.HasPrefix(annotation, "autoscaling.alpha.kubernetes.io/")
}

func (d *quantityReader) quantity() error {
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil {
		return err
	}
	if expensive(raw) {
		return errQuantity
	}
	return nil
}

func (d *quantityReader) skip() error {
	var raw json.RawMessage
	return d.Decode(&raw)
}

// isUnmarshaler reports whether a type reads its own JSON. None of those but quantities holds a quantity.
func isUnmarshaler(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
}

// jsonFields returns the types of a struct's members by their names.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name != "" && name != "-":
			fields[name] = f.Type
		case f.Anonymous || strings.Contains(options, "inline"):
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			for name, inlined := range jsonFields(inner) {
				fields[name] = inlined
			}
		}
	}
	return fields
}

// protobufReader reads messages along the Go types that they are for.
type protobufReader struct{ structs perType[protowire.Number] }

func (p *protobufReader) value(t reflect.Type, message []byte, depth int) error {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t == quantityType {
		if expensive(message) {
			return errQuantity
		}
		return nil
	}
	if t.Kind() != reflect.Struct || depth > maxNesting {
		return nil
	}
	fields := p.structs.get(t, protobufFields)
	for len(message) > 0 {
		number, wireType, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil
		}
		message = message[n:]
		if n = protowire.ConsumeFieldValue(number, wireType, message); n < 0 {
			return nil
		}
		if field, ok := fields[number]; ok && wireType == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(message)
			if err := p.member(field, value, depth+1); err != nil {
				return err
			}
		}
		message = message[n:]
	}
	return nil
}

// member reads a member; a map's are messages of key and value.
func (p *protobufReader) member(t reflect.Type, value []byte, depth int) error {
	if t.Kind() != reflect.Map {
		return p.value(t, value, depth)
	}
	metrics := false
	for entry := value; len(entry) > 0; {
		number, wireType, n := protowire.ConsumeTag(entry)
		if n < 0 || wireType != protowire.BytesType {
			return nil
		}
		entry = entry[n:]
		part, n := protowire.ConsumeBytes(entry)
		if n < 0 {
			return nil
		}
		entry = entry[n:]
		switch {
		case number == 1:
			metrics = hasMetrics(string(part))
		case metrics && expensive(part):
			return errQuantity
		case number == 2:
			if err := p.value(t.Elem(), part, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

// protobufFields returns the types of a message's members by their numbers.
func protobufFields(t reflect.Type) map[protowire.Number]reflect.Type {
	fields := map[protowire.Number]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		parts := strings.Split(f.Tag.Get("protobuf"), ",")
		if len(parts) < 2 {
			continue
		}
		if number, err := strconv.Atoi(parts[1]); err == nil {
			fields[protowire.Number(number)] = f.Type
		}
	}
	return fields
}
