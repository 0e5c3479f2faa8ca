package server

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"

	"github.com/kayak-k8s/kayak/internal/discovery"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/openapi"
	"github.com/kayak-k8s/kayak/internal/request"
	"github.com/kayak-k8s/kayak/internal/verb"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// verb does what the request asks for: something with a resource, or one of the server's own paths.
func (s *Server) verb(x *exchange) error {
	if !x.info.IsResourceRequest {
		return s.servePath(x)
	}
	call, err := s.route(x)
	if err != nil {
		return err
	}
	if err := s.options.API.Serve(call); err != nil {
		return err
	}
	return errAnswered
}

// route finds the resource. What is not served at all is 404; a path that exists, with a method that it does not have, is
// 405. A namespaced resource is found with a namespace or as a collection of all namespaces, any other only without one
// (CVE-2019-11247).
func (s *Server) route(x *exchange) (*verb.Call, error) {
	info := x.info
	resource, ok := s.resource(x)
	if !ok || strings.HasPrefix(info.Path, "//") {
		return nil, s.noPath(info.Path)
	}
	if resource == nil && info.APIGroup != "" && len(s.options.Kinds.Version(info.APIGroup, info.APIVersion)) == 0 {
		return nil, errNoPath // upstream asks its router about its own only
	}
	if resource != nil && resource.Custom != nil && !(inScope(resource, info) && hasNamespace(resource, info)) {
		return nil, errNoPath
	}
	if resource == nil || !inScope(resource, info) || info.Verb == "proxy" {
		return nil, request.UnknownResource()
	}
	call := &verb.Call{Writer: x.w, Request: x.r, Query: x.query, Info: info, Resource: resource, Audit: x.event, Fail: func(err error) { s.fail(x, err) }}
	if resource.Custom != nil && resource.Deprecation != "" { // upstream warns before it looks for a subresource
		x.w.AddWarning("", resource.Deprecation)
	}
	if info.Subresource != "" {
		if call.Sub = resource.Subresources[info.Subresource]; call.Sub == nil {
			if resource.Custom != nil {
				return nil, apierrors.NewNotFound(resource.GroupResource(), info.Name)
			}
			return nil, request.UnknownResource()
		}
	}
	if resource.Deprecation != "" {
		x.deprecated(resource)
	}
	if resource.Custom != nil {
		return call, checkCustom(x.r.Method, resource, info)
	}
	if methods, ok := verb.Connects(call.Sub); ok {
		if !slices.Contains(methods, x.r.Method) {
			return nil, request.MethodNotAllowed()
		}
		return call, checkSegments(info)
	}
	if x.r.Method == http.MethodHead || !suits(x.r.Method, info.Verb) || !resource.Allows(info.Subresource, info.Verb) || !fits(resource, info) {
		return nil, request.MethodNotAllowed()
	}
	if err := wire.CheckRoute(x.r, info.Verb, verb.PatchTypes); err != nil {
		return nil, err
	}
	return call, checkSegments(info)
}

// deprecated says that a version is on its way out, to the client and in the audit log.
func (x *exchange) deprecated(r *kind.Resource) {
	x.w.AddWarning("", r.Deprecation) // once
	if x.event == nil {
		return
	}
	x.event.Annotate(map[string]string{"k8s.io/deprecated": "true"})
	if r.Removed != "" {
		x.event.Annotate(map[string]string{"k8s.io/removed-release": r.Removed})
	}
}

// resource finds the resource of a request; ok says that the group version is served.
func (s *Server) resource(x *exchange) (_ *kind.Resource, ok bool) {
	group, version := x.info.APIGroup, x.info.APIVersion
	table := s.options.Kinds
	// Group versions of the server's own have nothing else in them.
	if len(table.Version(group, version)) > 0 || s.options.Custom == nil {
		return table.Resource(group, version, x.info.Resource), len(table.Version(group, version)) > 0
	}
	table = s.options.Custom()
	if table.Resource(group, version, x.info.Resource) == nil && s.options.CatchUp(x.r.Context()) {
		table = s.options.Custom()
	}
	return table.Resource(group, version, x.info.Resource), len(table.Version(group, version)) > 0
}

// hasNamespace reports whether a request for something in namespaces names one, unless it is about all of them.
func hasNamespace(r *kind.Resource, info *request.Info) bool {
	return !r.Namespaced || info.Namespace != "" || info.Verb == "list" || info.Verb == "watch"
}

// checkCustom refuses what a custom resource does not have; upstream serves them without its router.
func checkCustom(method string, r *kind.Resource, info *request.Info) error {
	if len(info.Parts) < 2 && (info.Verb == "update" || info.Verb == "patch") {
		return apierrors.NewBadRequest("name must be provided")
	}
	if !suits(method, info.Verb) || !r.Allows(info.Subresource, info.Verb) || !fits(r, info) {
		return apierrors.NewMethodNotSupported(r.GroupResource(), info.Verb)
	}
	return checkSegments(info)
}

// suits reports whether a verb that stands in the path, as in /api/v1/watch/pods, is asked for with the right method.
func suits(method, verb string) bool { return verb != "watch" || method == http.MethodGet }

// inScope reports whether the path has a namespace where the resource wants one, and nothing behind the subresource but what a
// proxy passes on.
func inScope(r *kind.Resource, info *request.Info) bool {
	if len(info.Parts) > 3 && (info.Subresource != "proxy" || r.Subresources["proxy"] == nil) {
		return false
	}
	named := len(info.Parts) > 1
	if r.Namespaced {
		return info.Namespace != "" || !named
	}
	return info.Namespace == "" || isNamespace(info)
}

// isNamespace tells the path of a namespace, whose object is its own namespace, from one that looks for namespaces in a
// namespace: /api/v1/namespaces/a/namespaces/b would be authorized in a and served b.
func isNamespace(info *request.Info) bool {
	if info.APIGroup != "" || info.Resource != "namespaces" {
		return false
	}
	prefix := "/" + info.APIPrefix + "/" + info.APIVersion + "/"
	rest, _ := strings.CutPrefix(info.Path, prefix)
	if info.Verb == "watch" {
		rest = strings.TrimPrefix(rest, "watch/")
	}
	return strings.Trim(rest, "/") == strings.Join(info.Parts, "/")
}

// fits reports whether the verb makes sense for a collection, an object, or a collection of all namespaces.
func fits(r *kind.Resource, info *request.Info) bool {
	named := len(info.Parts) > 1
	switch info.Verb {
	case "create":
		return named == (info.Subresource != "") && (info.Namespace != "" || !r.Namespaced)
	case "deletecollection":
		return info.Namespace != "" || !r.Namespaced
	case "get", "update", "patch", "delete":
		return named
	}
	return true
}

// checkSegments refuses names that cannot be a part of a key, whatever the kind thinks of them (CVE-2015-5305).
func checkSegments(info *request.Info) error {
	for _, segment := range []string{info.Namespace, info.Name} {
		if segment == "" {
			continue
		}
		if msgs := content.IsPathSegmentName(segment); len(msgs) > 0 {
			return apierrors.NewBadRequest(fmt.Sprintf("Name parameter invalid: %q: %s", segment, strings.Join(msgs, ";")))
		}
	}
	return nil
}

// noPath is the answer for a path at which nothing is served: a Status below what upstream's API router has, which is the core
// group and every group that is served in some version, and the plain text of its mux elsewhere.
func (s *Server) noPath(path string) error {
	segments := strings.SplitN(path, "/", 4)
	if len(segments) < 3 || segments[0] != "" {
		return errNoPath
	}
	group := segments[2]
	if segments[1] == "api" || (segments[1] == "apis" && group != "" && len(s.options.Kinds.GroupVersions(group)) > 0) {
		return request.UnknownResource()
	}
	return errNoPath
}

// servePath serves the paths that are not resources.
func (s *Server) servePath(x *exchange) error {
	if handler := s.paths.find(x.info.Path); handler != nil {
		handler.ServeHTTP(x.w, x.r)
		return errAnswered
	}
	err := s.options.Discovery().Serve(x.w, x.r)
	if err == nil && x.event != nil {
		s.tellDiscovery(x)
	}
	if errors.Is(err, discovery.ErrNotFound) {
		err = s.options.OpenAPI().Serve(x.w, x.r)
	}
	switch {
	case errors.Is(err, openapi.ErrNotFound):
		return s.noPath(x.info.Path)
	case err != nil:
		return err
	}
	return errAnswered
}

// paths are the server's own paths. A pattern that ends in a slash stands for everything below it.
type paths map[string]http.Handler

func (p paths) find(path string) http.Handler {
	if handler, ok := p[path]; ok {
		return handler
	}
	for i := strings.LastIndexByte(path, '/'); i > 0; i = strings.LastIndexByte(path[:i], '/') {
		if handler, ok := p[path[:i+1]]; ok {
			return handler
		}
	}
	return nil
}

// names lists the paths as the index at "/" does: without slashes at their ends, and without those for finding errors.
func (p paths) names() []string {
	var list []string
	for path := range p {
		if !strings.HasPrefix(path, "/debug/") {
			list = append(list, strings.TrimSuffix(path, "/"))
		}
	}
	return list
}
