package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// checkTree fails unless the tree keeps its invariants.
func checkTree(t *rapid.T, root *node) {
	if root == nil {
		return
	}
	depths := map[int]bool{}
	var walk func(n *node, depth int) int
	walk = func(n *node, depth int) int {
		switch {
		case n.width() == 0 || n.width() > maxWidth || (n.records == nil) == (n.children == nil):
			t.Fatalf("node of width %d at depth %d", n.width(), depth)
		case depth > 0 && n.width() < minWidth:
			t.Fatalf("narrow node: %d at depth %d", n.width(), depth)
		case n.leaf():
			depths[depth] = true
			if n.low != n.records[0].Key || n.count != len(n.records) || cap(n.records) > maxWidth+1 {
				t.Fatalf("leaf %q: low, count or capacity is wrong", n.low)
			}
			return n.count
		}
		count := 0
		for _, c := range n.children {
			count += walk(c, depth+1)
		}
		if n.low != n.children[0].low || n.count != count {
			t.Fatalf("inner node %q: low or count is wrong", n.low)
		}
		return count
	}
	walk(root, 0)
	if len(depths) != 1 {
		t.Fatalf("leaves at depths %v", depths)
	}
}

func keysOf(s *Snapshot, prefix, from string) []string {
	out := []string{}
	s.Ascend(prefix, from, func(r *Record) bool { out = append(out, fmt.Sprint(r.Key, "@", r.Revision)); return true })
	return out
}

func modelKeys(model map[string]int64, prefix, from string) []string {
	keys := []string{}
	for k := range model {
		if strings.HasPrefix(k, prefix) && k >= from {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for i, k := range keys {
		keys[i] = fmt.Sprint(k, "@", model[k])
	}
	return keys
}

// TestTreeIsASortedMap compares the tree with a map, over random changes, and looks at old trees after later changes.
func TestTreeIsASortedMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := func(n int) string { return fmt.Sprintf("/%c/%04d", 'a'+n%5, n) }
		model := map[string]int64{}
		var records []*Record
		space := rapid.SampledFrom([]int{40, 400, 4000}).Draw(t, "space")
		for n := range rapid.IntRange(0, space).Draw(t, "loaded") {
			model[key(n)] = 1
			records = append(records, &Record{Key: key(n), Revision: 1})
		}
		slices.SortFunc(records, func(a, b *Record) int { return strings.Compare(a.Key, b.Key) })
		root := build(records)
		checkTree(t, root)

		type old struct {
			snapshot *Snapshot
			keys     []string
		}
		var kept []old
		var ed editor
		revision := int64(1)
		change := func(n int, remove bool) {
			revision++
			k := key(n)
			want, existed := model[k]
			var previous *Record
			if remove {
				delete(model, k)
				root, previous = ed.remove(root, k)
			} else {
				model[k] = revision
				root, previous = ed.put(root, &Record{Key: k, Revision: revision})
			}
			if existed != (previous != nil) || existed && previous.Revision != want {
				t.Fatalf("previous of %s: got %v, want revision %d", k, previous, want)
			}
		}
		for range rapid.IntRange(1, 12).Draw(t, "rounds") {
			// Whole runs of keys come and go, so that nodes are split and joined at all depths.
			start := rapid.IntRange(0, space).Draw(t, "start")
			length := rapid.IntRange(1, space).Draw(t, "length")
			step := rapid.IntRange(1, 7).Draw(t, "step")
			remove := rapid.Bool().Draw(t, "remove")
			for n := start; n < start+length; n += step {
				change(n, remove)
			}
			checkTree(t, root)
			s := &Snapshot{revision: revision, root: root}
			prefix := rapid.SampledFrom([]string{"", "/", "/a/", "/c/0", "/e/", "/zz", "\xff"}).Draw(t, "prefix")
			from := rapid.SampledFrom([]string{"", key(start), key(start) + "\x00", "/b", "/c/", "/zzz"}).Draw(t, "from")
			want := modelKeys(model, prefix, from)
			if got := keysOf(s, prefix, from); !slices.Equal(got, want) {
				t.Fatalf("Ascend(%q, %q) = %v, want %v", prefix, from, got, want)
			}
			if got := s.Count(prefix, from); got != len(want) {
				t.Fatalf("Count(%q, %q) = %d, want %d", prefix, from, got, len(want))
			}
			r := s.Get(key(start))
			if rev, ok := model[key(start)]; ok != (r != nil) || ok && r.Revision != rev {
				t.Fatalf("Get(%s) = %v", key(start), r)
			}
			kept = append(kept, old{s, modelKeys(model, "", "")})
		}
		for _, o := range kept {
			if got := keysOf(o.snapshot, "", ""); !slices.Equal(got, o.keys) {
				t.Fatalf("snapshot %d has changed", o.snapshot.revision)
			}
		}
	})
}

func TestAscendStops(t *testing.T) {
	t.Parallel()
	var records []*Record
	for i := range 1000 {
		records = append(records, &Record{Key: fmt.Sprintf("%04d", i)})
	}
	s := &Snapshot{root: build(records)}
	n := 0
	s.Ascend("", "", func(*Record) bool { n++; return n < 300 })
	if n != 300 {
		t.Errorf("visited %d records, want 300", n)
	}
}

// TestEditorCountsWhatIsReplaced: a change counts exactly the nodes that only the old tree holds.
func TestEditorCountsWhatIsReplaced(t *testing.T) {
	t.Parallel()
	key := func(i int) string { return fmt.Sprintf("%05d", i) }
	var records []*Record
	for i := range 4000 {
		records = append(records, &Record{Key: key(2 * i)})
	}
	root := build(records)
	check := func(what string, change func(*editor) *node) {
		var ed editor
		next := change(&ed)
		lost, now := int64(0), nodesOf(next)
		for n := range nodesOf(root) {
			if !now[n] {
				lost += n.bytes()
			}
		}
		if ed.replaced != lost {
			t.Fatalf("%s: replaced = %d, the old tree keeps %d", what, ed.replaced, lost)
		}
		root = next
	}
	put := func(i int) {
		check("put "+key(i), func(ed *editor) *node { n, _ := ed.put(root, &Record{Key: key(i)}); return n })
	}
	remove := func(i int) {
		check("remove "+key(i), func(ed *editor) *node { n, _ := ed.remove(root, key(i)); return n })
	}
	for i := range 300 {
		put(4001 + 2*i)
		put(4 * i)
		remove(2 * i)
		remove(7998 - 2*i)
	}
	remove(99999)
	for i := range 4000 {
		remove(2 * i)
	}
}

func nodesOf(root *node) map[*node]bool {
	nodes := map[*node]bool{}
	var walk func(*node)
	walk = func(n *node) {
		nodes[n] = true
		for _, c := range n.children {
			walk(c)
		}
	}
	if root != nil {
		walk(root)
	}
	return nodes
}

func TestSet(t *testing.T) {
	t.Parallel()
	s := NewSet([]Pair{{"b", "1"}, {"a", "2"}, {"b", "3"}, {"c", ""}})
	want := Set{{"a", "2"}, {"b", "3"}, {"c", ""}}
	if !slices.Equal(s, want) {
		t.Fatalf("NewSet = %v, want %v", s, want)
	}
	if s.Get("b") != "3" || !s.Has("c") || s.Has("d") || s.Get("d") != "" || Set(nil).Has("a") {
		t.Error("lookups are wrong")
	}
}
