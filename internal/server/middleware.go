package server

import (
	"context"
	"errors"
	"net/http"
)

// exchangeKey is the context key of a request's exchange, for what a middleware hands on.
type exchangeKey struct{}

// last returns the last stage: the verb, inside the middleware where there is one.
func (s *Server) last() func(*exchange) error {
	if s.options.Middleware == nil {
		return s.verb
	}
	handler := s.options.Middleware(http.HandlerFunc(s.handedOn))
	return func(x *exchange) error {
		handler.ServeHTTP(x.w, x.r.WithContext(context.WithValue(x.r.Context(), exchangeKey{}, x)))
		return errAnswered
	}
}

// handedOn does what a request asks for that has come through the middleware, which may have put something around its writer and
// added to its context.
func (s *Server) handedOn(w http.ResponseWriter, r *http.Request) {
	x, ok := r.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		http.Error(w, "the middleware handed on a request with a context of another", http.StatusInternalServerError)
		return
	}
	if w != x.w {
		x.w = &response{ResponseWriter: w, taken: &s.taken}
	}
	x.r = r
	if err := s.verb(x); err != nil && !errors.Is(err, errAnswered) {
		s.fail(x, err)
	}
}
