package wire

import (
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kayak-k8s/kayak/internal/request"
)

// CheckRoute refuses what upstream's router refuses before any handler: a patch in a type that is none, and an Accept header
// that names, letter by letter, none of the media types that the verb answers in, nor "*/*". So "application/*" is refused,
// although negotiation would understand it (go-restful's Route.matchesAccept and matchesContentType).
func CheckRoute(r *http.Request, verb string, patchTypes []string) error {
	if verb == "patch" {
		known := func(t string) bool { return t == string(types.ApplyYAMLPatchType) || slices.Contains(patchTypes, t) }
		if !anyType(r.Header.Get("Content-Type"), known) {
			return request.NoRoute(http.StatusUnsupportedMediaType, "415: Unsupported Media Type")
		}
	}
	if accepts(r, mediaTypes) {
		return nil
	}
	available := mediaTypes
	if verb == "list" || verb == "watch" {
		available = slices.Concat(mediaTypes, streamMediaTypes)
	}
	return notAcceptable(available)
}

// CheckAccept refuses, in the same way, an Accept header that does not name the one media type of a document.
func CheckAccept(r *http.Request, mediaType string) error {
	if available := []string{mediaType}; !accepts(r, available) {
		return notAcceptable(available)
	}
	return nil
}

func accepts(r *http.Request, types []string) bool {
	accept := r.Header.Get("Accept")
	return accept == "" || anyType(accept, func(t string) bool { return t == "*/*" || slices.Contains(types, t) })
}

func notAcceptable(available []string) error {
	return request.NoRoute(http.StatusNotAcceptable,
		"406: Not Acceptable\n\nAvailable representations: "+strings.Join(available, ", "))
}

// anyType reports whether any of the comma-separated media types, without its parameters, is known.
func anyType(header string, known func(string) bool) bool {
	for clause := range strings.SplitSeq(header, ",") {
		mediaType, _, _ := strings.Cut(clause, ";")
		if known(strings.Trim(mediaType, " ")) {
			return true
		}
	}
	return false
}
