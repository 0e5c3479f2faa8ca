package server

import (
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"
)

// seats bounds how many requests are served at a time. The zero value bounds nothing.
type seats chan struct{}

func newSeats(n int) seats {
	if n <= 0 {
		return nil
	}
	return make(seats, n)
}

// take takes a seat if one is free.
func (s seats) take() bool {
	if s == nil {
		return true
	}
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s seats) leave() {
	if s != nil {
		<-s
	}
}

// flowControl refuses a request when too many of its sort are being served (apiserver/pkg/server/filters/maxinflight.go).
// Long-running requests are not counted, and administrators always get through.
func (s *Server) flowControl(x *exchange) error {
	m := s.options.Metrics
	if longRunning(x.info) {
		gauge := m.longRun.WithLabelValues(s.labels(x).values()...)
		gauge.Inc()
		x.release = append(x.release, gauge.Dec)
		return nil
	}
	pool, gauge := s.mutating, m.mutating
	switch x.info.Verb {
	case "get", "list", "watch", "head", "options":
		pool, gauge = s.readOnly, m.readOnly
	}
	if pool.take() {
		x.release = append(x.release, pool.leave)
	} else if !slices.Contains(x.user.GetGroups(), user.SystemPrivilegedGroup) {
		return apierrors.NewTooManyRequests("Too many requests, please try again later.", 1)
	}
	gauge.Inc()
	x.release = append(x.release, gauge.Dec)
	return nil
}
