// Package openapi serves the OpenAPI documents of the API.
//
//	/openapi/v3                          which documents there are, with URLs that clients can cache for good
//	/openapi/v3/api/v1                   the document of the core group
//	/openapi/v3/apis/{group}/{version}   the document of another group version
//	/openapi/v3/version, ...             small ones: api, apis, apis/{group}, version
//	/openapi/v2                          everything in one document of the older OpenAPI version
//
// kubectl reads them to explain fields, to make patches, and to learn whether the server validates fields. Each can be had in
// JSON and in protobuf ("application/com.github.proto-openapi.spec.v3.v1.0+protobuf").
//
// Documents are not built here. They are written ahead by the command in generate, from upstream's, and are part of the binary in
// compressed form (documents/). A client that accepts gzip gets these bytes as they are; for others they are decompressed on the
// way out, and nothing is kept. There are documents for the usual sets of kinds: kube-apiserver's defaults, with betas, with
// everything. For a server whose --runtime-config makes another set, those documents that differ are made from the largest one,
// by taking out what is not served (package edit), when somebody first asks for them.
//
// # Custom resources
//
// Their documents are made by upstream's builder when somebody reads them, and kept, compressed, until their definitions change
// ([Handler.With]). The hash of such a document is that of the editions of its definitions, so that the index can name it, and a
// client can learn that nothing has changed, without anything being built.
//
// # Caching
//
// The ETag of a document is the SHA-512 of its JSON, in both forms; the Vary header tells caches to keep these apart. The index
// of v3 names each document with this hash in the query. A request with the right hash is answered with a document that never
// expires, one with a wrong hash is led to the right one with 301.
//
// # What upstream does
//
// k8s.io/kube-openapi/pkg/handler3 and handler; the aggregator stands before the first
// (k8s.io/kube-aggregator/pkg/controllers/openapiv3/aggregator). Answers are the same, any method included, but for these:
//
//   - the documents of /logs and of service account keys are not there;
//   - the index has an ETag, as handler3 gives it one; the aggregator does not;
//   - documents of v3 are sent with gzip to those who accept it, as upstream does for v2 only;
//   - an Accept header without a media type (",") gets 406 everywhere; upstream answers with an empty 200 for v3;
//   - Expires is in GMT, as RFC 9110 wants it, not in the server's time zone.
package openapi

import (
	"bytes"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/kayak-k8s/kayak/internal/kind"
)

//go:generate go run ./generate documents

// ErrNotFound is the error of a path that is not one of this package's.
var ErrNotFound = errors.New("no OpenAPI document has this path")

const (
	v2Path = "/openapi/v2"
	v3Path = "/openapi/v3"
)

// Handler serves the documents of one table of kinds. It is immutable and safe for concurrent use. Make one with New.
type Handler struct {
	v2 *document
	v3 map[string]*document // by what follows /openapi/v3/ in the path

	// base has the documents without custom resources; nil when there are none. custom has theirs, which are in v3 as well.
	base   *Handler
	custom map[string]*customDocument

	// index is made when it is first asked for: it has the hash of every document.
	index func() (*indexDocument, error)
	// modified is when the documents began to be served.
	modified time.Time
}

// New returns a handler for a table; it decompresses nothing.
func New(table *kind.Table) *Handler {
	h := &Handler{v3: map[string]*document{}, modified: time.Now()}
	for name, variants := range embedded() {
		doc := choose(name, variants, table)
		if name == "v2" {
			h.v2 = doc
			continue
		}
		path := strings.ReplaceAll(strings.TrimPrefix(name, "v3/"), "__", "/")
		if doc != nil {
			doc.path = v3Path + "/" + path
			h.v3[path] = doc
		}
	}
	if h.v2 == nil { // a table without any kind
		h.v2 = prunedDocument("v2", embedded()["v2"], table)
	}
	h.index = sync.OnceValues(func() (*indexDocument, error) { return newIndex(h.v3) })
	return h
}

// indexDocument lists the documents of v3.
type indexDocument struct {
	body []byte
	etag string
}

func newIndex(documents map[string]*document) (*indexDocument, error) {
	type entry struct {
		ServerRelativeURL string `json:"serverRelativeURL"`
	}
	list := struct {
		Paths map[string]entry `json:"paths"`
	}{map[string]entry{}}
	for path, doc := range documents {
		content, err := doc.content()
		if err != nil {
			return nil, err
		}
		list.Paths[path] = entry{doc.url(content.hash)}
	}
	body, err := json.Marshal(list)
	return &indexDocument{body, fmt.Sprintf(`"%X"`, sha512.Sum512(body))}, err
}

// Paths lists the paths that are served, as the index at "/" names them.
func Paths() []string { return []string{v2Path, v3Path, v3Path + "/"} }

// Serve answers a request for one of the paths. For any other path it returns ErrNotFound; then, and for every other error, it
// has written nothing.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request) error {
	switch r.URL.Path {
	case v2Path:
		return h.v2.serve(w, r, h.modified)
	case v3Path:
		return h.serveIndex(w, r)
	}
	path, ok := strings.CutPrefix(r.URL.Path, v3Path+"/")
	if !ok {
		return ErrNotFound
	}
	if doc := h.v3[path]; doc != nil {
		return doc.serve(w, r, h.modified)
	}
	w.WriteHeader(http.StatusNotFound) // without a text, as upstream
	return nil
}

// serveIndex does not look at Accept. The media type is what the aggregator gets when it lets net/http guess.
func (h *Handler) serveIndex(w http.ResponseWriter, r *http.Request) error {
	index, err := h.index()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Etag", index.etag)
	http.ServeContent(w, r, "", h.modified, bytes.NewReader(index.body))
	return nil
}
