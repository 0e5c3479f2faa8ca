package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	openapiv3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// encodeAll returns the files to write, by name.
func encodeAll(documents map[string]document) (map[string][]byte, error) {
	files := map[string][]byte{}
	var hashes []string
	for name, doc := range documents {
		body, err := doc.json()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		message, err := doc.protobuf(body)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if files[name+".json.gz"], err = compress(body); err != nil {
			return nil, err
		}
		if files[name+".pb.gz"], err = compress(message); err != nil {
			return nil, err
		}
		hashes = append(hashes, fmt.Sprintf("%s %X\n", name, sha512.Sum512(body)))
	}
	slices.Sort(hashes)
	files["hashes.txt"] = []byte(strings.Join(hashes, ""))
	return files, nil
}

// json encodes a document through upstream's types, which decide on the order of fields.
func (d document) json() ([]byte, error) {
	body, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	if d.isV2() {
		var typed spec.Swagger
		if err := json.Unmarshal(body, &typed); err != nil {
			return nil, err
		}
		return typed.MarshalJSON()
	}
	var typed spec3.OpenAPI
	if err := json.Unmarshal(body, &typed); err != nil {
		return nil, err
	}
	return json.Marshal(&typed) // unlike for v2, upstream escapes "<" and the like here
}

// protobuf encodes a document, given in JSON, as k8s.io/kube-openapi/pkg/handler and handler3 do.
func (d document) protobuf(body []byte) ([]byte, error) {
	var message proto.Message
	var err error
	if d.isV2() {
		message, err = openapiv2.ParseDocument(body)
	} else {
		message, err = openapiv3.ParseDocument(body)
	}
	if err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(message)
}

// compress is deterministic: the header has neither a name nor a time.
func compress(body []byte) ([]byte, error) {
	var buffer bytes.Buffer
	writer, err := gzip.NewWriterLevel(&buffer, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := writer.Write(body); err != nil {
		return nil, err
	}
	err = writer.Close()
	return buffer.Bytes(), err
}
