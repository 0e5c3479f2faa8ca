package verb

import (
	"context"
	"net/http"
	"runtime/debug"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/kayak-k8s/kayak/internal/state"
)

// deleteCollection deletes what a list with the same options shows, object by object, and answers with that list. It is not
// atomic: after an error some objects are gone and others are not.
func (a *API) deleteCollection(ctx context.Context, c *Call) error {
	out, err := c.negotiate(false)
	if err != nil {
		return err
	}
	listOptions, err := c.listOptions()
	if err != nil {
		return err
	}
	if revision := listOptions.ResourceVersion; revision != "" && revision != "0" && listOptions.ResourceVersionMatch == "" {
		listOptions.ResourceVersionMatch = metav1.ResourceVersionMatchExact // upstream reads pages, which are of that revision
	}
	options, err := c.deleteOptions(ctx)
	if err != nil {
		return err
	}
	if err := refuseUnsafe(options); err != nil {
		return err
	}
	if err := c.beforeDelete(ctx, options); err != nil {
		return err
	}
	page, err := a.page(ctx, c, listOptions)
	if err != nil {
		return err
	}
	if err := a.deleteAll(ctx, c, page.records(), options); err != nil {
		return storeError(err, c)
	}
	list, err := page.objects(c) // as they were before
	if err != nil {
		return err
	}
	return a.respond(ctx, c, out, http.StatusOK, list)
}

// deleteAll deletes with a few workers, and stops at the first error.
func (a *API) deleteAll(ctx context.Context, c *Call, records []*state.Record, options *metav1.DeleteOptions) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	next := make(chan *state.Record)
	for range max(a.DeleteCollectionWorkers, 1) {
		wg.Go(func() {
			for record := range next {
				if err := a.deleteSafely(ctx, c, record, options); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
feed:
	for _, record := range records {
		select {
		case next <- record:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

// deleteSafely turns a panic into an error: in a goroutine of its own it would end the process, not just the request.
func (a *API) deleteSafely(ctx context.Context, c *Call, record *state.Record, options *metav1.DeleteOptions) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = internalError("DeleteCollection goroutine panicked: %v\n%s", cause, debug.Stack())
		}
	}()
	return a.deleteRecord(ctx, c, record, options)
}

func (a *API) deleteRecord(ctx context.Context, c *Call, record *state.Record, options *metav1.DeleteOptions) error {
	namespace, name := splitKey(record.Key)
	one := *c
	info := *c.Info
	info.Name = name
	if c.Resource.Namespaced {
		info.Namespace = namespace
		ctx = genericrequest.WithNamespace(ctx, namespace)
	}
	one.Info = &info
	// Each object gets options of its own: strategies write their decisions into them.
	_, _, err := a.deleteObject(ctx, &one, name, options.DeepCopy())
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
