package h2

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"
)

// fieldEncoder makes header blocks. What one makes is used before the next is made. conn.mu guards it, as blocks must be sent in
// the order in which they are made.
type fieldEncoder struct {
	encoder *hpack.Encoder
	block   bytes.Buffer
}

func (e *fieldEncoder) init() {
	e.encoder = hpack.NewEncoder(&e.block)
	e.encoder.SetMaxDynamicTableSizeLimit(4 << 10)
}

// begin begins the header block of an answer.
func (e *fieldEncoder) begin(code int) {
	e.block.Reset()
	e.field(":status", status(code))
}

// header adds a header to the block.
func (e *fieldEncoder) header(header http.Header) {
	for name, values := range header {
		if !connectionSpecific(name) && !strings.HasPrefix(name, http.TrailerPrefix) {
			e.fields(name, values)
		}
	}
}

// informational makes the header block of an answer that is not the last (RFC 9110 §15.2).
func (e *fieldEncoder) informational(code int, header http.Header) []byte {
	e.begin(code)
	for name, values := range header {
		if name != "Content-Length" && !connectionSpecific(name) {
			e.fields(name, values)
		}
	}
	return e.block.Bytes()
}

// trailer makes the block behind a body.
func (e *fieldEncoder) trailer(names []string, header http.Header) []byte {
	e.block.Reset()
	for _, name := range names {
		e.fields(strings.TrimPrefix(name, http.TrailerPrefix), header[name])
	}
	return e.block.Bytes()
}

func (e *fieldEncoder) fields(name string, values []string) {
	name = lower(name)
	if !httpguts.ValidHeaderFieldName(name) {
		return
	}
	for _, value := range values {
		if httpguts.ValidHeaderFieldValue(value) {
			e.field(name, value)
		}
	}
}

// field adds one field. Those that hardly ever have the same value twice are kept out of the table that both sides hold: they
// would only push out the others.
func (e *fieldEncoder) field(name, value string) {
	once := name == "audit-id" || name == "content-length"
	_ = e.encoder.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: once}) // into memory
}

// connectionSpecific reports whether a field has no place in HTTP/2 (RFC 9113 §8.2.2).
func connectionSpecific(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

func status(code int) string {
	switch code {
	case http.StatusOK:
		return "200"
	case http.StatusCreated:
		return "201"
	}
	return strconv.Itoa(code)
}

// known are the names of fields that are seen often, in lower case, as they are on the wire.
var known, lowered = func() (map[string]string, map[string]string) {
	up, down := map[string]string{}, map[string]string{}
	for _, name := range []string{
		"Accept", "Accept-Encoding", "Accept-Language", "Audit-Id", "Authorization", "Cache-Control", "Content-Encoding",
		"Content-Length", "Content-Type", "Cookie", "Date", "Deprecation", "Etag", "Expect", "Host", "If-None-Match",
		"Impersonate-Group", "Impersonate-User", "Kubectl-Command", "Kubectl-Session", "Last-Modified", "Link", "Location", "Origin",
		"Referer", "Retry-After", "Te", "Trailer", "User-Agent", "Vary", "Warning", "Www-Authenticate", "X-Content-Type-Options",
		"X-Forwarded-For", "X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid", "X-Request-Id",
	} {
		low := strings.ToLower(name)
		up[low], down[name] = name, low
	}
	return up, down
}()

// canonical returns a name as http.Header has it.
func canonical(name string) string {
	if c, ok := known[name]; ok {
		return c
	}
	return http.CanonicalHeaderKey(name)
}

// lower returns a name as HTTP/2 has it.
func lower(name string) string {
	if l, ok := lowered[name]; ok {
		return l
	}
	return strings.ToLower(name)
}
