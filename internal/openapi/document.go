package openapi

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/munnerz/goautoneg"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/openapi/edit"
)

// files are what the command in generate wrote; it says how they are named.
//
//go:embed documents
var files embed.FS

// listing has a line for each of them: the name of the document, what it was pruned by (edit.Signature), the SHA-512 of its
// JSON, and the name of its files. Of the lines of one document the last has the most in it.
//
//go:embed documents/index.txt
var listing string

// variant is a document for one set of kinds.
type variant struct{ signature, hash, file string }

// embedded returns the variants of each document, by its name.
func embedded() map[string][]variant {
	documents := map[string][]variant{}
	for line := range strings.Lines(listing) {
		fields := strings.Fields(line)
		documents[fields[0]] = append(documents[fields[0]], variant{fields[1], fields[2], fields[3]})
	}
	return documents
}

// document is one document in its two forms.
type document struct {
	version string // "v2" or "v3"
	// path is where it is served, for documents whose URLs have their hash in them.
	path string
	// content finds or makes it.
	content func() (*content, error)
}

// content is a document's forms, compressed, by their extensions.
type content struct {
	hash string
	open func(extension string) (io.ReadSeeker, error)
}

// choose returns a document for a table, or nil when the table has nothing that it is about.
func choose(name string, variants []variant, table *kind.Table) *document {
	signature, ok := edit.Signature(name, table)
	if !ok {
		return nil
	}
	for _, v := range variants {
		if v.signature == signature {
			return &document{version: name[:2], content: func() (*content, error) { return v.content(), nil }}
		}
	}
	return prunedDocument(name, variants, table)
}

func (v variant) content() *content {
	return &content{hash: v.hash, open: func(extension string) (io.ReadSeeker, error) {
		file, err := files.Open("documents/" + v.file + extension)
		if err != nil {
			return nil, err
		}
		return file.(io.ReadSeeker), nil // package embed promises it; there is nothing to close
	}}
}

// prunedDocument is made from the largest variant when it is first needed, and kept, compressed.
func prunedDocument(name string, variants []variant, table *kind.Table) *document {
	return &document{version: name[:2], content: sync.OnceValues(func() (*content, error) {
		source, err := variants[len(variants)-1].content().open(".json.gz")
		if err != nil {
			return nil, err
		}
		encoded, err := prune(source, table)
		if err != nil {
			return nil, fmt.Errorf("cannot prune the OpenAPI document %s: %w", name, err)
		}
		bodies := map[string][]byte{".json.gz": encoded.JSON, ".pb.gz": encoded.Protobuf}
		return &content{hash: encoded.Hash, open: func(extension string) (io.ReadSeeker, error) {
			return bytes.NewReader(bodies[extension]), nil
		}}, nil
	})}
}

func prune(source io.Reader, table *kind.Table) (edit.Encoded, error) {
	reader, err := gzip.NewReader(source)
	if err != nil {
		return edit.Encoded{}, err
	}
	body, err := io.ReadAll(reader)
	if err != nil {
		return edit.Encoded{}, err
	}
	doc, err := edit.Parse(body)
	if err != nil {
		return edit.Encoded{}, err
	}
	doc.Prune(table)
	return doc.Encode()
}

// url is the path with the hash.
func (d *document) url(hash string) string { return d.path + "?hash=" + hash }

// form is one of the forms that a document can be had in.
type form struct {
	subtypes    []string // of "application/", as clients may name them
	contentType string
	extension   string // of the file
}

func (d *document) forms() [2]form {
	spec := "com.github.proto-openapi.spec." + d.version
	return [2]form{
		{[]string{"json"}, "application/json", ".json.gz"},
		// The second was the name before it had to be a valid one.
		{[]string{spec + ".v1.0+protobuf", spec + "@v1.0+protobuf"}, "application/" + spec + ".v1.0+protobuf", ".pb.gz"},
	}
}

// negotiate finds the form that a client likes best.
func (d *document) negotiate(accept string) (form, bool) {
	if accept == "" {
		accept = "*/*"
	}
	for _, clause := range goautoneg.ParseAccept(accept) {
		if clause.Type != "application" && clause.Type != "*" {
			continue
		}
		for _, f := range d.forms() {
			if clause.SubType == "*" || slices.Contains(f.subtypes, clause.SubType) {
				return f, true
			}
		}
	}
	return form{}, false
}

// serve answers a request. modified is for clients that ask by time.
func (d *document) serve(w http.ResponseWriter, r *http.Request, modified time.Time) error {
	vary := []string{"Accept-Encoding", "Accept"}
	f, ok := d.negotiate(r.Header.Get("Accept"))
	if !ok {
		w.Header()["Vary"] = vary
		w.WriteHeader(http.StatusNotAcceptable)
		return nil
	}
	content, err := d.content()
	if err != nil {
		return err
	}
	body, encoding, err := content.form(f, r.Header)
	if err != nil {
		return err
	}
	header := w.Header()
	header["Vary"] = vary
	header.Set("Content-Type", f.contentType)
	header.Set("Etag", strconv.Quote(content.hash))
	if hash := r.URL.Query().Get("hash"); d.path != "" && hash != "" {
		if hash != content.hash {
			http.Redirect(w, r, d.url(content.hash), http.StatusMovedPermanently)
			return nil
		}
		header.Set("Cache-Control", "public, immutable")
		header.Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	}
	if encoding != "" {
		header.Set("Content-Encoding", encoding)
	}
	http.ServeContent(w, r, "", modified, body)
	return nil
}

// form returns a form of the document and its content encoding: gzip, as it is at hand, for those who accept that, and otherwise
// none. Then it is decompressed while it is read; or at once, for the few who want a range of it.
func (c *content) form(f form, request http.Header) (body io.ReadSeeker, encoding string, err error) {
	file, err := c.open(f.extension)
	if err != nil {
		return nil, "", err
	}
	ranges := request.Get("Range") != ""
	if !ranges && acceptsGzip(request) {
		return file, "gzip", nil
	}
	size, err := decompressedSize(file)
	if err != nil {
		return nil, "", err
	}
	reader, err := gzip.NewReader(file)
	if err != nil {
		return nil, "", err
	}
	if !ranges {
		return &inflater{reader, size}, "", nil
	}
	all, err := io.ReadAll(reader)
	return bytes.NewReader(all), "", err
}

// decompressedSize reads the size at the end of a gzip file (RFC 1952, ISIZE) and leaves the file at its beginning.
func decompressedSize(file io.ReadSeeker) (int64, error) {
	var size uint32
	if _, err := file.Seek(-4, io.SeekEnd); err != nil {
		return 0, err
	}
	if err := binary.Read(file, binary.LittleEndian, &size); err != nil {
		return 0, err
	}
	_, err := file.Seek(0, io.SeekStart)
	return int64(size), err
}

// inflater is as much of a seeker as http.ServeContent needs for a document that is sent from its beginning to its end: before
// it reads, it jumps to the end, in order to learn the size, and back.
type inflater struct {
	io.Reader
	size int64
}

func (i *inflater) Seek(offset int64, whence int) (int64, error) {
	switch {
	case offset == 0 && whence == io.SeekStart:
		return 0, nil
	case offset == 0 && whence == io.SeekEnd:
		return i.size, nil
	}
	return 0, errors.New("a compressed document can only be read from its beginning")
}

// acceptsGzip reports whether a client accepts gzip: it must name it, and not with the quality 0.
func acceptsGzip(header http.Header) bool {
	for clause := range strings.SplitSeq(strings.Join(header.Values("Accept-Encoding"), ","), ",") {
		coding, parameters, _ := strings.Cut(clause, ";")
		if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			continue
		}
		name, value, ok := strings.Cut(parameters, "=")
		if !ok || !strings.EqualFold(strings.TrimSpace(name), "q") {
			return true
		}
		quality, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		return err == nil && quality > 0
	}
	return false
}
