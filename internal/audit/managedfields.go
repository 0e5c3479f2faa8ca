package audit

import (
	"bytes"
	"encoding/json"
)

// managedFieldsPaths are where managed fields are in an object, in a list and in a table; "*" is every element.
func managedFieldsPaths() [][]string {
	return [][]string{
		{"metadata", "managedFields"}, {"items", "*", "metadata", "managedFields"}, {"rows", "*", "object", "metadata", "managedFields"},
	}
}

// withoutManagedFields drops metadata.managedFields of an object, of the items of a list, and of the objects in a table's rows.
func withoutManagedFields(b []byte) ([]byte, error) {
	if !bytes.Contains(b, []byte(`"managedFields"`)) {
		return b, nil
	}
	var err error
	for _, path := range managedFieldsPaths() {
		if b, err = without(b, path); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// without drops the member at a path. All else stays as it is, and where it is.
func without(b []byte, path []string) ([]byte, error) {
	b = bytes.TrimSpace(b)
	opening := byte('{')
	if path[0] == "*" {
		opening = '['
	}
	if len(b) == 0 || b[0] != opening {
		return b, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(b))
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	out := bytes.NewBuffer(make([]byte, 0, len(b)))
	out.WriteByte(opening)
	for decoder.More() {
		if err := copyMember(out, decoder, path); err != nil {
			return nil, err
		}
	}
	out.WriteByte(b[len(b)-1])
	return out.Bytes(), nil
}

// copyMember copies the next member of an object, or the next element of a list, without what is at the path.
func copyMember(out *bytes.Buffer, decoder *json.Decoder, path []string) error {
	var key []byte
	matches := path[0] == "*"
	if !matches {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		matches = name == path[0]
		if key, err = json.Marshal(name); err != nil {
			return err
		}
		key = append(key, ':')
	}
	var value json.RawMessage
	if err := decoder.Decode(&value); err != nil {
		return err
	}
	if matches && len(path) == 1 {
		return nil
	}
	if matches {
		var err error
		if value, err = without(value, path[1:]); err != nil {
			return err
		}
	}
	if out.Len() > 1 {
		out.WriteByte(',')
	}
	out.Write(key)
	out.Write(value)
	return nil
}
