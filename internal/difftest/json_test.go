package difftest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// node is a JSON value that keeps what decoding loses: the order of members, doubled members, the spelling of strings.
type node struct {
	raw     string // of a scalar, or "{" or "["
	members []member
}

type member struct {
	key   string // as spelled, with quotes; "" in an array
	value *node
}

// parseJSON reads a value at the beginning of b and returns what follows it.
func parseJSON(b []byte) (*node, []byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(b))
	var raw json.RawMessage
	if err := decoder.Decode(&raw); err != nil {
		return nil, b, err
	}
	n, rest := parseValid(raw)
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, b, fmt.Errorf("%q follows the value", rest)
	}
	return n, b[decoder.InputOffset():], nil
}

// parseValid reads a value of a text that is known to be JSON.
func parseValid(b []byte) (*node, []byte) {
	b = bytes.TrimLeft(b, " \t\r\n")
	switch b[0] {
	case '{', '[':
		n := &node{raw: string(b[:1])}
		b = b[1:]
		for {
			b = bytes.TrimLeft(b, " \t\r\n,")
			if b[0] == '}' || b[0] == ']' {
				return n, b[1:]
			}
			var m member
			if n.raw == "{" {
				var key *node
				key, b = parseValid(b)
				m.key = key.raw
				b = bytes.TrimLeft(b, " \t\r\n:")
			}
			m.value, b = parseValid(b)
			n.members = append(n.members, m)
		}
	case '"':
		end := 1
		for b[end] != '"' {
			if b[end] == '\\' {
				end++
			}
			end++
		}
		return &node{raw: string(b[:end+1])}, b[end+1:]
	}
	end := bytes.IndexAny(b, ",]} \t\r\n")
	if end < 0 {
		end = len(b)
	}
	return &node{raw: string(b[:end])}, b[end:]
}

func (n *node) isString() bool { return n.raw[0] == '"' }

// text is the value of a string.
func (n *node) text() string {
	var s string
	_ = json.Unmarshal([]byte(n.raw), &s)
	return s
}

func (n *node) member(key string) *node {
	for _, m := range n.members {
		if m.key == `"`+key+`"` {
			return m.value
		}
	}
	return nil
}

// at follows a path of members and indexes.
func (n *node) at(path string) *node {
	for _, step := range strings.Split(path, ".") {
		if n == nil {
			return nil
		}
		if n.raw == "[" {
			var i int
			if _, err := fmt.Sscan(step, &i); err != nil || i >= len(n.members) {
				return nil
			}
			n = n.members[i].value
			continue
		}
		n = n.member(step)
	}
	return n
}

// width is how long a line may get.
const width = 110

// layOut writes the value for people: what fits into a line is in one.
func (n *node) layOut(b *strings.Builder, indent string, column int) {
	line := n.oneLine()
	if len(n.members) == 0 || column+len(line) <= width {
		b.WriteString(line)
		return
	}
	b.WriteString(n.raw)
	for i, m := range n.members {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n" + indent + "  ")
		column := len(indent) + 2
		if m.key != "" {
			b.WriteString(m.key + ": ")
			column += len(m.key) + 2
		}
		if m.key == `"fieldsV1"` {
			b.WriteString(m.value.oneLine()) // a tree of names, which is read as one thing
			continue
		}
		m.value.layOut(b, indent+"  ", column)
	}
	b.WriteString("\n" + indent + n.closing())
}

func (n *node) closing() string {
	if n.raw == "{" {
		return "}"
	}
	return "]"
}

func (n *node) oneLine() string {
	if n.raw != "{" && n.raw != "[" {
		return n.raw
	}
	parts := make([]string, len(n.members))
	for i, m := range n.members {
		parts[i] = m.value.oneLine()
		if m.key != "" {
			parts[i] = m.key + ": " + parts[i]
		}
	}
	return n.raw + strings.Join(parts, ", ") + n.closing()
}
