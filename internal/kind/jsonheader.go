package kind

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/kayak-k8s/kayak/internal/state"
)

var errJSON = errors.New("malformed JSON")

// JSONHeader reads uid and labels out of an object that is stored as JSON. Only its metadata is looked at; the rest is passed
// over, and may be malformed.
func JSONHeader(value []byte) (state.Header, error) {
	var header state.Header
	err := EachMember(value, func(name, member []byte) error {
		if string(name) != `"metadata"` {
			return nil
		}
		return EachMember(member, func(name, member []byte) error {
			switch string(name) {
			case `"uid"`:
				return json.Unmarshal(member, &header.UID)
			case `"labels"`:
				return readLabels(member, &header)
			}
			return nil
		})
	})
	return header, err
}

func readLabels(member []byte, header *state.Header) error {
	header.Labels = nil
	if string(member) == "null" {
		return nil
	}
	err := EachMember(member, func(name, member []byte) error {
		var pair state.Pair
		if err := json.Unmarshal(name, &pair.Key); err != nil {
			return err
		}
		header.Labels = append(header.Labels, pair)
		return json.Unmarshal(member, &header.Labels[len(header.Labels)-1].Value)
	})
	slices.SortFunc(header.Labels, func(a, b state.Pair) int { return strings.Compare(a.Key, b.Key) })
	return err
}

// EachMember calls fn for every member of a JSON object, with its name, as it is written, quotes included, and its value. Values
// are not looked into further than it takes to find their ends.
func EachMember(object []byte, fn func(name, value []byte) error) error {
	i := skipSpace(object, 0)
	if i >= len(object) || object[i] != '{' {
		return errJSON
	}
	if i = skipSpace(object, i+1); i < len(object) && object[i] == '}' {
		return nil
	}
	for {
		if i >= len(object) || object[i] != '"' {
			return errJSON
		}
		end := skipString(object, i)
		colon := skipSpace(object, end)
		if colon >= len(object) || object[colon] != ':' {
			return errJSON
		}
		start := skipSpace(object, colon+1)
		after := skipValue(object, start)
		if after <= start {
			return errJSON
		}
		if err := fn(object[i:end], object[start:after]); err != nil {
			return err
		}
		i = skipSpace(object, after)
		switch {
		case i >= len(object):
			return errJSON
		case object[i] == '}':
			return nil
		case object[i] != ',':
			return errJSON
		}
		i = skipSpace(object, i+1)
	}
}

// EachElement is EachMember for the elements of an array.
func EachElement(array []byte, fn func(value []byte) error) error {
	i := skipSpace(array, 0)
	if i >= len(array) || array[i] != '[' {
		return errJSON
	}
	if i = skipSpace(array, i+1); i < len(array) && array[i] == ']' {
		return nil
	}
	for {
		after := skipValue(array, i)
		if after <= i {
			return errJSON
		}
		if err := fn(array[i:after]); err != nil {
			return err
		}
		i = skipSpace(array, after)
		switch {
		case i >= len(array):
			return errJSON
		case array[i] == ']':
			return nil
		case array[i] != ',':
			return errJSON
		}
		i = skipSpace(array, i+1)
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the end of the string that begins at i, len(b) when it has none.
func skipString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return len(b)
}

// skipValue returns the end of the value that begins at i.
func skipValue(b []byte, i int) int {
	if i >= len(b) {
		return i
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		return skipNested(b, i)
	}
	for i < len(b) && !strings.ContainsRune(",]} \n\t\r", rune(b[i])) {
		i++
	}
	return i
}

func skipNested(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = skipString(b, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return len(b)
}
