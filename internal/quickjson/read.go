package quickjson

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

var reading = &plans{own: func(t reflect.Type) bool { return reflect.PointerTo(t).Implements(unmarshalers) }}

// maxDepth is how deeply values may be nested.
const maxDepth = 100

// Unmarshal reads a document into a struct that is empty, and that into points to. It returns false if it has given up.
func Unmarshal(data []byte, into any) bool {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return false
	}
	p := reading.get(v.Type().Elem())
	if p.op != aStruct {
		return false
	}
	r := reader{data: data, text: string(data)}
	return r.value(p, v.UnsafePointer()) && r.next() == 0 && r.at == len(r.text)
}

// UnmarshalMap reads a document that is an object.
func UnmarshalMap(data []byte) (map[string]any, bool) {
	r := reader{data: data, text: string(data)}
	if r.next() != '{' {
		return nil, false
	}
	v, ok := r.any()
	if !ok || r.next() != 0 || r.at != len(r.text) {
		return nil, false
	}
	m, ok := v.(map[string]any)
	return m, ok
}

// reader is a position in a document. Its methods return false when they give up.
type reader struct {
	data  []byte
	text  string // the same
	at    int
	depth int
}

// next is what comes behind white space; 0 at the end.
func (r *reader) next() byte {
	for ; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// take goes past a character that must come next.
func (r *reader) take(c byte) bool {
	if r.next() != c {
		return false
	}
	r.at++
	return true
}

// literal goes past a word.
func (r *reader) literal(word string) bool {
	if !strings.HasPrefix(r.text[r.at:], word) {
		return false
	}
	r.at += len(word)
	return true
}

// value reads a value of the plan's type to where at points, which is empty.
func (r *reader) value(p *plan, at unsafe.Pointer) bool {
	c := r.next()
	if p.op == ownForm {
		return r.ownForm(p, at)
	}
	if c == 'n' {
		return p.op != unusual && r.literal("null") // it is nil, or stays as it is
	}
	ok := false
	switch p.op {
	case aString:
		*(*string)(at), ok = r.string()
		return ok
	case aBool:
		if c == 't' {
			*(*bool)(at) = true
			return r.literal("true")
		}
		return r.literal("false")
	case aNumber:
		return r.number(p, at)
	case someBytes:
		return r.bytes((*[]byte)(at))
	case aPointer:
		to := reflect.New(p.element.goType).UnsafePointer()
		*(*unsafe.Pointer)(at) = to
		return r.value(p.element, to)
	}
	if r.depth++; r.depth > maxDepth {
		return false
	}
	switch p.op {
	case aStruct:
		ok = r.members(p, at)
	case aMap:
		ok = r.entries(p, at)
	case aSlice:
		ok = r.elements(p, at)
	}
	r.depth--
	return ok
}

// ownForm reads a value that reads itself.
func (r *reader) ownForm(p *plan, at unsafe.Pointer) bool {
	from := r.at
	return r.skip() && reflect.NewAt(p.goType, at).Interface().(json.Unmarshaler).UnmarshalJSON(r.data[from:r.at:r.at]) == nil
}

// number reads a number of the plan's size.
func (r *reader) number(p *plan, at unsafe.Pointer) bool {
	n, ok := r.integer()
	switch p.goType.Size() {
	case 8:
		*(*int64)(at) = n
	case 4:
		*(*int32)(at) = int32(n)
	case 2:
		*(*int16)(at) = int16(n)
	default:
		*(*int8)(at) = int8(n)
	}
	return ok && integerAt(p, at) == n
}

// members reads a struct.
func (r *reader) members(p *plan, at unsafe.Pointer) bool {
	if !r.take('{') {
		return false
	}
	if r.next() == '}' {
		r.at++
		return true
	}
	var seen [maxFields / 64]uint64
	for {
		name, ok := r.name()
		if !ok {
			return false
		}
		i, known := p.named[name]
		if !known || seen[i/64]&(1<<(i%64)) != 0 {
			return false
		}
		seen[i/64] |= 1 << (i % 64)
		f := &p.fields[i]
		if !r.value(f.plan, unsafe.Add(at, f.offset)) {
			return false
		}
		if done, ok := r.more('}'); !ok || done {
			return ok
		}
	}
}

// name reads the name of a member, and goes past the colon.
func (r *reader) name() (string, bool) {
	if r.next() != '"' {
		return "", false
	}
	s, ok := r.string()
	return s, ok && r.take(':')
}

// more goes past a comma, or the end.
func (r *reader) more(end byte) (done, ok bool) {
	switch r.next() {
	case ',':
		r.at++
		return false, true
	case end:
		r.at++
		return true, true
	}
	return false, false
}

// entries reads a map.
func (r *reader) entries(p *plan, at unsafe.Pointer) bool {
	if !r.take('{') {
		return false
	}
	if p.plain {
		m := map[string]string{}
		*(*map[string]string)(at) = m
		return r.texts(m)
	}
	v := reflect.NewAt(p.goType, at).Elem()
	v.Set(reflect.MakeMap(p.goType))
	if r.next() == '}' {
		r.at++
		return true
	}
	for {
		name, ok := r.name()
		if !ok {
			return false
		}
		key := reflect.ValueOf(name)
		if t := p.goType.Key(); t != key.Type() {
			key = key.Convert(t)
		}
		if v.MapIndex(key).IsValid() {
			return false
		}
		element := reflect.New(p.element.goType).Elem()
		if !r.value(p.element, element.Addr().UnsafePointer()) {
			return false
		}
		v.SetMapIndex(key, element)
		if done, ok := r.more('}'); !ok || done {
			return ok
		}
	}
}

// texts reads a map of strings behind its brace.
func (r *reader) texts(m map[string]string) bool {
	if r.next() == '}' {
		r.at++
		return true
	}
	for {
		name, ok := r.name()
		if !ok {
			return false
		}
		if _, twice := m[name]; twice {
			return false
		}
		s := ""
		if r.next() == 'n' {
			ok = r.literal("null")
		} else {
			s, ok = r.string()
		}
		if m[name] = s; !ok {
			return false
		}
		if done, ok := r.more('}'); !ok || done {
			return ok
		}
	}
}

// elements reads a slice.
func (r *reader) elements(p *plan, at unsafe.Pointer) bool {
	if !r.take('[') {
		return false
	}
	v := reflect.NewAt(p.goType, at).Elem()
	if r.next() == ']' {
		r.at++
		v.Set(reflect.MakeSlice(p.goType, 0, 0))
		return true
	}
	for n := 0; ; n++ {
		if n == v.Cap() {
			v.Grow(max(1, n))
		}
		v.SetLen(n + 1)
		if !r.value(p.element, v.Index(n).Addr().UnsafePointer()) {
			return false
		}
		if done, ok := r.more(']'); !ok || done {
			return ok
		}
	}
}

// bytes reads bytes, which stand as base64.
func (r *reader) bytes(to *[]byte) bool {
	s, ok := r.string()
	if !ok {
		return false
	}
	b, err := base64.StdEncoding.DecodeString(s)
	*to = b
	return err == nil
}

// string reads a string.
func (r *reader) string() (string, bool) {
	if r.next() != '"' {
		return "", false
	}
	from := r.at + 1
	ascii := true
	for i := from; i < len(r.text); i++ {
		switch c := r.text[i]; {
		case c == '"':
			r.at = i + 1
			return r.text[from:i], ascii || utf8.ValidString(r.text[from:i])
		case c == '\\':
			return r.escaped(from, i)
		case c < ' ':
			return "", false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return "", false
}

// escaped reads a string that has an escape at i.
func (r *reader) escaped(from, i int) (string, bool) {
	b := append(make([]byte, 0, 2*(i-from)+32), r.text[from:i]...)
	for i < len(r.text) {
		c := r.text[i]
		i++
		switch {
		case c == '"':
			r.at = i
			return string(b), utf8.Valid(b)
		case c < ' ' || i == len(r.text):
			return "", false
		case c != '\\':
			b = append(b, c)
			continue
		}
		c = r.text[i]
		i++
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			if i+4 > len(r.text) {
				return "", false
			}
			n, err := strconv.ParseUint(r.text[i:i+4], 16, 16)
			if err != nil || !utf8.ValidRune(rune(n)) { // half of a pair
				return "", false
			}
			b, i = utf8.AppendRune(b, rune(n)), i+4
		default:
			return "", false
		}
	}
	return "", false
}

// integer reads a number that is an integer and is written as one.
func (r *reader) integer() (int64, bool) {
	from := r.at
	if r.at < len(r.text) && r.text[r.at] == '-' {
		r.at++
	}
	digits := r.at
	for r.at < len(r.text) && r.text[r.at] >= '0' && r.text[r.at] <= '9' {
		r.at++
	}
	if r.at == digits || r.text[digits] == '0' && r.at > digits+1 {
		return 0, false
	}
	if r.at < len(r.text) {
		if c := r.text[r.at]; c == '.' || c == 'e' || c == 'E' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(r.text[from:r.at], 10, 64)
	return n, err == nil
}

// skip goes past a value that somebody else reads.
func (r *reader) skip() bool {
	switch c := r.next(); c {
	case '"':
		from := r.at
		if _, ok := r.string(); ok {
			return true
		}
		r.at = from
	case '{', '[':
		return r.skipNested()
	case 'n':
		return r.literal("null")
	case 't':
		return r.literal("true")
	case 'f':
		return r.literal("false")
	default:
		_, ok := r.integer()
		return ok
	}
	return false
}

func (r *reader) skipNested() bool {
	from, depth := r.at, 0
	for ; r.at < len(r.text); r.at++ {
		switch r.text[r.at] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				r.at++
				return json.Valid(r.data[from:r.at])
			}
		case '"':
			for r.at++; r.at < len(r.text) && r.text[r.at] != '"'; r.at++ {
				if r.text[r.at] == '\\' {
					r.at++
				}
			}
		}
	}
	return false
}

// any reads a value of whatever sort.
func (r *reader) any() (any, bool) {
	switch r.next() {
	case '{':
		return r.object()
	case '[':
		return r.list()
	case '"':
		return r.string()
	case 'n':
		return nil, r.literal("null")
	case 't':
		return true, r.literal("true")
	case 'f':
		return false, r.literal("false")
	}
	return r.integer()
}

func (r *reader) object() (any, bool) {
	r.at++
	m := map[string]any{}
	if r.next() == '}' {
		r.at++
		return m, true
	}
	if r.depth++; r.depth > maxDepth {
		return nil, false
	}
	for {
		name, ok := r.name()
		if !ok {
			return nil, false
		}
		if _, twice := m[name]; twice {
			return nil, false
		}
		if m[name], ok = r.any(); !ok {
			return nil, false
		}
		if done, ok := r.more('}'); !ok || done {
			r.depth--
			return m, ok
		}
	}
}

func (r *reader) list() (any, bool) {
	r.at++
	list := []any{}
	if r.next() == ']' {
		r.at++
		return list, true
	}
	if r.depth++; r.depth > maxDepth {
		return nil, false
	}
	for {
		v, ok := r.any()
		if !ok {
			return nil, false
		}
		list = append(list, v)
		if done, ok := r.more(']'); !ok || done {
			r.depth--
			return list, ok
		}
	}
}
