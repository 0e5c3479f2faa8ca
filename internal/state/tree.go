package state

import (
	"slices"
	"strings"
	"sync/atomic"
)

// Widths of the tree. A change copies one node of each level, so wide nodes make changes dear and narrow ones make the
// tree deep; at 64 a change in 100,000 records copies about 1.5 KB.
const (
	maxWidth  = 64 // a node wider than this is split in halves
	minWidth  = 16 // a node narrower than this is joined with its neighbour (the root excepted)
	loadWidth = 48 // the width that a loaded tree begins with
)

// node is one node of a B+tree: all records are in leaves, all leaves are equally deep. The empty tree is nil.
//
// Ownership: a node belongs to nobody; any number of trees (snapshots) share it.
// Invariant: nothing in a node but indexes changes once the function that made it has returned.
// Invariant: exactly one of records and children is set, and it is not empty; keys ascend strictly from left to right.
type node struct {
	low      string // the smallest key under the node
	count    int    // how many records are under the node
	records  []*Record
	children []*node
	indexes  atomic.Pointer[[]*index] // of a leaf, by what was asked for; see Span.Having
}

func newLeaf(records []*Record) *node {
	return &node{low: records[0].Key, count: len(records), records: records}
}

func newInner(children []*node) *node {
	n := &node{low: children[0].low, children: children}
	for _, c := range children {
		n.count += c.count
	}
	return n
}

func (n *node) leaf() bool   { return n.children == nil }
func (n *node) width() int   { return len(n.records) + len(n.children) }
func (n *node) bytes() int64 { return 88 + 8*int64(n.width()) }

// find returns where key is in a leaf, or where it would be.
func (n *node) find(key string) (int, bool) {
	lo, hi := 0, len(n.records)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		switch c := strings.Compare(n.records[mid].Key, key); {
		case c == 0:
			return mid, true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, false
}

// child returns which child of an inner node key belongs under.
func (n *node) child(key string) int {
	lo, hi := 1, len(n.children)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if n.children[mid].low <= key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// get returns the record of key, nil when there is none.
func (n *node) get(key string) *Record {
	if n == nil {
		return nil
	}
	for !n.leaf() {
		n = n.children[n.child(key)]
	}
	if i, ok := n.find(key); ok {
		return n.records[i]
	}
	return nil
}

// rank returns how many records have a smaller key.
func (n *node) rank(key string) int {
	if n == nil {
		return 0
	}
	rank := 0
	for !n.leaf() {
		i := n.child(key)
		for _, c := range n.children[:i] {
			rank += c.count
		}
		n = n.children[i]
	}
	i, _ := n.find(key)
	return rank + i
}

// ascend calls fn for the records with from <= key < to, in order, until it returns false; to == "" means no end. It
// reports whether fn always returned true.
func (n *node) ascend(from, to string, fn func(*Record) bool) bool {
	if n == nil {
		return true
	}
	if n.leaf() {
		return n.ascendLeaf(from, to, fn)
	}
	for i := n.child(from); i < len(n.children); i++ {
		c := n.children[i]
		if to != "" && c.low >= to {
			return true
		}
		if !c.ascend(from, to, fn) {
			return false
		}
	}
	return true
}

func (n *node) ascendLeaf(from, to string, fn func(*Record) bool) bool {
	_, some := n.between(from, to)
	for _, r := range some {
		if !fn(r) {
			return false
		}
	}
	return true
}

// editor makes changed copies of trees.
type editor struct {
	// replaced counts the bytes of the nodes that the new trees no longer hold.
	replaced int64
}

// put returns root with r in it, and the record that r takes the place of (nil when the key is new).
func (ed *editor) put(root *node, r *Record) (*node, *Record) {
	if root == nil {
		return newLeaf([]*Record{r}), nil
	}
	left, right, previous := ed.insert(root, r)
	if right != nil {
		return newInner([]*node{left, right}), previous
	}
	return left, previous
}

// insert returns the copy of n that holds r; two copies when it became too wide.
func (ed *editor) insert(n *node, r *Record) (left, right *node, previous *Record) {
	ed.replaced += n.bytes()
	if n.leaf() {
		i, found := n.find(r.Key)
		if found {
			records := slices.Clone(n.records)
			records[i] = r
			return newLeaf(records), nil, n.records[i]
		}
		left, right = splitLeaf(splice(n.records, i, i, r))
		return left, right, nil
	}
	i := n.child(r.Key)
	a, b, previous := ed.insert(n.children[i], r)
	if b == nil {
		children := slices.Clone(n.children)
		children[i] = a
		return newInner(children), nil, previous
	}
	left, right = splitInner(splice(n.children, i, i+1, a, b))
	return left, right, previous
}

// remove returns root without key, and the record that was removed (nil when there was none).
func (ed *editor) remove(root *node, key string) (*node, *Record) {
	previous := root.get(key)
	if previous == nil {
		return root, nil
	}
	root = ed.cut(root, key)
	for root != nil && len(root.children) == 1 {
		root = root.children[0]
	}
	return root, previous
}

// cut returns the copy of n that lacks key, which is under n; nil when nothing is left.
func (ed *editor) cut(n *node, key string) *node {
	ed.replaced += n.bytes()
	if n.leaf() {
		i, _ := n.find(key)
		if len(n.records) == 1 {
			return nil
		}
		return newLeaf(splice(n.records, i, i+1))
	}
	i := n.child(key)
	c := ed.cut(n.children[i], key)
	switch {
	case c == nil && len(n.children) == 1:
		return nil
	case c == nil:
		return newInner(splice(n.children, i, i+1))
	case c.width() >= minWidth || len(n.children) == 1:
		return newInner(splice(n.children, i, i+1, c))
	case i == 0:
		ed.replaced += n.children[1].bytes()
		return newInner(splice(n.children, 0, 2, join(c, n.children[1])...))
	default:
		ed.replaced += n.children[i-1].bytes()
		return newInner(splice(n.children, i-1, i+1, join(n.children[i-1], c)...))
	}
}

// join makes one node of two neighbours, or two of even width when one would be too wide.
func join(a, b *node) []*node {
	var left, right *node
	if a.leaf() {
		left, right = splitLeaf(slices.Concat(a.records, b.records))
	} else {
		left, right = splitInner(slices.Concat(a.children, b.children))
	}
	if right == nil {
		return []*node{left}
	}
	return []*node{left, right}
}

// splitLeaf and splitInner clip what they split, so that no node keeps the other's half alive.
func splitLeaf(records []*Record) (left, right *node) {
	if len(records) <= maxWidth {
		return newLeaf(records), nil
	}
	half := len(records) / 2
	return newLeaf(slices.Clone(records[:half])), newLeaf(slices.Clone(records[half:]))
}

func splitInner(children []*node) (left, right *node) {
	if len(children) <= maxWidth {
		return newInner(children), nil
	}
	half := len(children) / 2
	return newInner(slices.Clone(children[:half])), newInner(slices.Clone(children[half:]))
}

// splice returns a copy of s, just large enough, in which with takes the place of s[i:j].
func splice[T any](s []T, i, j int, with ...T) []T {
	out := make([]T, 0, len(s)-(j-i)+len(with))
	out = append(out, s[:i]...)
	out = append(out, with...)
	return append(out, s[j:]...)
}

// build makes a tree of records, whose keys ascend strictly.
func build(records []*Record) *node {
	if len(records) == 0 {
		return nil
	}
	level := make([]*node, 0, len(records)/loadWidth+1)
	for _, part := range evenly(records) {
		level = append(level, newLeaf(slices.Clone(part)))
	}
	for len(level) > 1 {
		next := make([]*node, 0, len(level)/loadWidth+1)
		for _, part := range evenly(level) {
			next = append(next, newInner(slices.Clone(part)))
		}
		level = next
	}
	return level[0]
}

// evenly cuts s into parts of about loadWidth that differ in length by at most one.
func evenly[T any](s []T) [][]T {
	n := (len(s) + loadWidth - 1) / loadWidth
	parts := make([][]T, 0, n)
	for i := range n {
		parts = append(parts, s[i*len(s)/n:(i+1)*len(s)/n])
	}
	return parts
}

// after returns the smallest string that sorts after every string that begins with prefix; "" when there is none.
func after(prefix string) string {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			return prefix[:i] + string([]byte{prefix[i] + 1})
		}
	}
	return ""
}
