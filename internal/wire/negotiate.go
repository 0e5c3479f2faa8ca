package wire

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/munnerz/goautoneg"

	"github.com/kayak-k8s/kayak/internal/request"
)

// Media is an encoding of objects.
type Media int

// The media types, in the order in which "*/*" picks them.
const (
	JSON Media = iota
	YAML
	Protobuf
)

var mediaTypes = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}

func (m Media) String() string { return mediaTypes[m] }

// MediaTypes lists the media types for bodies and answers.
func MediaTypes() []string { return append([]string(nil), mediaTypes...) }

// streamMediaTypes lists those that a watch can be had in: YAML has no framing.
var streamMediaTypes = []string{"application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"}

// Shape is what an answer shows of an object.
type Shape int

// The shapes.
const (
	Whole Shape = iota
	Table
	Metadata     // PartialObjectMetadata
	MetadataList // PartialObjectMetadataList
)

// Output is what a client accepts.
type Output struct {
	Media
	Shape Shape
	// Version is the version of meta.k8s.io that a shape other than Whole is wanted in: "v1" or "v1beta1".
	Version string
	// Pretty asks for indented JSON.
	Pretty bool
	// Gzip says that the client takes large answers compressed.
	Gzip bool
}

// Negotiate picks the answer's form from the Accept header. stream is set for a watch. The rules, and the order in which
// clauses are tried, are those of apiserver/pkg/endpoints/handlers/negotiation.
func Negotiate(r *http.Request, stream bool) (Output, error) { return negotiate(r, stream, false) }

// NegotiateUntyped is Negotiate for objects that have no protobuf form; their metadata has.
func NegotiateUntyped(r *http.Request, stream bool) (Output, error) {
	return negotiate(r, stream, true)
}

func negotiate(r *http.Request, stream, untyped bool) (Output, error) {
	out := Output{Pretty: pretty(r), Gzip: acceptsGzip(r)}
	header := r.Header.Get("Accept")
	if header == "" || header == "*/*" || header == "application/json" {
		return out, nil
	}
	for _, clause := range goautoneg.ParseAccept(header) {
		for media := JSON; media <= Protobuf; media++ {
			if !matches(&clause, media) {
				continue
			}
			if candidate, ok := accept(out, media, clause.Params); ok && !(untyped && media == Protobuf && candidate.Shape == Whole) {
				if stream && media == YAML {
					return out, request.NotAcceptable(streamMediaTypes)
				}
				return candidate, nil
			}
		}
	}
	return out, request.NotAcceptable(mediaTypes)
}

// NegotiateWhole picks the form of an answer that has no other shapes, such as a Status: clauses that ask for a shape are
// passed over.
func NegotiateWhole(r *http.Request) (Output, error) {
	out := Output{Pretty: pretty(r), Gzip: acceptsGzip(r)}
	header := r.Header.Get("Accept")
	if header == "" {
		return out, nil
	}
	for _, clause := range goautoneg.ParseAccept(header) {
		for media := JSON; media <= Protobuf; media++ {
			if !matches(&clause, media) {
				continue
			}
			if candidate, ok := accept(out, media, clause.Params); ok && candidate.Shape == Whole {
				return candidate, nil
			}
		}
	}
	return out, request.NotAcceptable(mediaTypes)
}

func matches(clause *goautoneg.Accept, media Media) bool {
	if clause.Type == "*" && clause.SubType == "*" {
		return true
	}
	typ, subtype, _ := strings.Cut(mediaTypes[media], "/")
	return clause.Type == typ && (clause.SubType == "*" || clause.SubType == subtype)
}

func accept(out Output, media Media, params map[string]string) (Output, bool) {
	out.Media = media
	if params["pretty"] == "1" {
		out.Pretty = true
	}
	if s := params["stream"]; s != "" && (s != "watch" || media == YAML) {
		return out, false
	}
	if v := params["sv"]; v != "" && v != "v1" {
		return out, false
	}
	as, hasAs := params["as"]
	group, hasGroup := params["g"]
	version, hasVersion := params["v"]
	if !hasAs && !hasGroup && !hasVersion {
		return out, true
	}
	if group != "meta.k8s.io" || (version != "v1" && version != "v1beta1") {
		return out, false
	}
	out.Version = version
	switch as {
	case "Table":
		out.Shape = Table
		return out, media != Protobuf
	case "PartialObjectMetadata":
		out.Shape = Metadata
	case "PartialObjectMetadataList":
		out.Shape = MetadataList
	default:
		return out, false
	}
	return out, true
}

// pretty follows the query parameter, and without one is true for what people type into a terminal or look at in a browser.
func pretty(r *http.Request) bool {
	if strings.Contains(r.URL.RawQuery, "pretty") {
		if value := r.URL.Query().Get("pretty"); value != "" {
			wanted, _ := strconv.ParseBool(value)
			return wanted
		}
	}
	agent := r.UserAgent()
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}

// BodyMedia returns the media type of a request's body; without a Content-Type it is JSON.
func BodyMedia(r *http.Request) (Media, error) {
	header := r.Header.Get("Content-Type")
	if header == "" {
		return JSON, nil
	}
	mediaType, _, err := mime.ParseMediaType(header)
	if err == nil {
		for media := JSON; media <= Protobuf; media++ {
			if mediaTypes[media] == mediaType {
				return media, nil
			}
		}
	}
	return JSON, request.UnsupportedMediaType(mediaTypes)
}
