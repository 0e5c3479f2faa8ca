package h2_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestLargeHeaders sends header blocks around the limit and far above it, to this server and to net/http's, which must say the same.
func TestLargeHeaders(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%d fields, a query of %d", len(r.Header), len(r.URL.RawQuery))
	})
	theirs := httptest.NewUnstartedServer(handler)
	theirs.EnableHTTP2 = true
	theirs.StartTLS()
	defer theirs.Close()
	address, _, _ := serve(t, handler)

	const limit = http.DefaultMaxHeaderBytes
	many := func(n, size int) (fields []hpack.HeaderField) {
		for i := range n {
			fields = append(fields, hpack.HeaderField{Name: fmt.Sprint("x-", i), Value: strings.Repeat("a", size)})
		}
		return fields
	}
	for _, c := range []struct {
		name, query string
		fields      []hpack.HeaderField
		want        []string
	}{
		{"within the limit", "", many(1, limit-1000), []string{"1: 200 1 fields, a query of 0", "3: 200 0 fields, a query of 0"}},
		{"a query", strings.Repeat("q", limit-1000), nil, []string{"1: 200 0 fields, a query of 1047576", "3: 200 0 fields, a query of 0"}},
		{"a little too large", "", append(many(1, limit-10_000), many(11, 1000)...), []string{
			"1: 431 <h1>HTTP Error 431</h1><p>Request Header Field(s) Too Large</p>", "3: 200 0 fields, a query of 0",
		}},
		{"too large", "", many(2*limit/1000, 1000), []string{"away after 1: PROTOCOL_ERROR"}},
		{"a field that is too large", "", many(1, 2*limit), []string{"away after 1: COMPRESSION_ERROR"}},
		{"a query that is too large", strings.Repeat("q", 2*limit), nil, []string{"away after 1: COMPRESSION_ERROR"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := talk(t, theirs.Listener.Addr().String(), c.query, c.fields); !slices.Equal(got, c.want) {
				t.Errorf("net/http: %q\nwant %q", got, c.want)
			}
			if got := talk(t, address, c.query, c.fields); !slices.Equal(got, c.want) {
				t.Errorf("%q\nwant %q", got, c.want)
			}
		})
	}
}

// talk sends a request with a query and fields, then one without, and tells what comes back, by stream.
func talk(t *testing.T, address, query string, fields []hpack.HeaderField) []string {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	go func() { // the server may hang up in the middle of it
		framer := http2.NewFramer(conn, nil)
		_, _ = io.WriteString(conn, http2.ClientPreface)
		_ = framer.WriteSettings()
		writeRequest(framer, 1, "/?"+query, fields)
		writeRequest(framer, 3, "/", nil)
	}()
	framer := http2.NewFramer(io.Discard, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4<<10, nil)
	said := map[uint32]string{}
	for ended := 0; ended < 2; {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatalf("after %v: %v", said, err)
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			said[f.StreamID] = fmt.Sprintf("%d: %s ", f.StreamID, f.PseudoValue("status"))
		case *http2.DataFrame:
			said[f.StreamID] += string(f.Data())
			if f.StreamEnded() {
				ended++
			}
		case *http2.GoAwayFrame:
			return []string{fmt.Sprintf("away after %d: %v", f.LastStreamID, f.ErrCode)}
		}
	}
	return []string{said[1], said[3]}
}

// writeRequest sends a GET, in as many frames as it takes.
func writeRequest(framer *http2.Framer, id uint32, path string, fields []hpack.HeaderField) {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range append([]hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "a"}, {Name: ":path", Value: path},
	}, fields...) {
		f.Sensitive = true // not put into the table: each counts in full
		_ = encoder.WriteField(f)
	}
	rest := block.Bytes()
	part := func() []byte {
		p := rest[:min(len(rest), 16<<10)]
		rest = rest[len(p):]
		return p
	}
	first := part()
	err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: true, EndHeaders: len(rest) == 0})
	for err == nil && len(rest) > 0 {
		p := part()
		err = framer.WriteContinuation(id, len(rest) == 0, p)
	}
}
