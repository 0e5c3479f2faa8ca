// Package request says what one HTTP request asks of the API: which verb, on which resource, in which namespace, by which
// name. It also turns errors into the Status that a client gets.
//
// Parse reads a request's method, path and query, nothing else, and never fails for a path it does not know: such a request is
// a non-resource request, identified by its path. What Parse finds is what is authorized and what is served: no later stage
// looks at the path again, so the two can't disagree.
//
// The result is upstream's RequestInfo (k8s.io/apiserver/pkg/endpoints/request), because upstream's strategies and admission
// plugins look for it in the context; a test compares Parse with upstream's own parser over generated requests.
package request

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/fields"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
)

// Info is what a request asks for.
type Info = genericrequest.RequestInfo

// Parse reads method, path and query. The forms of a path are
//
//	/api/{version}/{resource}[/{name}[/{subresource}]]
//	/api/{version}/namespaces/{namespace}/{resource}[/{name}[/{subresource}]]
//	/apis/{group}/{version}/...                               the same below a group
//	/api/{version}/watch/...   /api/{version}/proxy/...       deprecated: the verb is in the path
//
// and every other path is a non-resource request, whose verb is the method in lower case. The rules are those of
// k8s.io/apiserver/pkg/endpoints/request/requestinfo.go. The error is one of the path's form.
//
// The query is the request's, parsed; nil if there is none.
func Parse(r *http.Request, query url.Values) (*Info, error) {
	info := &Info{Path: r.URL.Path, Verb: strings.ToLower(r.Method)}
	parts := splitPath(r.URL.Path)
	if len(parts) < 3 {
		return info, nil
	}
	switch parts[0] {
	case "api":
		info.APIPrefix, parts = parts[0], parts[1:]
	case "apis":
		info.APIPrefix = parts[0]
		if len(parts) < 4 {
			return info, nil
		}
		info.APIGroup, parts = parts[1], parts[2:]
	default:
		return info, nil
	}
	info.IsResourceRequest = true
	info.APIVersion, parts = parts[0], parts[1:]

	verbInPath := parts[0] == "watch" || parts[0] == "proxy"
	if verbInPath {
		if len(parts) < 2 {
			return info, fmt.Errorf("unable to determine kind and namespace from url, %v", r.URL)
		}
		info.Verb, parts = parts[0], parts[1:]
	} else {
		info.Verb = verbs[r.Method]
	}

	if parts[0] == "namespaces" && len(parts) > 1 {
		info.Namespace = parts[1]
		// What follows a namespace is a resource in it, unless it is one of the namespace's own subresources.
		if len(parts) > 2 && parts[2] != "status" && parts[2] != "finalize" {
			parts = parts[2:]
		}
	}
	info.Parts = parts
	info.Resource = parts[0]
	if len(parts) >= 2 {
		info.Name = parts[1]
	}
	if len(parts) >= 3 && info.Verb != "proxy" {
		info.Subresource = parts[2]
	}
	if info.Name == "" {
		refineCollectionVerb(info, query)
	}
	if !verbInPath {
		addSelectors(info, query)
	}
	return info, nil
}

var verbs = map[string]string{
	http.MethodPost:   "create",
	http.MethodGet:    "get",
	http.MethodHead:   "get",
	http.MethodPut:    "update",
	http.MethodPatch:  "patch",
	http.MethodDelete: "delete",
}

// refineCollectionVerb tells list from watch, and delete from deletecollection. A list or watch of one object by
// fieldSelector=metadata.name=x is authorized with that name.
func refineCollectionVerb(info *Info, query url.Values) {
	switch info.Verb {
	case "delete":
		info.Verb = "deletecollection"
	case "get":
		info.Verb = "list"
		if watches(query) {
			info.Verb = "watch"
		}
		info.Name = selectedName(query)
	}
}

// watches follows the conversion of booleans in query parameters (apimachinery/pkg/runtime/converter.go): present and not
// "false" or "0" is true.
func watches(query url.Values) bool {
	values, ok := query["watch"]
	if !ok || len(values) == 0 {
		return false
	}
	switch strings.ToLower(values[0]) {
	case "false", "0":
		return false
	}
	return true
}

func selectedName(query url.Values) string {
	values := query["fieldSelector"]
	if len(values) == 0 {
		return ""
	}
	selector, err := fields.ParseSelector(values[0])
	if err != nil {
		return ""
	}
	name, ok := selector.RequiresExactMatch("metadata.name")
	if !ok || len(content.IsPathSegmentName(name)) != 0 {
		return ""
	}
	return name
}

func addSelectors(info *Info, query url.Values) {
	switch info.Verb {
	case "list", "watch", "deletecollection":
		info.FieldSelector = query.Get("fieldSelector")
		info.LabelSelector = query.Get("labelSelector")
	}
}

func splitPath(path string) []string {
	path = strings.Trim(path, "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}
