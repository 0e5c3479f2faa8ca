package server

import (
	"net/http"

	"github.com/kayak-k8s/kayak/internal/h2"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// detachable is what internal/h2 has to offer to an answer that goes on without its handler.
type detachable interface {
	http.ResponseWriter
	Detach(step func(mayWait bool) h2.Next) (wake func())
	TryWrite(head, body []byte, tail string) (bool, error)
}

// Detach fits verb.Detacher. The exchange is over when the last step is.
func (w *response) Detach(step func(mayWait bool) verb.Next) (wake func(), ok bool) {
	below, ok := w.ResponseWriter.(detachable)
	if !ok || w.exchange == nil {
		return nil, false
	}
	return below.Detach(w.server.detach(w.exchange, step)), true
}

// TryWrite fits verb.Detacher. It is called after Detach only.
func (w *response) TryWrite(head, body []byte, tail string) (bool, error) {
	done, err := w.ResponseWriter.(detachable).TryWrite(head, body, tail)
	if done {
		w.bytes += int64(len(head) + len(body) + len(tail))
	}
	return done, err
}

// detach lets an exchange go on in steps, with all that is around a handler around each of them.
func (s *Server) detach(x *exchange, step func(mayWait bool) verb.Next) func(mayWait bool) h2.Next {
	x.goesOn = true
	x.query = nil // it may go on for long
	return func(mayWait bool) (next h2.Next) {
		defer s.settle(x)
		next = nextStep(step(mayWait))
		x.goesOn = next != h2.End
		return next
	}
}

func nextStep(next verb.Next) h2.Next {
	switch next {
	case verb.Wait:
		return h2.Wait
	case verb.Block:
		return h2.Block
	}
	return h2.End
}
