package managedfields

import (
	"cmp"
	"slices"
	"strings"
)

// fieldset is what upstream has as fieldpath.Set, for the paths that objects really have: sorted, each step with the text that
// it has in FieldsV1. It is never changed once it is made, so sets share what they have in common.
//
// Upstream keeps members and children apart; here an item is both. No item is neither.
type fieldset []item

// item is a step of paths.
type item struct {
	step
	member   bool     // the path that ends here is in the set
	children fieldset // paths that go on
}

// step is a path element.
type step struct {
	text string // as it stands in FieldsV1, with quotes: "f:name"
	kind stepKind
	keys []keyValue // of a list's element; a set's element is one without a name
}

type stepKind uint8

// In the order in which they are sorted.
const (
	fieldStep stepKind = iota
	keyStep
	valueStep
)

type keyValue struct {
	name  string
	value scalar
}

// scalar is the value of a key. Numbers are sorted before strings, and these before booleans.
type scalar struct {
	kind   scalarKind
	number int64 // of a boolean: 0 or 1
	text   string
}

type scalarKind uint8

const (
	numberScalar scalarKind = iota
	stringScalar
	boolScalar
)

func (a *step) compare(b *step) int {
	if a.kind != b.kind {
		return cmp.Compare(a.kind, b.kind)
	}
	if a.kind == fieldStep {
		return strings.Compare(a.text[3:len(a.text)-1], b.text[3:len(b.text)-1])
	}
	return slices.CompareFunc(a.keys, b.keys, keyValue.compare)
}

func (a keyValue) compare(b keyValue) int {
	if c := strings.Compare(a.name, b.name); c != 0 {
		return c
	}
	if c := cmp.Compare(a.value.kind, b.value.kind); c != 0 {
		return c
	}
	if c := cmp.Compare(a.value.number, b.value.number); c != 0 {
		return c
	}
	return strings.Compare(a.value.text, b.value.text)
}

// union has the paths of both.
func union(a, b fieldset) fieldset {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	out := make(fieldset, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch c := a[0].compare(&b[0].step); {
		case c < 0:
			out, a = append(out, a[0]), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out = append(out, item{
				step: a[0].step, member: a[0].member || b[0].member, children: union(a[0].children, b[0].children),
			})
			a, b = a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// difference has the paths of a that b does not have. If there is nothing to take away, it is a itself.
func difference(a, b fieldset) fieldset { return subtract(a, b, false) }

// without is difference, but a path in b takes all those with it that begin with it.
func without(a, b fieldset) fieldset { return subtract(a, b, true) }

func subtract(a, b fieldset, recursive bool) fieldset {
	var out fieldset
	changed := false
	j := 0
	for i := range a {
		for j < len(b) && b[j].compare(&a[i].step) < 0 {
			j++
		}
		kept := a[i]
		if j < len(b) && b[j].compare(&a[i].step) == 0 {
			kept = subtractItem(kept, b[j], recursive)
		}
		if !changed && (kept.member != a[i].member || !same(kept.children, a[i].children)) {
			changed = true
			out = append(make(fieldset, 0, len(a)), a[:i]...)
		}
		if changed && (kept.member || len(kept.children) > 0) {
			out = append(out, kept)
		}
	}
	if !changed {
		return a
	}
	return out
}

func subtractItem(a, b item, recursive bool) item {
	if recursive && b.member {
		return item{step: a.step}
	}
	a.member = a.member && !b.member
	a.children = subtract(a.children, b.children, recursive)
	return a
}

// same tells whether two sets are one: subtract returns what it was given when there is nothing to do.
func same(a, b fieldset) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// append writes a set as FieldsV1.
func (s fieldset) append(to []byte) []byte { return s.appendItem(to, false) }

func (s fieldset) appendItem(to []byte, member bool) []byte {
	to = append(to, '{')
	if member && len(s) > 0 {
		to = append(to, `".":{},`...)
	}
	for i := range s {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(append(to, s[i].text...), ':')
		to = s[i].children.appendItem(to, s[i].member)
	}
	return append(to, '}')
}

// size is how many bytes append writes.
func (s fieldset) size(member bool) int {
	n := len("{}") + max(0, len(s)-1)
	if member && len(s) > 0 {
		n += len(`".":{},`)
	}
	for i := range s {
		n += len(s[i].text) + 1 + s[i].children.size(s[i].member)
	}
	return n
}
