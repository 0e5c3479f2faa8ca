package verb_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/kayak-k8s/kayak/internal/state"
)

// discard is a client that takes everything in no time.
type discard struct {
	header http.Header
	bytes  int64
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(int)     {}
func (d *discard) Write(b []byte) (int, error) {
	d.bytes += int64(len(b))
	return len(b), nil
}

// BenchmarkList lists 10,000 pods of about 7 KB of JSON, all of which are kept encoded, without a network.
func BenchmarkList(b *testing.B) {
	f := newFixture(b, nil, func(o *state.Options) { o.EncodingBytes = 256 << 20 })
	f.putPods(b, 10_000, 6000)
	for _, bench := range []struct {
		name, path, accept string
		compressed         bool
	}{
		{"json", "/api/v1/pods", acceptJSON, false},
		{"gzip", "/api/v1/pods", acceptJSON, true},
		{"protobuf", "/api/v1/pods", acceptProtobuf, false},
		{"metadata", "/api/v1/pods", metadataProto, false},
		{"table", "/api/v1/pods", acceptTable, false},
		{"selector", "/api/v1/pods?labelSelector=app%3Dapp-7", acceptJSON, false},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			list := func() {
				r := httptest.NewRequestWithContext(b.Context(), "GET", bench.path, nil)
				r.Header.Set("Accept", bench.accept)
				if bench.compressed {
					r.Header.Set("Accept-Encoding", "gzip")
				}
				w := &discard{header: http.Header{}}
				f.serve(w, r)
				b.SetBytes(w.bytes)
			}
			list() // what is kept is there from now on
			for b.Loop() {
				list()
			}
		})
	}
}
