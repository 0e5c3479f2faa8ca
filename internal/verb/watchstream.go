package verb

import (
	"context"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/websocket"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/kayak-k8s/kayak/internal/wire"
)

// eventStream is how the events of a watch reach its client. It belongs to one goroutine.
type eventStream interface {
	// write sends whole events, and does not keep them back. An error means that the client is gone.
	write(events []byte) error
	// close ends the stream in its own way; it does not close the connection.
	close()
}

// plainStream is the body of an answer.
type plainStream struct {
	w     http.ResponseWriter
	flush func() error
}

func newPlainStream(w http.ResponseWriter) plainStream {
	return plainStream{w, http.NewResponseController(w).Flush}
}

func (s plainStream) write(events []byte) error {
	if _, err := s.w.Write(events); err != nil {
		return err
	}
	return s.flush()
}

func (plainStream) close() {}

// gzipStream is the body of an answer, compressed. It is one gzip member (upstream begins one with each flush) whose parts end at
// byte boundaries, so a client can decompress what has arrived. Nothing is kept between parts: no window, no buffers.
type gzipStream struct {
	plain plainStream
	gzip  *wire.Gzip
}

func (s *gzipStream) write(events []byte) error {
	if s.gzip == nil {
		s.gzip = wire.NewGzip(s.plain.w)
	}
	if err := s.gzip.Plain(events); err != nil {
		return err
	}
	return s.plain.flush()
}

// close ends the member, if it was begun: a stream without an event has no body, as upstream.
func (s *gzipStream) close() {
	if s.gzip != nil {
		_ = s.gzip.Close() // to a client that may be gone
	}
}

// socketStream sends each event as a message of a WebSocket: text, or binary for protobuf, which does without the frame's length.
type socketStream struct {
	socket *websocket.Conn
	binary bool
}

// frameLength is the size of the length before an event in protobuf.
const frameLength = 4

func (s socketStream) write(event []byte) error {
	if s.binary {
		return websocket.Message.Send(s.socket, event[frameLength:])
	}
	return websocket.Message.Send(s.socket, string(event))
}

func (socketStream) close() {} // the handshake's caller closes the socket

// compressed reports whether the stream is compressed: that of a watch-list whose client takes gzip (upstream's gate
// WatchListCompression).
func compressed(out wire.Output, options *metainternalversion.ListOptions) bool {
	return out.Gzip && options.SendInitialEvents != nil && *options.SendInitialEvents && options.AllowWatchBookmarks
}

// contentType is the media type of the stream.
func (w *watcher) contentType() string {
	if w.out.Media == wire.Protobuf {
		return w.out.Media.String() + ";stream=watch"
	}
	return w.out.Media.String()
}

// begin sends the header, so that the client knows that its watch stands.
func (w *watcher) begin(gzip bool) {
	plain := newPlainStream(w.call.Writer)
	header := w.call.Writer.Header()
	header.Set("Content-Type", w.contentType())
	w.stream = plain
	if gzip {
		wire.SetGzip(header)
		w.stream = &gzipStream{plain: plain}
	}
	w.call.Writer.WriteHeader(http.StatusOK)
	_ = plain.flush() // a client that is gone is noticed soon enough
}

// serve runs the watch on a stream of its own choice: a WebSocket when the client asks to upgrade to one, the body otherwise.
// events runs until the watch ends.
func (w *watcher) serve(ctx context.Context, options *metainternalversion.ListOptions, events func(context.Context)) {
	defer func() {
		if w.detached == nil {
			w.end()
		}
	}()
	if wsstream.IsWebSocketRequest(w.call.Request) {
		w.serveSocket(ctx, events)
		return
	}
	w.unbound = boundWritesUntil(w.deadline, w.call.Writer)
	w.begin(compressed(w.out, options))
	events(ctx)
}

// end lets go of what the watch has.
func (w *watcher) end() {
	if w.cursor != nil {
		w.cursor.Close()
	}
	if w.stream != nil {
		w.stream.close()
	}
	if w.unbound != nil {
		w.unbound()
	}
}

// serveSocket shakes hands, which may fail and then has been answered, and sends events until one side hangs up. What the client
// sends is ignored.
func (w *watcher) serveSocket(ctx context.Context, events func(context.Context)) {
	w.call.Writer.Header().Set("Content-Type", w.contentType())
	handler := websocket.Handler(func(socket *websocket.Conn) {
		defer socket.Close()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		_ = socket.SetWriteDeadline(w.deadline.Add(writeGrace))
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			defer cancel()
			wsstream.IgnoreReceives(socket, 0)
		}()
		w.stream, w.single = socketStream{socket: socket, binary: w.out.Media == wire.Protobuf}, true
		events(ctx)
		_ = socket.SetReadDeadline(time.Now()) // so that nobody reads any more
		<-gone
	})
	handler.ServeHTTP(w.call.Writer, w.call.Request)
}

// eventBuffers are for events on their way to a stream: a watch has one only while it has something to send.
var eventBuffers = sync.Pool{New: func() any { return new([]byte) }}

// keptBuffer is the size above which a buffer is not used again.
const keptBuffer = 4 * flushBytes

// grow returns the buffer to append an event to.
func (w *watcher) grow() []byte {
	if w.buffer == nil {
		w.buffer = eventBuffers.Get().(*[]byte)
	}
	return *w.buffer
}

// grown takes the buffer back, with one event more in it.
func (w *watcher) grown(b []byte) error {
	*w.buffer = b
	if trying := w.detached != nil && w.detached.trying; w.single || len(b) >= flushBytes && !trying {
		return w.flush()
	}
	return nil
}

// flush sends what is in the buffer. In a step that may not wait it may fail with errBusy, and then has sent nothing.
func (w *watcher) flush() error {
	if w.buffer == nil {
		return nil
	}
	b := w.buffer
	var err error
	if d := w.detached; d != nil && d.trying {
		var done bool
		if done, err = d.to.TryWrite(*b, nil, ""); !done && err == nil {
			return errBusy
		}
	} else {
		err = w.stream.write(*b)
	}
	w.buffer = nil
	if cap(*b) <= keptBuffer {
		*b = (*b)[:0]
		eventBuffers.Put(b)
	}
	return err
}
