package discovery

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/kayak-k8s/kayak/internal/wire"
)

// document is one document in all the forms that it can be had in, each made when it is first asked for.
type document struct {
	// encode makes the body in a media type.
	encode func(wire.Media) ([]byte, error)
	// etag, when set, makes the document one that clients may cache: it returns the header's value.
	etag func() (string, error)
	// parameters are added to the media type in the Content-Type.
	parameters string

	forms [pretty + 1]form
}

// pretty is the form behind those of the media types: indented JSON.
const pretty = wire.Protobuf + 1

// form is an encoded document with its headers. The values are shared by all answers, so they must not be changed.
type form struct {
	once                     sync.Once
	err                      error
	body, gzip               []byte // gzip is nil for a body that is not worth it
	contentType              []string
	length, gzipLength, etag []string
}

// marshaler is implemented by the types of documents, which can be encoded in protobuf.
type marshaler interface{ Marshal() ([]byte, error) }

// typedDocument is a document of a Kubernetes type. build is called when it is needed, and returns a value with its kind set.
func typedDocument(gvk schema.GroupVersionKind, build func() marshaler) *document {
	return &document{encode: func(media wire.Media) ([]byte, error) { return wire.Typed(media, gvk, build()) }}
}

// rawDocument is a document that exists in indented JSON only.
func rawDocument(v any) *document {
	return &document{encode: func(wire.Media) ([]byte, error) { return json.MarshalIndent(v, "", "  ") }}
}

func apiVersions(versions []string, address string) *document {
	// Without an API version, as in Kubernetes 1.1.
	return typedDocument(schema.GroupVersionKind{Kind: "APIVersions"}, func() marshaler {
		return &metav1.APIVersions{
			TypeMeta: metav1.TypeMeta{Kind: "APIVersions"},
			Versions: versions,
			ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{
				{ClientCIDR: "0.0.0.0/0", ServerAddress: address},
			},
		}
	})
}

func apiGroupList(groups []*group) *document {
	return typedDocument(metav1.Unversioned.WithKind("APIGroupList"), func() marshaler {
		list := &metav1.APIGroupList{
			TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"},
			Groups:   make([]metav1.APIGroup, 0, len(groups)),
		}
		for _, g := range groups {
			list.Groups = append(list.Groups, g.info)
		}
		return list
	})
}

func aggregatedGVK() schema.GroupVersionKind {
	return apidiscovery.SchemeGroupVersion.WithKind("APIGroupDiscoveryList")
}

// aggregatedDocument joins the groups' parts. Only what has changed is encoded anew, so a document of hundreds of groups costs
// little more than copying it.
func aggregatedDocument(groups []*group) *document {
	gvk := aggregatedGVK()
	return &document{
		parameters: fmt.Sprintf(";g=%s;v=%s;as=%s", gvk.Group, gvk.Version, gvk.Kind),
		encode: func(media wire.Media) ([]byte, error) {
			if media == wire.Protobuf {
				message, err := joinProtobuf(groups)
				if err != nil {
					return nil, err
				}
				return wire.Object(media, gvk, message)
			}
			body, err := joinJSON(fmt.Sprintf(`{"kind":%q,"apiVersion":%q,`, gvk.Kind, gvk.GroupVersion()), groups)
			if err != nil || media == wire.JSON {
				return append(body, '\n'), err
			}
			return yaml.JSONToYAML(body)
		},
		// Every media type has the same ETag: caches tell them apart by the Vary header. It is the hash of the list in
		// JSON, without kind and apiVersion.
		etag: sync.OnceValues(func() (string, error) {
			body, err := joinJSON("{", groups)
			return fmt.Sprintf(`"%X"`, sha512.Sum512(body)), err
		}),
	}
}

func joinJSON(head string, groups []*group) ([]byte, error) {
	items := make([][]byte, len(groups))
	for i, g := range groups {
		item, err := g.aggregated()
		if err != nil {
			return nil, err
		}
		items[i] = item.json
	}
	body := append([]byte(head), `"metadata":{},"items":[`...)
	body = append(body, bytes.Join(items, []byte(","))...)
	return append(body, "]}"...), nil
}

// joinProtobuf appends the items to the message of a list without any.
func joinProtobuf(groups []*group) ([]byte, error) {
	message, err := (&apidiscovery.APIGroupDiscoveryList{}).Marshal()
	for _, g := range groups {
		item, itemErr := g.aggregated()
		if itemErr != nil {
			return nil, itemErr
		}
		message = protowire.AppendBytes(protowire.AppendTag(message, 2, protowire.BytesType), item.protobuf)
	}
	return message, err
}

// write answers with the document in a form.
func (d *document) write(w http.ResponseWriter, r *http.Request, out wire.Output) error {
	index := out.Media
	if out.Pretty && out.Media == wire.JSON {
		index = pretty
	}
	f := &d.forms[index]
	f.once.Do(func() { f.err = f.fill(d, index) })
	if f.err != nil {
		return f.err
	}
	header := w.Header()
	if f.etag != nil {
		header["Etag"] = f.etag
		header["Vary"] = []string{"Accept"}
		header["Cache-Control"] = []string{"public"}
		if r.Header.Get("If-None-Match") == f.etag[0] {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	body, length := f.body, f.length
	if f.gzip != nil && acceptsGzip(r) {
		body, length = f.gzip, f.gzipLength
		header.Set("Content-Encoding", "gzip")
		header.Add("Vary", "Accept-Encoding")
	}
	header["Content-Type"] = f.contentType
	header["Content-Length"] = length
	w.WriteHeader(http.StatusOK)
	// An error here means that the client is gone; there is nobody left to tell.
	_, _ = w.Write(body)
	return nil
}

func (f *form) fill(d *document, index wire.Media) error {
	media := index
	if index == pretty {
		media = wire.JSON
	}
	body, err := d.encode(media)
	if err != nil {
		return err
	}
	if index == pretty {
		body = wire.Indent(body)
	}
	f.contentType = []string{media.String() + d.parameters}
	f.body, f.length = body, []string{strconv.Itoa(len(body))}
	if len(body) > gzipThreshold {
		if f.gzip, err = compress(body); err != nil {
			return err
		}
		f.gzipLength = []string{strconv.Itoa(len(f.gzip))}
	}
	if d.etag == nil {
		return nil
	}
	etag, err := d.etag()
	f.etag = []string{etag}
	return err
}

// gzipThreshold is the size in bytes above which upstream compresses what it answers
// (apiserver/pkg/endpoints/handlers/responsewriters/writers.go).
const gzipThreshold = 128 << 10

func compress(body []byte) ([]byte, error) {
	var buffer bytes.Buffer
	writer, err := gzip.NewWriterLevel(&buffer, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := writer.Write(body); err != nil {
		return nil, err
	}
	err = writer.Close()
	return buffer.Bytes(), err
}

func acceptsGzip(r *http.Request) bool {
	for encoding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		if strings.TrimSpace(encoding) == "gzip" {
			return true
		}
	}
	return false
}
