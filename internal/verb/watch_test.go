package verb_test

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// listen serves the fixture over HTTP/1.1. The returned function waits until no request is under way.
func (f *fixture) listen(t *testing.T) (url string, idle func()) {
	t.Helper()
	var active sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		active.Add(1)
		defer active.Done()
		f.serve(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, active.Wait
}

// event is a watch event as its client sees it.
type event struct {
	Type   string
	Object metav1.PartialObjectMetadata
}

func parseEvent(t *testing.T, text []byte) event {
	t.Helper()
	var e event
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatalf("%v: %q", err, text)
	}
	return e
}

const watchList = "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=2"

// TestCompressedWatchList: a watch-list is compressed for a client that takes gzip, in one member; each event arrives when it
// happens, not when some buffer is full; other watches are sent as they are.
func TestCompressedWatchList(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	const configMaps = "/api/v1/namespaces/default/configmaps"
	f.must(t, "POST", configMaps, `{"metadata":{"name":"first"},"data":{"k":"`+strings.Repeat("v", 100_000)+`"}}`)
	url, _ := f.listen(t)
	get := func(query string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), "GET", url+configMaps+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", "gzip")
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = response.Body.Close() })
		return response
	}
	response := get(watchList)
	if got := response.Header.Get("Content-Encoding"); got != "gzip" || response.Header.Get("Vary") != "Accept-Encoding" {
		t.Fatalf("Content-Encoding %q, header %v", got, response.Header)
	}
	member, err := gzip.NewReader(bufio.NewReader(response.Body))
	if err != nil {
		t.Fatal(err)
	}
	member.Multistream(false)
	lines := bufio.NewReader(member)
	next := func() event {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		return parseEvent(t, line)
	}
	if e := next(); e.Type != "ADDED" || e.Object.Name != "first" {
		t.Fatalf("got %v", e)
	}
	if e := next(); e.Type != "BOOKMARK" || e.Object.Annotations[metav1.InitialEventsAnnotationKey] != "true" {
		t.Fatalf("got %v", e)
	}
	f.must(t, "POST", configMaps, `{"metadata":{"name":"second"}}`)
	if e := next(); e.Type != "ADDED" || e.Object.Name != "second" { // while the watch goes on
		t.Fatalf("got %v", e)
	}
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 { // checks the sums at the end of the member
		t.Fatalf("then %q, %v", rest, err)
	}
	for _, query := range []string{
		"?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1",
		"?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1",
	} {
		if got := get(query).Header.Get("Content-Encoding"); got != "" {
			t.Errorf("%s: Content-Encoding %q", query, got)
		}
	}
}

func dial(t *testing.T, url, accept string, protocols ...string) *websocket.Conn {
	t.Helper()
	config, err := websocket.NewConfig(strings.Replace(url, "http", "ws", 1), "http://localhost")
	if err != nil {
		t.Fatal(err)
	}
	config.Protocol = protocols
	config.Header.Set("Accept", accept)
	socket, err := websocket.DialConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return socket
}

// TestWatchOverWebSocket: each event is a message, text or binary; the watch ends when its time is over, and when the client
// hangs up.
func TestWatchOverWebSocket(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.MinRequestTimeout = 24 * time.Hour
	const configMaps = "/api/v1/namespaces/default/configmaps"
	f.must(t, "POST", configMaps, `{"metadata":{"name":"first"}}`)
	f.must(t, "POST", configMaps, `{"metadata":{"name":"second"}}`)
	f.catchUp(t)
	url, idle := f.listen(t)

	text := dial(t, url+configMaps+"?watch=1&resourceVersion=0&timeoutSeconds=1", "application/json", "anything")
	for _, name := range []string{"first", "second"} {
		var message string
		if err := websocket.Message.Receive(text, &message); err != nil {
			t.Fatal(err)
		}
		if e := parseEvent(t, []byte(message)); text.PayloadType != websocket.TextFrame || e.Type != "ADDED" || e.Object.Name != name {
			t.Fatalf("got %v in frame type %d, want %s", e, text.PayloadType, name)
		}
	}
	var message []byte
	if err := websocket.Message.Receive(text, &message); err != io.EOF {
		t.Fatalf("at the end: %q, %v", message, err)
	}

	binaryEvents := dial(t, url+configMaps+"?watch=1&resourceVersion=0", acceptProtobuf+";stream=watch")
	if err := websocket.Message.Receive(binaryEvents, &message); err != nil {
		t.Fatal(err)
	}
	var e metav1.WatchEvent
	if err := e.Unmarshal(message); err != nil || e.Type != "ADDED" || !strings.HasPrefix(string(e.Object.Raw), "k8s\x00") {
		t.Fatalf("got %v, %v", e, err)
	}
	if binary.BigEndian.Uint32(message) == uint32(len(message)-4) {
		t.Error("the message begins with its length")
	}
	f.must(t, "POST", configMaps, `{"metadata":{"name":"third"}}`)
	_ = binaryEvents.Close()
	idle() // hangs if the watch does not end
}
