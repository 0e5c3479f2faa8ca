package edit

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"fmt"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	openapiv3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Encoded is a document as it is served.
type Encoded struct {
	// JSON and Protobuf are its two forms, compressed with gzip.
	JSON, Protobuf []byte
	// Hash is the SHA-512 of the JSON, in upper-case hexadecimal digits: the ETag.
	Hash string
}

// Encode encodes a document in both forms.
func (d Document) Encode() (Encoded, error) {
	body, err := d.json()
	if err != nil {
		return Encoded{}, err
	}
	message, err := d.protobuf(body)
	if err != nil {
		return Encoded{}, err
	}
	result := Encoded{Hash: fmt.Sprintf("%X", sha512.Sum512(body))}
	if result.JSON, err = compress(body); err != nil {
		return Encoded{}, err
	}
	result.Protobuf, err = compress(message)
	return result, err
}

// json encodes a document through upstream's types, which decide on the order of fields.
func (d Document) json() ([]byte, error) {
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
func (d Document) protobuf(body []byte) ([]byte, error) {
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
