package wire

import (
	"bytes"
	"slices"
)

// Indent makes JSON readable, as json.Indent does and so apimachinery's pretty serializer: without a newline at its end. It takes the
// text for valid: what a server indents it has encoded itself. So it takes a quarter of the time, which lists for curl and browsers need.
func Indent(b []byte) []byte { return appendIndented(make([]byte, 0, 2*len(b)), b, 0) }

// itemsDepth is how deep the items of a list are nested.
const itemsDepth = 2

// AppendIndentedItems appends items as AppendItem frames them, the last comma left out, as they stand in the indented list. They begin
// with a newline.
func AppendIndentedItems(b, items []byte) []byte {
	return appendIndented(appendNewline(b, itemsDepth), items, itemsDepth)
}

// IndentEnds indents the head and the tail of a list, or of a table, that has items between them.
func IndentEnds(head, tail []byte) (indentedHead, indentedTail []byte) {
	item := []byte(`"<item>"`) // no head or tail has this
	before, after, _ := bytes.Cut(Indent(slices.Concat(head, item, tail)), item)
	return slices.Clip(bytes.TrimRight(before, "\n ")), after
}

// appendIndented appends text that is nested depth deep.
func appendIndented(b, text []byte, depth int) []byte {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case ' ', '\t', '\r', '\n':
		case '"':
			end := stringEnd(text, i)
			b = append(b, text[i:end]...)
			i = end - 1
		case '{', '[':
			b = append(b, c)
			if next := bytes.TrimLeft(text[i+1:], " \t\r\n"); len(next) > 0 && next[0] == c+2 { // the brace that ends it
				b = append(b, next[0])
				i = len(text) - len(next)
				continue
			}
			depth++
			b = appendNewline(b, depth)
		case '}', ']':
			depth--
			b = append(appendNewline(b, depth), c)
		case ',':
			b = appendNewline(append(b, c), depth)
		case ':':
			b = append(b, ": "...)
		default:
			b = append(b, c)
		}
	}
	return b
}

// stringEnd is where a string that begins at i ends.
func stringEnd(text []byte, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

func appendNewline(b []byte, depth int) []byte {
	const spaces = "                                "
	b = append(b, '\n')
	n := 2 * max(depth, 0)
	for ; n > len(spaces); n -= len(spaces) {
		b = append(b, spaces...)
	}
	return append(b, spaces[:n]...)
}
