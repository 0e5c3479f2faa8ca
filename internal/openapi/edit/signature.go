package edit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// Signature says what of a document a server with the kinds of a table serves: pruned by tables with the same signature, a
// document is the same. Documents are named "v2", which is about everything, and as upstream names its golden files:
// "v3/apis__apps__v1", "v3/apis__apps", "v3/apis". ok is false when nothing of the document is served.
func Signature(name string, table *kind.Table) (signature string, ok bool) {
	var lines []string
	switch parts := strings.Split(strings.TrimPrefix(name, "v3/"), "__"); {
	case name == "v2":
		for _, group := range table.Groups() {
			for _, version := range table.GroupVersions(group) {
				lines = append(lines, resources(table, group, version)...)
			}
		}
	case name == "v3/api", name == "v3/apis", name == "v3/version":
		lines = []string{name}
	case parts[0] == "api" && len(parts) == 2:
		lines = resources(table, "", parts[1])
	case parts[0] == "apis" && len(parts) == 2 && slices.Contains(table.Groups(), parts[1]):
		lines = []string{name}
	case parts[0] == "apis" && len(parts) == 3:
		lines = resources(table, parts[1], parts[2])
	}
	if len(lines) == 0 {
		return "", false
	}
	slices.Sort(lines)
	hash := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(hash[:8]), true
}

// resources lists what is served in a group version, a line for each resource and subresource.
func resources(table *kind.Table, group, version string) []string {
	var lines []string
	line := func(r *kind.Resource, name string, verbs []string) {
		verbs = slices.Sorted(slices.Values(verbs))
		lines = append(lines, fmt.Sprint(group, " ", version, " ", r.Kind.Resource, "/", name, " ", verbs))
	}
	for _, r := range table.Version(group, version) {
		line(r, "", r.Verbs)
		for _, name := range slices.Sorted(maps.Keys(r.Subresources)) {
			line(r, name, r.Subresources[name].Verbs)
		}
	}
	return lines
}
