// Package h2 serves HTTP/2 (RFC 9113) on the TLS connections of a net/http server, in place of net/http's own implementation.
//
// It is there for connections with many streams that all have something to say at once: the watches of a controller, which
// share a connection and hear of the same change. net/http hands each frame from the handler's goroutine to the connection's, and
// from there to a TLS record and a system call of its own. Here a handler frames what it writes into the connection's buffer
// by itself, under the connection's lock, and whoever flushes writes all that is there: the frames of many streams in records
// of 16 KiB and few system calls. There is no goroutine for writing.
//
// Frames are read, and headers coded, by golang.org/x/net/http2's Framer and hpack, which check what is malformed by itself.
// What is left is here: the states of streams, flow control both ways, settings, limits, the end.
//
// # Use
//
//	server := &http.Server{Handler: handler, ...}
//	h2.Configure(server, h2.Options{})                       // takes over ALPN protocol "h2"
//	server.ServeTLS(h2.Listener{Listener: listener}, "", "")  // the listener lets records be gathered
//
// What handlers may rely on is what net/http's HTTP/2 server gives them: ResponseWriters flush, take deadlines through
// http.ResponseController, send trailers and informational responses; "Connection: close" in an answer closes the connection
// gracefully; a panic resets the stream. There is no server push, no extended CONNECT and no priority. Besides, an answer can go on
// after its handler has returned, in steps, so that a stream that waits takes no goroutine (detached.go).
//
// # One connection
//
//	conn.go      the connection: what is read, frame by frame; settings; the end
//	headers.go   a header block becomes a request
//	stream.go    the life of a stream
//	body.go      the body of a request, and the flow control of what is received
//	output.go    what is on its way to the client, and the flow control of what is sent
//	response.go  http.ResponseWriter
//	detached.go  answers that go on without their handlers
//	fields.go    the header of a response becomes a header block
//	socket.go    what is below TLS: gathers records, writes without waiting
//
// Ownership: one goroutine reads. All that it shares with handlers is guarded by conn.mu, which nobody holds while they wait
// for the network. Writes to the socket do not wait; when it is full, a goroutine is started that waits for it, so no handler is
// held up by a client that does not read but in its own Write, which its deadline ends.
//
// # Limits
//
// A client has MaxConcurrentStreams streams; handlers of streams that it has reset count as long as they run, and what waits for
// them is bounded, after which the connection ends with ENHANCE_YOUR_CALM (CVE-2023-44487, CVE-2025-8671). A header block has
// MaxHeaderBytes, continuations included (CVE-2023-45288, by the Framer). Answers to pings and settings that a client does not
// read are bounded (CVE-2019-9512, CVE-2019-9515). What is received and not read is bounded by the windows, what is sent and not
// read by a quarter MiB before and one after TLS for each connection.
package h2
