package wire

import (
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kayak-k8s/kayak/internal/request"
)

// Write sends a complete body, indented when that is asked for, and compressed when it is large and the client takes that.
func Write(w http.ResponseWriter, out Output, code int, body []byte) {
	if out.Pretty && out.Media == JSON {
		body = Indent(body)
	}
	header := w.Header()
	header.Set("Content-Type", out.Media.String())
	// An error from here on means that the client is gone; there is nobody left to tell.
	if out.Gzip && len(body) > GzipThreshold {
		SetGzip(header)
		w.WriteHeader(code)
		g := NewGzip(w)
		_ = g.Plain(body)
		_ = g.Close()
		return
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

// SetGzip says in a header that the body is compressed because the client takes that.
func SetGzip(header http.Header) {
	header.Set("Content-Encoding", "gzip")
	header.Add("Vary", "Accept-Encoding")
}

// WriteStatus sends a Status, in the client's media type; JSON when it accepts none we have.
func WriteStatus(w http.ResponseWriter, r *http.Request, status *metav1.Status) {
	if status.Details != nil && status.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(status.Details.RetryAfterSeconds)))
	}
	if status.Code == http.StatusNoContent {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	out, err := NegotiateWhole(r)
	if err != nil {
		out = Output{Pretty: true}
	}
	body, err := Typed(out.Media, metav1.Unversioned.WithKind("Status"), status)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	Write(w, out, int(status.Code), body)
}

// WriteError sends the Status of an error.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	WriteStatus(w, r, request.Status(err))
}
