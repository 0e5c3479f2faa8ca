package kayak

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// ensure lets the controllers make what is missing: the namespaces at first, then everything that is about roles beside the rest,
// because a start is mostly waiting for writes.
func (p *parts) ensure(ctx context.Context) error {
	if err := p.ensureAll(ctx, p.controllers[:1]); err != nil {
		return err
	}
	policy := make(chan error, 1)
	go func() { policy <- p.ensureAll(ctx, p.policy) }()
	err := p.ensureAll(ctx, p.controllers[1:])
	return errors.Join(err, <-policy)
}

func (p *parts) ensureAll(ctx context.Context, list []controller) error {
	for _, c := range list {
		err := c.Ensure(ctx)
		switch {
		case refused(err):
			p.refusals.add(c, err)
		case err != nil:
			return fmt.Errorf("cannot set up the %s: %w", c.Name(), err)
		}
	}
	return nil
}

// refusals are the controllers whose writes admission has refused. That does not end the start: a stored policy, or a webhook that does
// not answer, could never be mended by then. It is tried again while the server runs.
//
// Ownership: mu guards list until the start is over; then it is run's.
type refusals struct {
	log  *slog.Logger
	mu   sync.Mutex
	list []controller
}

func (r *refusals) add(c controller, err error) {
	r.log.Warn("admission refuses what the server needs; it will be tried again", "what", c.Name(), "error", err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, c)
}

// refusedAtFirst and refusedAtLast are the pauses between tries.
const refusedAtFirst, refusedAtLast = time.Second, time.Minute

// run tries again until nothing is refused, or ctx ends.
func (r *refusals) run(ctx context.Context) {
	for pause := refusedAtFirst; len(r.list) > 0; pause = min(2*pause, refusedAtLast) {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		var left []controller
		for _, c := range r.list {
			if err := c.Ensure(ctx); err != nil && ctx.Err() == nil {
				r.log.Debug("still refused", "what", c.Name(), "error", err)
				left = append(left, c)
			}
		}
		r.list = left
	}
}

// refused reports whether an error is no more than what policies and webhooks make of writes.
func refused(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // what errors.Join returns
		for _, one := range joined.Unwrap() {
			if !refused(one) {
				return false
			}
		}
		return true
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	switch status.Status().Code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return true
	}
	return strings.Contains(status.Status().Message, "webhook")
}
