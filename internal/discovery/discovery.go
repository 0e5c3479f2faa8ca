// Package discovery tells clients what the server serves.
//
//	/api, /apis                     which groups and versions there are; or everything at once, the aggregated form
//	/apis/{group}                   one group
//	/api/v1, /apis/{group}/{version}  the resources of a version, with their verbs, short names, subresources
//	/                               the paths of the server
//	/version                        its version
//
// All of it follows from a table of kinds. Nothing here is computed for a request: a document is made the first time that
// somebody asks for it in a media type, and is from then on served as ready bytes.
//
// # The aggregated form
//
// A client that accepts "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList" (or the same in YAML or
// protobuf) at /api or /apis gets all groups, versions and resources in one document (KEP-3352). It has an ETag, a hash of its
// content, and is answered with 304 to a client that has it already. The media type's profile parameter ("nopeer") chooses
// between all servers of a cluster and this one alone; kayak servers over one store serve the same kinds, so here it changes
// nothing.
//
// # Changing kinds
//
// A Handler is immutable but for the list of paths at "/". When kinds come and go, [Handler.With] makes the next one, which
// shares with its predecessor all documents of the groups that have not changed; a caller swaps the two atomically.
//
// # What upstream does
//
// Documents, their order, headers and errors are those of kube-apiserver: k8s.io/apiserver/pkg/endpoints/discovery and the
// aggregator's handler_apis.go. Some of its paths go through the go-restful router, which takes only GET and has its own opinion
// of Accept and Content-Type; /apis, /apis/{group} and / do not, and answer any method. Both are kept, see endpoint.
package discovery

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/request"
	"github.com/kayak-k8s/kayak/internal/version"
)

// ErrNotFound is the error of a path that is not discovery's.
var ErrNotFound = errors.New("no discovery document has this path")

// Options are what discovery tells beside the kinds.
type Options struct {
	// ServerAddress is the host and port that /api advertises to clients: "192.0.2.2:6443".
	ServerAddress string
}

// Handler serves the documents of one table of kinds. It is safe for concurrent use. Make one with New.
type Handler struct {
	options   Options
	groups    []*group // in the order of /apis, without the core group
	core      *group   // nil without kinds in it
	endpoints map[string]*endpoint

	paths atomic.Pointer[[]string]
	index atomic.Pointer[endpoint]
}

// New returns a handler for a table. It encodes nothing yet.
func New(table *kind.Table, options Options) *Handler {
	h := &Handler{options: options}
	h.build(table, nil)
	h.SetPaths(nil)
	return h
}

// With returns a handler for another table, with the same options and paths. Groups whose kinds are the very same as in h keep
// the documents they have.
func (h *Handler) With(table *kind.Table) *Handler {
	next := &Handler{options: h.options}
	next.build(table, h)
	next.SetPaths(*h.paths.Load())
	return next
}

// SetPaths says which paths there are beside those of discovery, for the list at "/". It does not keep paths.
func (h *Handler) SetPaths(paths []string) {
	paths = slices.Clone(paths)
	h.paths.Store(&paths)
	all := slices.Clone(paths)
	for path := range h.endpoints {
		// Of a path with and without a slash at its end, one is enough; /apis/ is there because upstream has it.
		if path == "/apis/" || !strings.HasSuffix(path, "/") {
			all = append(all, path)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	h.index.Store(&endpoint{document: rawDocument(metav1.RootPaths{Paths: all}), raw: true})
}

// Serve answers a request for one of the documents. For any other path it returns ErrNotFound, or the error of something that
// is missing below a path that exists; then, and for every other error, it has written nothing.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request) error {
	e := h.find(r.URL.Path)
	if e == nil {
		return h.missing(r.URL.Path)
	}
	return e.serve(w, r)
}

func (h *Handler) find(path string) *endpoint {
	if path == "/" || path == "/index.html" {
		return h.index.Load()
	}
	if e := h.endpoints[path]; e != nil {
		return e
	}
	// go-restful does not mind slashes at the end, however many. It has the groups, too, but gets to serve them only so.
	trimmed := strings.TrimRight(path, "/")
	e := h.endpoints[trimmed]
	if e == nil || e.restful {
		return e
	}
	if trimmed == "/apis" {
		return nil
	}
	return &endpoint{document: e.document, restful: true}
}

// missing tells what is not there: go-restful answers below the paths that it knows, with a Status.
func (h *Handler) missing(path string) error {
	for _, known := range []string{"/api/", "/version/"} {
		if strings.HasPrefix(path, known) {
			return request.UnknownResource()
		}
	}
	if rest, ok := strings.CutPrefix(path, "/apis/"); ok {
		name, below, _ := strings.Cut(rest, "/")
		if name != "" && strings.Trim(below, "/") != "" && h.endpoints["/apis/"+name] != nil {
			return request.UnknownResource()
		}
	}
	return ErrNotFound
}

// build fills in the groups and endpoints, with what old has of them.
func (h *Handler) build(table *kind.Table, old *Handler) {
	reusable := map[string]*group{}
	if old != nil {
		for _, g := range old.groups {
			reusable[g.name] = g
		}
		if old.core != nil {
			reusable[""] = old.core
		}
	}
	for name, kinds := range byGroup(table) {
		g := reusable[name]
		if g == nil || !slices.Equal(g.kinds, kinds) {
			g = newGroup(name, kinds)
		}
		if name == "" {
			h.core = g
		} else {
			h.groups = append(h.groups, g)
		}
	}
	slices.SortFunc(h.groups, compareGroups)
	h.addEndpoints()
}

func byGroup(table *kind.Table) map[string][]*kind.Kind {
	groups := map[string][]*kind.Kind{}
	for _, k := range table.Kinds() {
		if len(k.Versions) > 0 {
			groups[k.Group] = append(groups[k.Group], k)
		}
	}
	return groups
}

func (h *Handler) addEndpoints() {
	var core []*group
	versions := []string{}
	if h.core != nil {
		core = append(core, h.core)
		for _, v := range h.core.versions {
			versions = append(versions, v.name)
		}
	}
	list := apiGroupList(h.groups)
	h.endpoints = map[string]*endpoint{
		"/api":     {document: apiVersions(versions, h.options.ServerAddress), aggregated: aggregatedDocument(core), restful: true},
		"/apis":    {document: list, aggregated: aggregatedDocument(h.groups)},
		"/apis/":   {document: list}, // upstream has no aggregated form here
		"/version": versionEndpoint(),
	}
	for _, g := range core {
		for _, v := range g.versions {
			h.endpoints["/api/"+v.name] = &endpoint{document: v.document, restful: true}
		}
	}
	for _, g := range h.groups {
		path := "/apis/" + g.name
		e := &endpoint{document: g.document}
		h.endpoints[path], h.endpoints[path+"/"] = e, e
		for _, v := range g.versions {
			h.endpoints[path+"/"+v.name] = &endpoint{document: v.document, restful: true}
		}
	}
}

// versionEndpoint is the same for all handlers of a process.
var versionEndpoint = sync.OnceValue(func() *endpoint {
	return &endpoint{document: rawDocument(version.Info()), restful: true, raw: true}
})
