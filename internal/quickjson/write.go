package quickjson

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
	"unsafe"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var writing = &plans{own: func(t reflect.Type) bool { return reflect.PointerTo(t).Implements(marshalers) }}

// buffers are what documents are written into before their size is known.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// largestKept is the size up to which a buffer is kept.
const largestKept = 64 << 10

// Marshal is json.Marshal.
func Marshal(of any) ([]byte, error) {
	var document []byte
	err := With(of, func(b []byte) error {
		document = bytes.Clone(b)
		return nil
	})
	return document, err
}

// With hands the document of a value to use, which may append to it and must not keep it.
func With(of any, use func(document []byte) error) error {
	buffer := buffers.Get().(*[]byte)
	b, err := Append((*buffer)[:0], of)
	if err == nil {
		err = use(b)
	}
	if cap(b) <= largestKept {
		*buffer = b
		buffers.Put(buffer)
	}
	return err
}

// Append appends the document of a value to b.
func Append(b []byte, of any) ([]byte, error) {
	appended, ok := appendTop(b, of)
	if ok {
		return appended, nil
	}
	document, err := json.Marshal(of)
	return append(b, document...), err
}

func appendTop(b []byte, of any) ([]byte, bool) {
	if m, ok := of.(map[string]any); ok {
		return appendAny(b, m, 0)
	}
	v := reflect.ValueOf(of)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return b, false
	}
	p := writing.get(v.Type().Elem())
	if p.op != aStruct {
		return b, false
	}
	return appendStruct(b, p, v.UnsafePointer(), 0)
}

// form is how values of a type with its own form are written.
type form uint8

const (
	bySelf     form = iota // by MarshalJSON
	asTime                 // metav1.Time
	asFields               // metav1.FieldsV1
	asQuantity             // resource.Quantity
	asIntOrString
	asPointer // by MarshalJSON, which the pointer has: a value that cannot be addressed does not have it
)

func formOf(t reflect.Type) form {
	switch {
	case t == reflect.TypeFor[metav1.Time]():
		return asTime
	case t == reflect.TypeFor[metav1.FieldsV1]():
		return asFields
	case t == reflect.TypeFor[resource.Quantity]():
		return asQuantity
	case t == reflect.TypeFor[intstr.IntOrString]():
		return asIntOrString
	case !t.Implements(marshalers):
		return asPointer
	}
	return bySelf
}

// slice is what a slice is in memory.
type slice struct {
	first    unsafe.Pointer
	len, cap int
}

// appendValue writes a value of the plan's type. It returns false if it has given up.
func appendValue(b []byte, p *plan, at unsafe.Pointer, depth int) ([]byte, bool) {
	switch p.op {
	case ownForm:
		return appendOwn(b, p, at)
	case aString:
		return appendString(b, *(*string)(at))
	case aBool:
		return strconv.AppendBool(b, *(*bool)(at)), true
	case aNumber:
		return strconv.AppendInt(b, integerAt(p, at), 10), true
	case aStruct:
		return appendStruct(b, p, at, depth)
	}
	if depth++; depth > maxDepth {
		return b, false
	}
	switch p.op {
	case someBytes:
		return appendBytes(b, *(*[]byte)(at)), true
	case aPointer:
		to := *(*unsafe.Pointer)(at)
		if to == nil {
			return append(b, "null"...), true
		}
		return appendValue(b, p.element, to, depth)
	case aMap:
		return appendMap(b, p, at, depth)
	case aSlice:
		return appendSlice(b, p, (*slice)(at), depth)
	}
	return b, false
}

func integerAt(p *plan, at unsafe.Pointer) int64 {
	switch p.goType.Size() {
	case 8:
		return *(*int64)(at)
	case 4:
		return int64(*(*int32)(at))
	case 2:
		return int64(*(*int16)(at))
	}
	return int64(*(*int8)(at))
}

func appendBytes(b, value []byte) []byte {
	if value == nil {
		return append(b, "null"...)
	}
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, value)
	return append(b, '"')
}

func appendStruct(b []byte, p *plan, at unsafe.Pointer, depth int) ([]byte, bool) {
	b = append(b, '{')
	first := true
	for i := range p.fields {
		f := &p.fields[i]
		value := unsafe.Add(at, f.offset)
		if f.omitEmpty && isEmpty(f.plan, value) || f.omitZero && f.zeroAt(value) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, f.name...)
		var ok bool
		if b, ok = appendValue(b, f.plan, value, depth); !ok {
			return b, false
		}
	}
	return append(b, '}'), true
}

// zeroAt is what omitzero leaves out.
func (f *field) zeroAt(at unsafe.Pointer) bool {
	if f.plan.form == asTime && f.plan.op == ownForm {
		return (*metav1.Time)(at).IsZero()
	}
	v := reflect.NewAt(f.plan.goType, at).Elem()
	if f.isZero == nil {
		return v.IsZero()
	}
	return f.isZero(v)
}

// isEmpty is what omitempty leaves out: of types with their own forms, too, by what they are in Go.
func isEmpty(p *plan, at unsafe.Pointer) bool {
	switch p.goType.Kind() {
	case reflect.String:
		return *(*string)(at) == ""
	case reflect.Slice:
		return (*slice)(at).len == 0
	case reflect.Map:
		return *(*unsafe.Pointer)(at) == nil || reflect.NewAt(p.goType, at).Elem().Len() == 0
	case reflect.Pointer:
		return *(*unsafe.Pointer)(at) == nil
	case reflect.Bool:
		return !*(*bool)(at)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return integerAt(p, at) == 0
	case reflect.Struct:
		return false
	case reflect.Array:
		return p.goType.Len() == 0
	}
	return reflect.NewAt(p.goType, at).Elem().IsZero()
}

func appendSlice(b []byte, p *plan, s *slice, depth int) ([]byte, bool) {
	if s.first == nil {
		return append(b, "null"...), true
	}
	size := p.element.goType.Size()
	b = append(b, '[')
	for i := range s.len {
		if i > 0 {
			b = append(b, ',')
		}
		var ok bool
		if b, ok = appendValue(b, p.element, unsafe.Add(s.first, uintptr(i)*size), depth); !ok {
			return b, false
		}
	}
	return append(b, ']'), true
}

// entry is an entry of a map.
type entry[V any] struct {
	key   string
	value V
}

// inOrder sorts entries as encoding/json does.
func inOrder[V any](entries []entry[V]) {
	slices.SortFunc(entries, func(a, b entry[V]) int {
		switch {
		case a.key < b.key:
			return -1
		case a.key > b.key:
			return 1
		}
		return 0
	})
}

func appendMap(b []byte, p *plan, at unsafe.Pointer, depth int) ([]byte, bool) {
	if *(*unsafe.Pointer)(at) == nil {
		return append(b, "null"...), true
	}
	if p.plain {
		return appendTexts(b, *(*map[string]string)(at))
	}
	v := reflect.NewAt(p.goType, at).Elem()
	var few [8]entry[unsafe.Pointer]
	entries := few[:0]
	values := reflect.MakeSlice(reflect.SliceOf(p.element.goType), v.Len(), v.Len())
	all := v.MapRange()
	for i := 0; all.Next(); i++ {
		value := values.Index(i)
		value.SetIterValue(all)
		entries = append(entries, entry[unsafe.Pointer]{all.Key().String(), value.Addr().UnsafePointer()})
	}
	inOrder(entries)
	b = append(b, '{')
	for i, e := range entries {
		var ok bool
		if b, ok = appendName(b, i, e.key); !ok {
			return b, false
		}
		if b, ok = appendValue(b, p.element, e.value, depth); !ok {
			return b, false
		}
	}
	return append(b, '}'), true
}

// appendName begins the i-th member of an object.
func appendName(b []byte, i int, name string) ([]byte, bool) {
	if i > 0 {
		b = append(b, ',')
	}
	b, ok := appendString(b, name)
	return append(b, ':'), ok
}

func appendTexts(b []byte, m map[string]string) ([]byte, bool) {
	var few [8]entry[string]
	entries := few[:0]
	for k, v := range m {
		entries = append(entries, entry[string]{k, v})
	}
	inOrder(entries)
	b = append(b, '{')
	for i, e := range entries {
		var ok bool
		if b, ok = appendName(b, i, e.key); !ok {
			return b, false
		}
		if b, ok = appendString(b, e.value); !ok {
			return b, false
		}
	}
	return append(b, '}'), true
}

// appendOwn writes a value that has its own form.
func appendOwn(b []byte, p *plan, at unsafe.Pointer) ([]byte, bool) {
	switch p.form {
	case asTime:
		return appendTime(b, (*metav1.Time)(at))
	case asFields:
		raw := (*metav1.FieldsV1)(at).GetRawBytes() // GetRawString would copy it
		if text := unsafe.String(unsafe.SliceData(raw), len(raw)); onlyObjects(text) {
			return append(b, text...), true
		}
	case asQuantity:
		quantity := *(*resource.Quantity)(at) // a copy: it keeps its text, and the object may be read by others
		b = append(b, '"')
		b = append(b, quantity.String()...)
		return append(b, '"'), true
	case asIntOrString:
		switch value := (*intstr.IntOrString)(at); value.Type {
		case intstr.Int:
			return strconv.AppendInt(b, int64(value.IntVal), 10), true
		case intstr.String:
			return appendString(b, value.StrVal)
		}
	}
	m, ok := reflect.NewAt(p.goType, at).Interface().(json.Marshaler)
	if !ok {
		return b, false
	}
	text, err := m.MarshalJSON()
	if err != nil {
		return b, false // json.Marshal says it in its own words
	}
	if isPlain(text) {
		return append(b, text...), true
	}
	text, err = json.Marshal(json.RawMessage(text)) // checks, compacts and escapes it
	return append(b, text...), err == nil
}

// isPlain tells whether a value in JSON is a string, or a small number, with nothing in it that would have to be checked or escaped.
func isPlain(text []byte) bool {
	if n := len(text); n >= 2 && text[0] == '"' && text[n-1] == '"' {
		for _, c := range text[1 : n-1] {
			if !verbatim[c] {
				return false
			}
		}
		return true
	}
	if len(text) == 0 || len(text) > 18 || text[0] == '0' && len(text) > 1 {
		return string(text) == "null"
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return string(text) == "null"
		}
	}
	return true
}

// appendTime is metav1.Time's MarshalJSON, for times that can be written.
func appendTime(b []byte, t *metav1.Time) ([]byte, bool) {
	if t.IsZero() {
		return append(b, "null"...), true
	}
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, time.RFC3339)
	return append(b, '"'), true
}

// onlyObjects tells whether a text is JSON, compact, of objects with objects in them, as sets of fields are.
func onlyObjects(text string) bool {
	depth := 0
	for i := 0; i < len(text); {
		switch text[i] {
		case '{':
			if i > 0 && text[i-1] != ':' {
				return false
			}
			if depth++; i+1 < len(text) && text[i+1] == '}' {
				i++
				continue
			}
			if i++; i == len(text) || text[i] != '"' {
				return false
			}
		case '}':
			if depth--; i == 0 || text[i-1] != '{' && text[i-1] != '}' {
				return false
			}
			if depth == 0 {
				return i+1 == len(text)
			}
			i++
		case ',':
			if depth == 0 || text[i-1] != '}' {
				return false
			}
			if i++; i == len(text) || text[i] != '"' {
				return false
			}
		case '"':
			if depth == 0 || text[i-1] != '{' && text[i-1] != ',' {
				return false
			}
			n := verbatimName(text[i+1:])
			if n < 0 {
				return false
			}
			if i += 1 + n + 1; i+1 >= len(text) || text[i] != ':' || text[i+1] != '{' {
				return false
			}
			i++
		default:
			return false
		}
	}
	return false
}

// verbatimName is how long a name is, up to its quote; -1 if it has anything in it but what stands for itself, and escaped quotes.
func verbatimName(text string) int {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return i
		case c == '\\':
			if i++; i == len(text) || text[i] != '"' {
				return -1
			}
		case !verbatim[c]:
			return -1
		}
	}
	return -1
}

// verbatim are the characters that stand for themselves in a string.
var verbatim = func() (table [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		table[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return table
}()

// appendString writes a string. It gives up on what is not UTF-8.
func appendString(b []byte, s string) ([]byte, bool) {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if verbatim[c] || c == 0x7f {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				return b, false
			case r == '\u2028' || r == '\u2029':
				b = append(append(b, s[from:i]...), `\u202`...)
				b = append(b, "0123456789"[r&0xf])
				from = i + size
			}
			i += size
			continue
		}
		b = appendEscape(append(b, s[from:i]...), c)
		i++
		from = i
	}
	return append(append(b, s[from:]...), '"'), true
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\b':
		return append(b, `\b`...)
	case '\f':
		return append(b, `\f`...)
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	}
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&0xf])
}

// appendAny writes what objects that are made of maps are made of.
func appendAny(b []byte, v any, depth int) ([]byte, bool) {
	if depth++; depth > maxDepth {
		return b, false
	}
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), true
	case string:
		return appendString(b, v)
	case bool:
		return strconv.AppendBool(b, v), true
	case int64:
		return strconv.AppendInt(b, v, 10), true
	case []any:
		return appendList(b, v, depth)
	case map[string]any:
		return appendObject(b, v, depth)
	}
	return b, false
}

func appendList(b []byte, list []any, depth int) ([]byte, bool) {
	if list == nil {
		return append(b, "null"...), true
	}
	b = append(b, '[')
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		var ok bool
		if b, ok = appendAny(b, v, depth); !ok {
			return b, false
		}
	}
	return append(b, ']'), true
}

func appendObject(b []byte, m map[string]any, depth int) ([]byte, bool) {
	if m == nil {
		return append(b, "null"...), true
	}
	var few [12]entry[any]
	entries := few[:0]
	for k, v := range m {
		entries = append(entries, entry[any]{k, v})
	}
	inOrder(entries)
	b = append(b, '{')
	for i, e := range entries {
		var ok bool
		if b, ok = appendName(b, i, e.key); !ok {
			return b, false
		}
		if b, ok = appendAny(b, e.value, depth); !ok {
			return b, false
		}
	}
	return append(b, '}'), true
}
