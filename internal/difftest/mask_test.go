package difftest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// masker replaces what differs from run to run. It remembers the values of one file.
type masker struct {
	spelled string // what requests spell out
	vars    map[string]string
	seen    map[string]map[string]int // class, value -> number
	names   *regexp.Regexp            // generated names: prefix and random end
	// path is the one of the request that is being answered.
	path  string
	began time.Time
	pages int // lists with pages
}

func newMasker(f *file, namespace string) *masker {
	m := &masker{began: time.Now(), vars: map[string]string{"ns": namespace}, seen: map[string]map[string]int{}}
	for _, x := range f.exchanges {
		m.spelled += x.request
	}
	m.names = generatedNames(m.expand(m.spelled))
	return m
}

// generatedNames matches what the prefixes in requests lead to (apiserver/pkg/storage/names).
func generatedNames(requests string) *regexp.Regexp {
	var prefixes []string
	for _, match := range regexp.MustCompile(`"generateName":"([^"]*)"`).FindAllStringSubmatch(requests, -1) {
		prefixes = append(prefixes, regexp.QuoteMeta(match[1][:min(58, len(match[1]))]))
	}
	return regexp.MustCompile(`\b(` + strings.Join(prefixes, "|") + `)([bcdfghjklmnpqrstvwxz2456789]{5})\b`)
}

// expand puts values for ${NAME}.
func (m *masker) expand(s string) string {
	for name, value := range m.vars {
		s = strings.ReplaceAll(s, "${"+name+"}", value)
	}
	return s
}

func (m *masker) number(class, value string) string {
	if m.seen[class] == nil {
		m.seen[class] = map[string]int{}
	}
	n, ok := m.seen[class][value]
	if !ok {
		n = len(m.seen[class]) + 1
		m.seen[class][value] = n
	}
	return fmt.Sprintf("<%s%d>", class, n)
}

func (m *masker) revision(value string) string {
	if value == "0" || regexp.MustCompile(`resourceVersion\W{1,4}`+value+`\b`).MatchString(m.spelled) {
		return value
	}
	return m.number("rv", value)
}

var (
	uidPattern        = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	timePattern       = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	tooOldPattern     = regexp.MustCompile(`too old resource version: (\d+) \(\d+\)`)
	tooLargePattern   = regexp.MustCompile(`(Too large resource version: \d+, current:) \d+`)
	recordPattern     = regexp.MustCompile(`((?:ResourceVersion in record \(|ResourceVersion in object meta: ))(\d+)()`)
	pointerPattern    = regexp.MustCompile(`0xc[0-9a-f]{6,}`)
	serviceIPPattern  = regexp.MustCompile(`^10\.0\.0\.\d+$`)
	credentialPattern = regexp.MustCompile(`X509SHA256=[0-9a-f]+`)
	latencyPattern    = regexp.MustCompile(`"apiserver\.latency\.k8s\.io/[^"]*":"[^"]*",`)
	addressPattern    = regexp.MustCompile(`"serverAddress": "[^"]*"`)
	agePattern        = regexp.MustCompile(`^\d+s$`)
	revisionPattern   = regexp.MustCompile(`(resourceVersion\\*"?: ?\\*")(\d+)(\\*")`)
)

// text masks what is volatile wherever it stands.
func (m *masker) text(s string) string {
	s = uidPattern.ReplaceAllStringFunc(s, func(uid string) string {
		if strings.Contains(m.spelled, uid) {
			return uid
		}
		return m.number("uid", uid)
	})
	s = timePattern.ReplaceAllStringFunc(s, m.time)
	s = m.names.ReplaceAllStringFunc(s, func(name string) string {
		parts := m.names.FindStringSubmatch(name)
		return parts[1] + m.number("name", parts[2])
	})
	s = tooOldPattern.ReplaceAllStringFunc(s, func(text string) string {
		return "too old resource version: " + m.revision(tooOldPattern.FindStringSubmatch(text)[1]) + " (<oldest>)"
	})
	s = tooLargePattern.ReplaceAllString(s, "$1 <current>")
	s = pointerPattern.ReplaceAllString(s, "<pointer>")
	for _, pattern := range []*regexp.Regexp{revisionPattern, recordPattern} {
		s = pattern.ReplaceAllStringFunc(s, func(text string) string {
			parts := pattern.FindStringSubmatch(text)
			return parts[1] + m.revision(parts[2]) + parts[3]
		})
	}
	return strings.ReplaceAll(s, m.vars["ns"], "${ns}")
}

func (m *masker) time(s string) string {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || strings.Contains(m.spelled, s) {
		return s
	}
	offset := time.Until(t)
	switch {
	case t.After(m.began.Add(-3*time.Second)) && offset < 5*time.Second:
		s = "<now>"
	case offset.Abs() < time.Hour:
		s = fmt.Sprintf("<now%+ds>", int(offset.Round(10*time.Second).Seconds()))
	}
	return s
}

// tree masks a JSON value.
func (m *masker) tree(n *node, key string) {
	switch {
	case n.isString():
		n.raw = m.scalar(n.raw, key)
		return
	case key == "managedFields" && n.raw == "[":
		sortFields(n)
	}
	if key == "" {
		m.listRevision(n)
	}
	if kind := n.member("type"); kind != nil && kind.text() == "BOOKMARK" {
		maskBookmark(n)
	}
	for i, member := range n.members {
		next := strings.Trim(member.key, `"`)
		if member.key == "" {
			next = key // of the array
		}
		m.tree(member.value, next)
		n.members[i].key = m.text(member.key) // in managed fields, a key can be that of an owner, with its uid
	}
}

// sortFields sorts managed fields by who set them. They come sorted by time first, in seconds, which would make their order
// depend on when a second ends.
func sortFields(n *node) {
	who := func(m member) string {
		var who string
		for _, part := range []string{"operation", "manager", "apiVersion", "subresource"} {
			if value := m.value.member(part); value != nil {
				who += value.raw
			}
			who += "\x00"
		}
		return who
	}
	slices.SortStableFunc(n.members, func(a, b member) int { return strings.Compare(who(a), who(b)) })
}

// listRevision masks the resourceVersion of a list: that of the whole store, which changes whenever a server writes something
// of its own. Only the pages of one list must have the same, and a list at a revision that was asked for has that one.
func (m *masker) listRevision(n *node) {
	version := n.at("metadata.resourceVersion")
	if version == nil || n.member("items") == nil && !(n.member("rows") != nil && isCollection(m.path)) {
		return
	}
	value := version.text()
	token := n.at("metadata.continue")
	switch {
	case strings.Contains(m.path, "resourceVersion="+value):
		return
	case strings.Contains(m.path, "continue="):
		version.raw = `"` + m.number("list", value) + `"`
	case token != nil && token.text() != "":
		m.pages++
		m.seen["list"] = map[string]int{value: m.pages}
		version.raw = `"` + m.number("list", value) + `"`
	default:
		version.raw = `"<list>"`
	}
}

// isCollection tells the path of a collection from that of an object.
func isCollection(path string) bool {
	path, query, _ := strings.Cut(path, "?")
	segments := strings.Split(strings.Trim(path, "/"), "/")
	if strings.Contains(query, "watch") || segments[len(segments)-1] == "status" {
		return false
	}
	return (len(segments)%2 == 1) == (segments[0] == "api")
}

// maskBookmark masks all revisions in a bookmark: that of the object, or that of the table and its row.
func maskBookmark(n *node) {
	for _, member := range n.members {
		if member.key == `"resourceVersion"` {
			member.value.raw = `"<bookmark>"`
		}
		maskBookmark(member.value)
	}
}

func (m *masker) scalar(raw, key string) string {
	value := (&node{raw: raw}).text()
	switch {
	case key == "resourceVersion" && regexp.MustCompile(`^\d+$`).MatchString(value):
		return `"` + m.revision(value) + `"`
	case key == "continue" && value != "":
		return `"` + m.continueToken(value) + `"`
	case (key == "clusterIP" || key == "clusterIPs") && serviceIPPattern.MatchString(value):
		return `"<service ip>"`
	case key == "cells" && agePattern.MatchString(value):
		return `"<age>"`
	}
	return m.text(raw)
}

func (m *masker) continueToken(token string) string {
	decoded, err := base64.RawURLEncoding.DecodeString(token)
	var parts struct {
		V     string `json:"v"`
		RV    int64  `json:"rv"`
		Start string `json:"start"`
	}
	if err != nil || json.Unmarshal(decoded, &parts) != nil {
		return "<continue ?>"
	}
	revision := fmt.Sprint(parts.RV)
	if parts.RV > 0 {
		revision = m.number("list", revision)
	}
	return fmt.Sprintf("<continue %s %s %s>", parts.V, revision, strings.Trim(fmt.Sprintf("%q", m.text(parts.Start)), `"`))
}
