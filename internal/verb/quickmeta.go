package verb

import (
	"bytes"

	"k8s.io/apimachinery/pkg/runtime/schema"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
)

// quickMeta finds kind and apiVersion of a JSON object without parsing the rest, which upstream's factory does with the whole body
// before it is parsed again. It gives up, and asks upstream's, on everything that is not plain: another order of things than a
// sane encoder makes costs time and nothing else. What is no JSON at all it may not notice; the caller must let upstream's
// serializer word the error.
type quickMeta struct {
	jsonserializer.SimpleMetaFactory
}

// Interpret implements jsonserializer.MetaFactory.
func (m quickMeta) Interpret(data []byte) (*schema.GroupVersionKind, error) {
	if kind, apiVersion, ok := quickKind(data); ok {
		gv, err := schema.ParseGroupVersion(apiVersion)
		if err != nil {
			return nil, err
		}
		gvk := gv.WithKind(kind)
		return &gvk, nil
	}
	return m.SimpleMetaFactory.Interpret(data)
}

// quickKind reads the two members of the outermost object. ok is false when anything is unusual.
func quickKind(data []byte) (kind, apiVersion string, ok bool) {
	s := quickScan{data: data}
	if !s.next('{') {
		return "", "", false
	}
	seen := [2]bool{}
	for first := true; ; first = false {
		if s.next('}') {
			return kind, apiVersion, true
		}
		if !first && !s.next(',') {
			return "", "", false
		}
		name, isName := s.text()
		if !isName || !s.next(':') {
			return "", "", false
		}
		switch {
		case string(name) == "kind" && !seen[0]:
			seen[0] = true
			value, plain := s.text()
			if !plain {
				return "", "", false
			}
			kind = string(value)
		case string(name) == "apiVersion" && !seen[1]:
			seen[1] = true
			value, plain := s.text()
			if !plain {
				return "", "", false
			}
			apiVersion = string(value)
		case bytes.EqualFold(name, []byte("kind")), bytes.EqualFold(name, []byte("apiVersion")):
			return "", "", false // encoding/json takes these for the same
		case !s.skip():
			return "", "", false
		}
	}
}

// quickScan is a position in a JSON text.
type quickScan struct {
	data []byte
	at   int
}

// next goes past a character if it comes next, behind white space.
func (s *quickScan) next(c byte) bool {
	for s.at < len(s.data) {
		switch b := s.data[s.at]; b {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			if b != c {
				return false
			}
			s.at++
			return true
		}
	}
	return false
}

// text goes past a string without escapes and returns what is in it.
func (s *quickScan) text() ([]byte, bool) {
	if !s.next('"') {
		return nil, false
	}
	end := bytes.IndexByte(s.data[s.at:], '"')
	if end < 0 {
		return nil, false
	}
	text := s.data[s.at : s.at+end]
	for _, b := range text {
		if b == '\\' || b < ' ' || b >= 0x80 {
			return nil, false
		}
	}
	s.at += end + 1
	return text, true
}

// skip goes past a value.
func (s *quickScan) skip() bool {
	for depth := 0; s.at < len(s.data); s.at++ {
		switch s.data[s.at] {
		case '"':
			if !s.skipString() {
				return false
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return true // of the outermost object: the value ended before it
			}
		case ',':
			if depth == 0 {
				return true
			}
		}
	}
	return false
}

// skipString goes to the quote that ends a string.
func (s *quickScan) skipString() bool {
	for s.at++; s.at < len(s.data); s.at++ {
		switch s.data[s.at] {
		case '"':
			return true
		case '\\':
			s.at++
		}
	}
	return false
}
