package discovery

import (
	"net/http"
	"strings"

	"github.com/munnerz/goautoneg"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kayak-k8s/kayak/internal/request"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// endpoint is what is served at a path.
type endpoint struct {
	document *document
	// aggregated, when set, is served instead to clients that ask for it.
	aggregated *document
	// restful marks a path that upstream serves through the go-restful router: see admit.
	restful bool
	// raw marks a document that is JSON whatever a client accepts.
	raw bool
}

func (e *endpoint) serve(w http.ResponseWriter, r *http.Request) error {
	if e.restful {
		if err := e.admit(r); err != nil {
			return err
		}
	}
	if e.raw {
		return e.document.write(w, r, wire.Output{Media: wire.JSON})
	}
	out, err := wire.NegotiateWhole(r)
	if e.aggregated != nil {
		if media, indent, ok := negotiateAggregated(r.Header.Get("Accept")); ok {
			return e.aggregated.write(w, r, wire.Output{Media: media, Pretty: out.Pretty || indent})
		}
	}
	if err != nil {
		return err
	}
	return e.document.write(w, r, out)
}

// negotiateAggregated finds the first clause of an Accept header, in the client's order of preference, that asks for aggregated
// discovery. Such a clause wins over any that does not (endpoints/discovery/aggregated/wrapper.go). pretty asks for
// indented JSON.
func negotiateAggregated(header string) (media wire.Media, pretty, ok bool) {
	if !strings.Contains(header, "APIGroupDiscoveryList") {
		return 0, false, false
	}
	gvk := aggregatedGVK()
	for _, clause := range goautoneg.ParseAccept(header) {
		p := clause.Params
		if p["as"] != gvk.Kind || p["g"] != gvk.Group || p["v"] != gvk.Version || p["sv"] != "" {
			continue
		}
		for media := wire.JSON; media <= wire.Protobuf; media++ {
			if matches(clause.Type, clause.SubType, media) && streams(p["stream"], media) {
				return media, p["pretty"] == "1", true
			}
		}
	}
	return 0, false, false
}

func matches(typ, subtype string, media wire.Media) bool {
	if typ == "*" {
		return subtype == "*"
	}
	haveType, haveSubtype, _ := strings.Cut(media.String(), "/")
	return typ == haveType && (subtype == "*" || subtype == haveSubtype)
}

// streams reports whether the media type could be streamed as the clause wishes, which matters to upstream even here.
func streams(stream string, media wire.Media) bool {
	return stream == "" || (stream == "watch" && media != wire.YAML)
}

// admit refuses what the go-restful router does (github.com/emicklei/go-restful/v3, jsr311.go and route.go): methods other than
// GET, then a body of a type that the path does not take, then an Accept header that names none of its types in full.
func (e *endpoint) admit(r *http.Request) error {
	if r.Method != http.MethodGet {
		return request.MethodNotAllowed()
	}
	if header := r.Header.Get("Content-Type"); header != "" && !e.names(header, false) {
		return routerError(http.StatusUnsupportedMediaType, "415: Unsupported Media Type")
	}
	if header := r.Header.Get("Accept"); header != "" && !e.names(header, true) {
		return routerError(http.StatusNotAcceptable,
			"406: Not Acceptable\n\nAvailable representations: "+strings.Join(e.types(), ", "))
	}
	return nil
}

// names reports whether a header, a list of media types, names one of the endpoint's.
func (e *endpoint) names(header string, wildcard bool) bool {
	for clause := range strings.SplitSeq(header, ",") {
		name, _, _ := strings.Cut(clause, ";")
		name = strings.Trim(name, " ")
		if wildcard && name == "*/*" {
			return true
		}
		for media := wire.JSON; media <= e.last(); media++ {
			if media.String() == name {
				return true
			}
		}
	}
	return false
}

// last is the last media type that the endpoint has.
func (e *endpoint) last() wire.Media {
	if e.raw {
		return wire.JSON
	}
	return wire.Protobuf
}

func (e *endpoint) types() []string { return wire.MediaTypes()[:e.last()+1] }

func routerError(code int, message string) error {
	return apierrors.NewGenericServerResponse(code, "", schema.GroupResource{}, "", message, 0, false)
}
