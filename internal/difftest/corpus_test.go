package difftest

import (
	"fmt"
	"strconv"
	"strings"
)

// file is a file of the corpus.
type file struct {
	comment   string
	exchanges []*exchange
}

// exchange is one request and its answers.
type exchange struct {
	name    string
	request string // as it stands in the file: for what requests spell out, and for writing it back

	method, path string
	headers      [][2]string
	body         string

	saves   [][2]string // name, path
	coding  string      // of the body: "", "protobuf" or "base64"
	pad     int
	repeat  string // what ${repeat} in the body stands for
	events  int    // 0: all
	until   int    // the status that is waited for; 0: whatever it is
	differs string

	answer string // of kube-apiserver
	kayak  string // of kayak, when it differs
}

const (
	nameLine   = "=== "
	answerLine = "--- answer\n"
	kayakLine  = "--- kayak\n"
)

func parseFile(text string) (*file, error) {
	f := &file{}
	if i := strings.Index("\n"+text, "\n"+nameLine); i >= 0 {
		f.comment, text = text[:i], text[i:]
	}
	for _, part := range strings.Split("\n"+text, "\n"+nameLine)[1:] {
		name, rest, _ := strings.Cut(part, "\n")
		x, err := parseExchange(rest + "\n")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		x.name = name
		f.exchanges = append(f.exchanges, x)
	}
	return f, nil
}

func parseExchange(text string) (*exchange, error) {
	x := &exchange{}
	x.request, x.answer, _ = strings.Cut(text, answerLine)
	x.answer, x.kayak, _ = strings.Cut(x.answer, kayakLine)
	x.request, x.answer, x.kayak = trim(x.request), trim(x.answer), trim(x.kayak)
	head, body, _ := strings.Cut(x.request, "\n\n")
	x.body = body
	lines := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
	var ok bool
	if x.method, x.path, ok = strings.Cut(lines[0], " "); !ok {
		return nil, fmt.Errorf("%q is not a method and a path", lines[0])
	}
	for _, line := range lines[1:] {
		if direction, ok := strings.CutPrefix(line, "@"); ok {
			if err := x.direct(direction); err != nil {
				return nil, err
			}
			continue
		}
		key, value, ok := strings.Cut(line, ": ")
		if !ok {
			return nil, fmt.Errorf("%q is not a header", line)
		}
		x.headers = append(x.headers, [2]string{key, value})
	}
	return x, nil
}

// trim ends a text with exactly one newline, unless it is empty.
func trim(s string) string {
	if s = strings.TrimRight(s, "\n"); s == "" {
		return ""
	}
	return s + "\n"
}

func (x *exchange) direct(line string) (err error) {
	word, value, _ := strings.Cut(line, " ")
	switch word {
	case "save":
		name, path, _ := strings.Cut(value, " ")
		x.saves = append(x.saves, [2]string{name, path})
	case "body":
		x.coding = value
	case "differs":
		x.differs = value
	case "pad":
		x.pad, err = strconv.Atoi(value)
	case "repeat":
		times, text, _ := strings.Cut(value, " ")
		var n int
		n, err = strconv.Atoi(times)
		x.repeat = strings.Repeat(text, n)
	case "events":
		x.events, err = strconv.Atoi(value)
	case "until":
		x.until, err = strconv.Atoi(value)
	default:
		err = fmt.Errorf("@%s means nothing", word)
	}
	return err
}

func (f *file) String() string {
	var b strings.Builder
	b.WriteString(f.comment)
	for i, x := range f.exchanges {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(nameLine + x.name + "\n" + x.request)
		if x.answer != "" {
			b.WriteString(answerLine + x.answer)
		}
		if x.kayak != "" {
			b.WriteString(kayakLine + x.kayak)
		}
	}
	return b.String()
}
