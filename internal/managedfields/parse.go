package managedfields

import (
	"strconv"
	"strings"
)

// parser reads FieldsV1 the way upstream and package managedfields write it. Whatever looks otherwise, or cannot be told apart
// by looking at the text alone, is left to upstream: another order, spaces, escapes, numbers that are not small integers.
type parser struct {
	rest string
	ok   bool
}

// maxDepth is how deep a set may be. Kinds do not get that deep.
const maxDepth = 64

// parseFields returns the set that a text says, and false if upstream has to read it.
func parseFields(text string) (fieldset, bool) {
	p := &parser{rest: text, ok: true}
	set, _ := p.set(0)
	return set, p.ok && p.rest == ""
}

// set reads an object, and whether the path to it is a member itself.
func (p *parser) set(depth int) (set fieldset, member bool) {
	if !p.skip("{") || depth > maxDepth {
		p.ok = false
		return nil, false
	}
	if strings.HasPrefix(p.rest, "}") {
		p.rest = p.rest[1:]
		return nil, true
	}
	if strings.HasPrefix(p.rest, `".":{},`) {
		p.rest = p.rest[len(`".":{},`):]
		member = true
	}
	for p.ok {
		it := item{step: p.step()}
		if !p.ok || !p.skip(":") || len(set) > 0 && set[len(set)-1].compare(&it.step) >= 0 {
			p.ok = false
			break
		}
		it.children, it.member = p.set(depth + 1)
		set = append(set, it)
		if strings.HasPrefix(p.rest, "}") {
			p.rest = p.rest[1:]
			return set, member
		}
		p.skip(",")
	}
	return nil, false
}

func (p *parser) skip(text string) bool {
	if !strings.HasPrefix(p.rest, text) {
		p.ok = false
		return false
	}
	p.rest = p.rest[len(text):]
	return true
}

// step reads a path element: "f:name", "k:{\"name\":\"value\"}", "v:\"value\"".
func (p *parser) step() step {
	if !p.skip(`"`) || len(p.rest) < 2 {
		p.ok = false
		return step{}
	}
	kind, end := p.rest[:2], 0
	switch kind {
	case "f:":
		for end < len(p.rest) && p.rest[end] != '"' {
			if !plain(p.rest[end]) {
				p.ok = false
				return step{}
			}
			end++
		}
	case "k:", "v:":
		for end < len(p.rest) && p.rest[end] != '"' {
			if p.rest[end] == '\\' {
				end++ // what follows is looked at in keys
			}
			end++
		}
	default:
		p.ok = false
		return step{}
	}
	if end >= len(p.rest) {
		p.ok = false
		return step{}
	}
	content := p.rest[2:end]
	s := step{text: `"` + p.rest[:end+1]}
	p.rest = p.rest[end+1:]
	if kind == "f:" {
		return s
	}
	inner := &parser{rest: content, ok: true}
	if kind == "k:" {
		s.kind, s.keys = keyStep, inner.keys()
	} else {
		s.kind, s.keys = valueStep, []keyValue{{value: inner.scalar()}}
	}
	p.ok = p.ok && inner.ok && inner.rest == ""
	return s
}

// keys reads the keys of a list's element; their quotes are escaped.
func (p *parser) keys() []keyValue {
	var keys []keyValue
	p.skip("{")
	for p.ok {
		k := keyValue{name: p.string()}
		p.skip(":")
		k.value = p.scalar()
		if len(keys) > 0 && keys[len(keys)-1].name >= k.name {
			p.ok = false
		}
		keys = append(keys, k)
		if strings.HasPrefix(p.rest, "}") {
			p.rest = p.rest[1:]
			break
		}
		p.skip(",")
	}
	return keys
}

func (p *parser) string() string {
	if !p.skip(`\"`) {
		return ""
	}
	end := strings.Index(p.rest, `\"`)
	if end < 0 || !allPlain(p.rest[:end]) {
		p.ok = false
		return ""
	}
	s := p.rest[:end]
	p.rest = p.rest[end+2:]
	return s
}

func (p *parser) scalar() scalar {
	switch {
	case strings.HasPrefix(p.rest, `\"`):
		return scalar{kind: stringScalar, text: p.string()}
	case strings.HasPrefix(p.rest, "true"):
		p.rest = p.rest[4:]
		return scalar{kind: boolScalar, number: 1}
	case strings.HasPrefix(p.rest, "false"):
		p.rest = p.rest[5:]
		return scalar{kind: boolScalar}
	}
	end := 0
	for end < len(p.rest) && (p.rest[end] == '-' || p.rest[end] >= '0' && p.rest[end] <= '9') {
		end++
	}
	n, err := strconv.ParseInt(p.rest[:end], 10, 64)
	if err != nil || !small(n) || strconv.FormatInt(n, 10) != p.rest[:end] {
		p.ok = false
	}
	p.rest = p.rest[end:]
	return scalar{number: n}
}

// small tells whether a number is the same as int64 and as float64, and written the same.
func small(n int64) bool { return n > -1<<50 && n < 1<<50 }

// plain tells whether a character stands for itself in JSON, whoever writes it.
func plain(c byte) bool {
	return c >= ' ' && c < 0x7f && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
}

func allPlain(s string) bool {
	for i := range len(s) {
		if !plain(s[i]) {
			return false
		}
	}
	return true
}
