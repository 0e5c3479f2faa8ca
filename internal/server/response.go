package server

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"unicode/utf8"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// response remembers what was answered. It implements warning.Recorder: warnings become headers, as long as those have not
// been sent.
type response struct {
	http.ResponseWriter
	taken *taken
	// answering, unless it is nil, is told the code before the header is sent.
	answering func(code int)
	// server and exchange are those of an answer that may go on after its handler has returned.
	server   *Server
	exchange *exchange
	code     int   // 0 until the header is sent
	bytes    int64 // of the body

	mu       sync.Mutex // guards the following fields: admission plugins may warn from goroutines of their own
	warnings []headerWarning
	runes    int
	cut      bool
}

func (w *response) WriteHeader(code int) {
	if w.code == 0 && (code >= http.StatusOK || code == http.StatusSwitchingProtocols) { // others announce an answer, at most
		w.begin(code)
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *response) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.begin(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// begin notes the code of the answer.
func (w *response) begin(code int) {
	w.code = code
	if w.answering != nil {
		w.answering(code)
	}
}

// Flush sends what is buffered. Upstream's streaming code asks for an http.Flusher, not for a ResponseController.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError fits http.ResponseController.
func (w *response) FlushError() error {
	if direct, ok := w.ResponseWriter.(interface{ FlushError() error }); ok {
		return direct.FlushError()
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack gives the connection away: exec, attach and port-forward speak their own protocols on it. The server still closes it
// when it stops.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffer, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.begin(http.StatusSwitchingProtocols)
	return w.taken.add(conn), buffer, nil
}

// Unwrap lets http.ResponseController reach the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type headerWarning struct{ agent, text string }

// Limits of what warnings may add to a header, in runes (apiserver/pkg/endpoints/filters/warning.go).
const (
	maxWarnings = 4 << 10
	maxWarning  = 256
)

// AddWarning sends a warning, each text once. When they become too many, each is cut short.
func (w *response) AddWarning(agent, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if text == "" || w.code != 0 || (w.cut && w.runes >= maxWarnings) {
		return
	}
	for _, old := range w.warnings {
		if old.text == text {
			return
		}
	}
	added := headerWarning{agent, text}
	w.warnings = append(w.warnings, added)
	if w.cut || w.runes+utf8.RuneCountInString(text) <= maxWarnings {
		w.addHeader(added)
		return
	}
	if _, err := utilnet.NewWarningHeader(299, agent, text); err != nil {
		return // it is not sent, so it is not too much
	}
	w.cut, w.runes = true, 0
	w.Header().Del("Warning")
	for _, one := range w.warnings {
		w.addHeader(one)
	}
}

func (w *response) addHeader(warning headerWarning) {
	text := warning.text
	if w.cut {
		if runes := []rune(text); len(runes) > maxWarning {
			text = string(runes[:maxWarning])
		}
	}
	header, err := utilnet.NewWarningHeader(299, warning.agent, text)
	if err != nil {
		return // not UTF-8, or with control characters: nothing that a header may hold
	}
	w.runes += utf8.RuneCountInString(text)
	w.Header().Add("Warning", header)
}
