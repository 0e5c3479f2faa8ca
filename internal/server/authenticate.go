package server

import (
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/kayak-k8s/kayak/internal/audit"
	"github.com/kayak-k8s/kayak/internal/loopback"
	"github.com/kayak-k8s/kayak/internal/request"
)

// authenticate finds out who is asking, and takes the credentials out of the request. What it was about one that was not accepted
// goes into the log, not to the client. Who is refused here does not come as far as the line that the log has of every request.
func (s *Server) authenticate(x *exchange) error {
	if user, ok := loopback.User(x.r.Context()); ok { // from within this process
		s.asks(x, user)
		return nil
	}
	received := time.Now()
	user, err := s.options.Authenticate(x.r)
	if err != nil {
		s.log.Warn("unable to authenticate the request", "path", x.r.URL.Path, "from", x.r.RemoteAddr, "error", err)
		if s.options.Refuse != nil {
			s.options.Refuse(x.w.Header())
		}
		x.release = append(x.release, func() { s.logRequest(x, "", time.Since(received)) })
		if err := s.auditRefused(x, audit.Attempted(x.r)); err != nil {
			return err
		}
		return request.Unauthorized()
	}
	s.asks(x, user)
	return nil
}

// asks notes whose request it is.
func (s *Server) asks(x *exchange, u user.Info) {
	x.user = u
	x.with(genericrequest.WithUser(x.r.Context(), u))
}
