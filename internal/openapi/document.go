package openapi

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/munnerz/goautoneg"
)

// files are what the command in generate wrote; it says how they are named.
//
//go:embed documents
var files embed.FS

// hashes has a line for each document: its name, a space, the SHA-512 of its JSON.
//
//go:embed documents/hashes.txt
var hashes string

// document is one document in its two forms.
type document struct {
	name string // of the files, without the form: "v3/apis__apps__v1"
	hash string
	// url is the path with the hash, for documents that have one.
	url string
}

// embedded returns the document with a name, or nil.
func embedded(name string) *document {
	for line := range strings.Lines(hashes) {
		if hash, ok := strings.CutPrefix(line, name+" "); ok {
			return &document{name: name, hash: strings.TrimSpace(hash)}
		}
	}
	return nil
}

// form is one of the forms that a document can be had in.
type form struct {
	subtypes    []string // of "application/", as clients may name them
	contentType string
	extension   string // of the file
}

func (d *document) forms() [2]form {
	version := d.name[:2]
	spec := "com.github.proto-openapi.spec." + version
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
	content, encoding, err := d.open(f, r.Header)
	if err != nil {
		return err
	}
	header := w.Header()
	header["Vary"] = vary
	header.Set("Content-Type", f.contentType)
	header.Set("Etag", strconv.Quote(d.hash))
	if hash := r.URL.Query().Get("hash"); d.url != "" && hash != "" {
		if hash != d.hash {
			http.Redirect(w, r, d.url, http.StatusMovedPermanently)
			return nil
		}
		header.Set("Cache-Control", "public, immutable")
		header.Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	}
	if encoding != "" {
		header.Set("Content-Encoding", encoding)
	}
	http.ServeContent(w, r, "", modified, content)
	return nil
}

// open returns a form of the document and its content encoding: gzip, as it is embedded, for those who accept that, and
// otherwise none. Then it is decompressed while it is read; or at once, for the few who want a range of it.
func (d *document) open(f form, request http.Header) (content io.ReadSeeker, encoding string, err error) {
	opened, err := files.Open("documents/" + d.name + f.extension)
	if err != nil {
		return nil, "", err
	}
	file := opened.(io.ReadSeeker) // package embed promises it; there is nothing to close
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
	body, err := io.ReadAll(reader)
	return bytes.NewReader(body), "", err
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
