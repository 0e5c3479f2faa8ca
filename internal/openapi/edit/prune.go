package edit

import (
	"slices"
	"strings"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// Prune takes out what a server with the kinds of a table does not serve, and what is not needed any more without it.
func (d Document) Prune(table *kind.Table) {
	for path, item := range d.Paths() {
		operations, _ := item.(map[string]any)
		left := 0
		for method, operation := range operations {
			fields, ok := operation.(map[string]any)
			if !ok || !isMethod(method) {
				continue // what all operations of the path share
			}
			action, _ := fields["x-kubernetes-action"].(string)
			if served(table, path, verbOf(action, method)) {
				left++
			} else {
				delete(operations, method)
			}
		}
		if left == 0 {
			delete(d.Paths(), path)
		}
	}
	d.dropUnreachable()
}

func isMethod(field string) bool {
	return slices.Contains([]string{"get", "put", "post", "patch", "delete", "head", "options"}, field)
}

// verbOf is the verb of an operation, as package kind has it.
func verbOf(action, method string) string {
	if action == "connect" {
		action = method
	}
	switch action {
	case "post":
		return "create"
	case "put":
		return "update"
	case "watchlist":
		return "watch"
	case "head", "options":
		return "get"
	}
	return action
}

// served reports whether there is such a path, and the verb at it.
func served(table *kind.Table, path, verb string) bool {
	segments := strings.Split(strings.Trim(path, "/"), "/")
	switch segments[0] {
	case "version":
		return len(segments) == 1
	case "api":
		return len(segments) == 1 || servedBelow(table, "", segments[1:], verb)
	case "apis":
		switch len(segments) {
		case 1:
			return true
		case 2:
			return slices.Contains(table.Groups(), segments[1])
		}
		return servedBelow(table, segments[1], segments[2:], verb)
	}
	return false
}

// servedBelow looks at what follows the group: a version, and then perhaps a resource.
func servedBelow(table *kind.Table, group string, segments []string, verb string) bool {
	version, rest := segments[0], segments[1:]
	if len(rest) == 0 {
		return len(table.Version(group, version)) > 0
	}
	if rest[0] == "watch" {
		rest = rest[1:]
	}
	if len(rest) > 2 && rest[0] == "namespaces" && rest[1] == "{namespace}" {
		rest = rest[2:]
	}
	resource := table.Resource(group, version, rest[0])
	subresource := ""
	if len(rest) > 2 {
		subresource = rest[2]
	}
	return resource != nil && resource.Allows(subresource, verb)
}

// dropUnreachable takes out schemas and parameters that no operation refers to, directly or through others.
func (d Document) dropUnreachable() {
	sections := map[string]map[string]any{
		"schemas": d.Schemas(), "definitions": d.Schemas(), "parameters": d.Parameters(),
	}
	type target struct{ section, name string }
	seen := map[target]bool{}
	var follow func(map[string]any)
	follow = func(object map[string]any) {
		section, name, ok := Reference(object)
		if !ok || seen[target{section, name}] {
			return
		}
		seen[target{section, name}] = true
		Objects(sections[section][name], follow)
	}
	Objects(map[string]any(d.Paths()), follow)
	for section, members := range sections {
		if d.isV2() == (section == "schemas") {
			continue // the other version's name
		}
		for name := range members {
			if !seen[target{section, name}] {
				delete(members, name)
			}
		}
	}
}
