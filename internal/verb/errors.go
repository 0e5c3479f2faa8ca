package verb

import (
	"context"
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/storage"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store"
)

// interpretStoreError says to a client what an error of the store or the state means. Other errors pass unchanged.
func interpretStoreError(err error, k *kind.Kind, verb string) error {
	var future *state.FutureError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &future):
		return storage.NewTooLargeResourceVersionError(uint64(future.Asked), uint64(future.Current), 1)
	case errors.Is(err, state.ErrExpired), errors.Is(err, store.ErrCompacted):
		return apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
	case errors.Is(err, store.ErrTooLarge):
		return apierrors.NewRequestEntityTooLargeError("etcdserver: request is too large")
	case errors.Is(err, store.ErrNoSpace):
		return insufficientStorage()
	case errors.Is(err, store.ErrUnavailable):
		return apierrors.NewServerTimeout(k.GroupResource(), verb, 2)
	case errors.Is(err, context.DeadlineExceeded):
		return apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0)
	}
	return err
}

// insufficientStorage is the answer to a write while the database is at its quota. Upstream lets etcd's text through as an
// error 500 without a reason; the text is kept, so that what matches on it still does.
func insufficientStorage() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure,
		Code:   http.StatusInternalServerError,
		Reason: metav1.StatusReasonInternalError,
		Message: "etcdserver: mvcc: database space exceeded: writes are refused until space is freed; " +
			"reads and deletes still work",
	}}
}
