package wire

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"pgregory.net/rapid"
)

// indentedBy is what json.Indent makes of a text.
func indentedBy(t rapid.TB, text []byte) []byte {
	var want bytes.Buffer
	if err := json.Indent(&want, text, "", "  "); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return want.Bytes()
}

// value draws a value in JSON: compact, or with white space between.
func value(depth int) *rapid.Generator[any] {
	text := rapid.SampledFrom([]any{nil, true, 1.5, -3, "", "a", `"\{`, "},]:", " \n", "\\", `\\"`})
	if depth == 0 {
		return text
	}
	inner := value(depth - 1)
	return rapid.OneOf(text, rapid.SliceOfN(inner, 0, 3).AsAny(), rapid.MapOfN(rapid.SampledFrom([]string{"a", `b"`, "c:{", ""}), inner, 0, 3).AsAny())
}

// TestIndentIsJSONs: whatever is indented, json.Indent gives the same.
func TestIndentIsJSONs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := value(4).Draw(t, "value")
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if want, got := indentedBy(t, text), Indent(text); !bytes.Equal(got, want) {
			t.Fatalf("%s is\n%s\nnot\n%s", text, got, want)
		}
		spaced := indentedBy(t, text)
		if got := Indent(append(spaced, '\n')); !bytes.Equal(got, spaced) {
			t.Fatalf("%s becomes\n%s", spaced, got)
		}
	})
	if got, want := Indent([]byte("{ } ")), indentedBy(t, []byte("{ }")); !bytes.Equal(got, want) {
		t.Errorf("%s, not %s", got, want)
	}
}

// TestIndentCut: what is no JSON does no harm.
func TestIndentCut(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", "}}}", `"`, `"\`, "[", "]]", `{"a`, `{"a":"\`} {
		Indent([]byte(text))
	}
}

// TestIndentParts: the parts of an indented list are those of the list indented as a whole.
func TestIndentParts(t *testing.T) {
	t.Parallel()
	head, tail := []byte(`{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[`), []byte("]}\n")
	items := [][]byte{[]byte(`{"metadata":{"name":"a]}"}},{}`), []byte(`{"spec":{"list":[1,2,{}]}}`)}
	want := indentedBy(t, bytes.Join([][]byte{head, items[0], []byte(","), items[1], tail[:len(tail)-1]}, nil))
	got, end := IndentEnds(head, tail)
	for i, item := range items {
		if i > 0 {
			got = append(got, ',')
		}
		got = AppendIndentedItems(got, item)
	}
	if got = append(got, end...); !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func BenchmarkIndent(b *testing.B) {
	text, err := os.ReadFile("../managedfields/testdata/pod.json")
	if err != nil {
		b.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		b.Fatal(err)
	}
	for name, indent := range map[string]func(){
		"quick":    func() { Indent(compact.Bytes()) },
		"upstream": func() { _ = json.Indent(new(bytes.Buffer), compact.Bytes(), "", "  ") },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(compact.Len()))
			for b.Loop() {
				indent()
			}
		})
	}
}
