package openapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/openapi/edit"
)

// Custom is a group version of custom resources.
type Custom struct {
	// Path is where its document is, below /openapi/v3: "apis/example.com/v1".
	Path string
	// Edition is another one whenever the documents may have become other ones. What clients cache by is made of it, so that no
	// document has to be built before somebody reads it.
	Edition string
	// V3 and V2 build its documents, in JSON.
	V3, V2 func() ([]byte, error)
}

// With returns a handler that serves h's own documents, and those of custom resources besides: in v3 each on its own, in v2 merged
// into the one that there is. What h has of the same editions is kept. Nothing is built before it is asked for.
func (h *Handler) With(list []Custom) *Handler {
	base := h.base
	if base == nil {
		base = h
	}
	next := &Handler{base: base, v2: base.v2, v3: maps.Clone(base.v3), custom: map[string]*customDocument{}, modified: time.Now()}
	for _, c := range list {
		made := h.custom[c.Path]
		if made == nil || made.edition != c.Edition {
			made = newCustomDocument(c)
		}
		next.custom[c.Path] = made
		next.v3[c.Path] = made.document
	}
	if len(list) > 0 {
		next.v2 = mergedV2(base.v2, list)
	}
	next.index = sync.OnceValues(func() (*indexDocument, error) { return newIndex(next.v3) })
	return next
}

// customDocument is a document with the edition that it was made of.
type customDocument struct {
	*document
	edition string
}

func newCustomDocument(c Custom) *customDocument {
	encoded := sync.OnceValues(func() (edit.Encoded, error) {
		body, err := c.V3()
		if err != nil {
			return edit.Encoded{}, fmt.Errorf("cannot build the OpenAPI document %s: %w", c.Path, err)
		}
		doc, err := edit.Parse(body)
		if err != nil {
			return edit.Encoded{}, err
		}
		return doc.Encode()
	})
	hash := fmt.Sprintf("%X", sha512.Sum512([]byte(c.Edition)))
	return &customDocument{edition: c.Edition, document: &document{
		version: "v3", path: v3Path + "/" + c.Path,
		content: func() (*content, error) { return &content{hash: hash, open: opener(encoded)}, nil },
	}}
}

// opener opens the forms of what is encoded when it is first opened.
func opener(encoded func() (edit.Encoded, error)) func(string) (io.ReadSeeker, error) {
	return func(extension string) (io.ReadSeeker, error) {
		e, err := encoded()
		if err != nil {
			return nil, err
		}
		if extension == ".pb.gz" {
			return bytes.NewReader(e.Protobuf), nil
		}
		return bytes.NewReader(e.JSON), nil
	}
}

// mergedV2 is the one document of v2 with the definitions and paths of custom resources. The large document is not parsed: theirs are
// put into its text, and behind its message, which to protobuf is the same as being in it.
func mergedV2(own *document, list []Custom) *document {
	var editions strings.Builder
	for _, c := range list {
		editions.WriteString(c.Path + c.Edition)
	}
	return &document{version: "v2", content: sync.OnceValues(func() (*content, error) {
		under, err := own.content()
		if err != nil {
			return nil, err
		}
		merged := sync.OnceValues(func() (edit.Encoded, error) { return mergeV2(under, list) })
		return &content{hash: fmt.Sprintf("%X", sha512.Sum512([]byte(under.hash+editions.String()))), open: opener(merged)}, nil
	})}
}

func mergeV2(own *content, list []Custom) (edit.Encoded, error) {
	text, err := inflated(own, ".json.gz")
	if err != nil {
		return edit.Encoded{}, err
	}
	message, err := inflated(own, ".pb.gz")
	if err != nil {
		return edit.Encoded{}, err
	}
	added, err := additions(text, list)
	if err != nil {
		return edit.Encoded{}, err
	}
	encoded, err := added.Encode()
	if err != nil {
		return edit.Encoded{}, err
	}
	addedMessage, err := gunzip(bytes.NewReader(encoded.Protobuf))
	if err != nil {
		return edit.Encoded{}, err
	}
	if text, err = splice(text, added); err != nil {
		return edit.Encoded{}, err
	}
	result := edit.Encoded{}
	if result.JSON, err = compress(text); err != nil {
		return edit.Encoded{}, err
	}
	// The added message's title and version are the ones of the own one: in protobuf the last one counts.
	result.Protobuf, err = compress(append(message, addedMessage...))
	return result, err
}

// sections are the parts of a document of v2 that are maps of what there is.
func sections() []string { return []string{"paths", "definitions", "parameters"} }

// additions collects what the documents of custom resources have and the own one has not.
func additions(text []byte, list []Custom) (edit.Document, error) {
	own := map[string]map[string]bool{}
	merged := edit.Document{"swagger": "2.0"}
	for _, section := range sections() {
		own[section] = map[string]bool{}
		merged[section] = map[string]any{}
	}
	err := kind.EachMember(text, func(name, value []byte) error {
		section := strings.Trim(string(name), `"`)
		switch {
		case section == "info":
			var info map[string]any
			err := json.Unmarshal(value, &info)
			merged["info"] = info
			return err
		case own[section] != nil:
			return kind.EachMember(value, func(name, _ []byte) error {
				own[section][strings.Trim(string(name), `"`)] = true
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		body, err := c.V2()
		if err != nil {
			return nil, fmt.Errorf("cannot build the OpenAPI document of %s: %w", c.Path, err)
		}
		doc, err := edit.Parse(body)
		if err != nil {
			return nil, err
		}
		for _, section := range sections() {
			for name, value := range edit.Child(doc, section) {
				if !own[section][name] {
					edit.Child(merged, section)[name] = value
				}
			}
		}
	}
	return merged, nil
}

// splice puts the members of the sections into the text of a document that has these sections.
func splice(text []byte, added edit.Document) ([]byte, error) {
	result := []byte{'{'}
	missing := sections()
	err := kind.EachMember(text, func(name, value []byte) error {
		if len(result) > 1 {
			result = append(result, ',')
		}
		result = append(append(result, name...), ':')
		section := strings.Trim(string(name), `"`)
		members, err := json.Marshal(edit.Child(added, section))
		if err != nil {
			return err
		}
		at := slices.Index(missing, section)
		if at < 0 || len(members) <= len("{}") {
			result = append(result, value...)
			return nil
		}
		missing = slices.Delete(missing, at, at+1)
		end := bytes.LastIndexByte(value, '}')
		if end < 0 {
			return errors.New("malformed OpenAPI document")
		}
		result = append(result, value[:end]...)
		if end > len("{") {
			result = append(result, ',')
		}
		result = append(result, members[1:]...)
		return nil
	})
	return append(result, '}'), err
}

func inflated(c *content, extension string) ([]byte, error) {
	file, err := c.open(extension)
	if err != nil {
		return nil, err
	}
	return gunzip(file)
}

func gunzip(r io.Reader) ([]byte, error) {
	reader, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(reader)
}

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
