package etcdkv

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kayak-k8s/kayak/internal/store"
)

// Error turns what etcd or its client returned into an error of package store; nil stays nil and an error of package store
// stays what it is.
//
// Everything that is not known to be something else becomes store.ErrUnavailable, which promises least: that the write may
// or may not have happened.
func Error(ctx context.Context, err error) error {
	var conflict *store.Conflict
	switch {
	case err == nil, errors.As(err, &conflict), isStoreError(err):
		return err
	}
	switch known := rpctypes.Error(err); {
	case errors.Is(known, rpctypes.ErrCompacted):
		return store.ErrCompacted
	case errors.Is(known, rpctypes.ErrFutureRev):
		return store.ErrFutureRevision
	case errors.Is(known, rpctypes.ErrNoSpace):
		return store.ErrNoSpace
	case errors.Is(known, rpctypes.ErrRequestTooLarge), isMessageTooLarge(err):
		return store.ErrTooLarge
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %s", store.ErrUnavailable, rpctypes.ErrorDesc(err))
}

func isStoreError(err error) bool {
	for _, known := range []error{
		store.ErrNotFound, store.ErrCompacted, store.ErrFutureRevision, store.ErrNoSpace, store.ErrTooLarge, store.ErrUnavailable,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// isMessageTooLarge recognizes gRPC's own refusals, by the client before sending and by the server before decoding. They
// share a code with other errors, so only the text tells them apart.
func isMessageTooLarge(err error) bool {
	s, ok := status.FromError(err)
	if !ok || s.Code() != codes.ResourceExhausted {
		return false
	}
	return strings.Contains(s.Message(), "message larger than max")
}
