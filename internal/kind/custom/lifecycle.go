package custom

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/verb"
)

const (
	// sweepEvery is how long something compiled is kept at least, and at most twice that, after it was used.
	sweepEvery = 2 * time.Minute
	// deletionCheck is how long a deletion waits for objects to go before it says so and begins anew.
	deletionCheck = time.Minute
	// retryAfter is how long after a failure a definition is looked at again.
	retryAfter = time.Second
)

// Name is what an error says of it.
func (r *Registry) Name() string { return "custom resources" }

// Ensure takes in the definitions that there are.
func (r *Registry) Ensure(context.Context) error {
	r.Table()
	return nil
}

// Run looks after definitions until ctx ends.
func (r *Registry) Run(ctx context.Context) {
	ctx = verb.AsServer(ctx)
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	finalizing := newRunning()
	defer finalizing.wait()
	for {
		r.Table()
		for _, name := range r.takeChanged() {
			if d := r.definition(name); d != nil {
				r.attend(ctx, name, d.newest(), finalizing)
			}
		}
		select {
		case <-r.wake:
		case <-r.waitForChange():
		case <-sweep.C:
			r.Sweep()
		case <-ctx.Done():
			return
		}
	}
}

func (r *Registry) takeChanged() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make([]string, 0, len(r.changed))
	for name := range r.changed {
		names = append(names, name)
	}
	clear(r.changed)
	slices.Sort(names)
	return names
}

// waitForChange returns a channel that is closed when the state has something new for the registry.
func (r *Registry) waitForChange() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cursor == nil {
		return nil
	}
	return r.cursor.Wait()
}

// attend does what a definition needs.
func (r *Registry) attend(ctx context.Context, name string, h *head, finalizing *running) {
	switch {
	case h.Metadata.DeletionTimestamp != nil:
		if slices.Contains(h.Metadata.Finalizers, apiextensions.CustomResourceCleanupFinalizer) {
			finalizing.start(name, func() { r.retry(ctx, name, r.finalize(ctx, name)) })
		}
	case !h.settled():
		r.retry(ctx, name, r.settleStored(ctx, name))
	}
}

// retry has Run look at a definition again if something failed.
func (r *Registry) retry(ctx context.Context, name string, err error) {
	if err == nil || ctx.Err() != nil || apierrors.IsNotFound(err) {
		return
	}
	r.log.Warn("cannot settle a custom resource definition", "name", name, "error", err)
	time.AfterFunc(retryAfter, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.look(name)
	})
}

// settleStored gives a stored definition its names and conditions: one that another server has written, or that had to wait for a
// name.
func (r *Registry) settleStored(ctx context.Context, name string) error {
	return r.updateStatus(ctx, name, func(crd *apiextensions.CustomResourceDefinition) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return settle(crd, r.taken(crd.Spec.Group, crd.Name))
	})
}

var errNothing = errors.New("there is nothing to change")

func (r *Registry) updateStatus(ctx context.Context, name string, change func(*apiextensions.CustomResourceDefinition) bool) error {
	_, err := r.options.API.UpdateObject(ctx, r.resource, "status", "", name, &metav1.UpdateOptions{},
		func(obj runtime.Object) (runtime.Object, error) {
			if !change(obj.(*apiextensions.CustomResourceDefinition)) {
				return nil, errNothing
			}
			return obj, nil
		})
	if errors.Is(err, errNothing) {
		return nil
	}
	return err
}

func terminating(status apiextensions.ConditionStatus, reason, message string) apiextensions.CustomResourceDefinitionCondition {
	return apiextensions.CustomResourceDefinitionCondition{
		Type: apiextensions.Terminating, Status: status, Reason: reason, Message: message,
	}
}

// finalize deletes all objects of a definition that is to go, and then lets it go (crd_finalizer.go). A definition that is not to
// go, as one that was made after another of its name has gone, is left alone.
func (r *Registry) finalize(ctx context.Context, name string) error {
	var going types.UID
	err := r.updateStatus(ctx, name, func(crd *apiextensions.CustomResourceDefinition) bool {
		going = ""
		if !awaitsCleanup(crd) {
			return false
		}
		going = crd.UID
		setCondition(crd, terminating(apiextensions.ConditionTrue, "InstanceDeletionInProgress", "CustomResource deletion is in progress"))
		return true
	})
	if err != nil || going == "" {
		return err
	}
	condition, deletionErr := r.deleteInstances(ctx, name)
	err = r.updateStatus(ctx, name, func(crd *apiextensions.CustomResourceDefinition) bool {
		if crd.UID != going || !awaitsCleanup(crd) {
			return false
		}
		setCondition(crd, condition)
		if deletionErr == nil {
			apiextensions.CRDRemoveFinalizer(crd, apiextensions.CustomResourceCleanupFinalizer)
		}
		return true
	})
	if deletionErr != nil {
		return deletionErr
	}
	return err
}

// awaitsCleanup reports whether a definition goes as soon as its objects have gone.
func awaitsCleanup(crd *apiextensions.CustomResourceDefinition) bool {
	return crd.DeletionTimestamp != nil && apiextensions.CRDHasFinalizer(crd, apiextensions.CustomResourceCleanupFinalizer)
}

// deleteInstances deletes the objects and waits until they are gone.
func (r *Registry) deleteInstances(ctx context.Context, name string) (apiextensions.CustomResourceDefinitionCondition, error) {
	d := r.definition(name)
	switch {
	case d == nil || !d.newest().condition("Established") || d.stored == nil:
		return terminating(apiextensions.ConditionFalse, "NeverEstablished", "resource was never established"), nil
	case r.overlaps(d):
		return terminating(apiextensions.ConditionFalse, "OverlappingBuiltInResource", "instances overlap with built-in resources in storage"), nil
	}
	failed := func(reason, format string, err error) (apiextensions.CustomResourceDefinitionCondition, error) {
		return terminating(apiextensions.ConditionTrue, reason, fmt.Sprintf(format, err)), err
	}
	api := *r.options.API
	api.Admission = nil // upstream does not ask it here
	prefix := d.stored.KeyPrefix(api.Root, "")
	snapshot, err := api.State.Consistent(ctx)
	if err != nil {
		return failed("InstanceDeletionFailed", "could not list instances: %v", err)
	}
	var errs []error
	snapshot.Ascend(prefix, "", func(record *state.Record) bool {
		namespace, object, found := strings.Cut(strings.TrimPrefix(record.Key, prefix), "/")
		if !found {
			namespace, object = "", namespace
		}
		_, _, err := api.DeleteObject(ctx, d.stored, namespace, object, &metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
		return ctx.Err() == nil
	})
	if err := utilerrors.NewAggregate(errs); err != nil {
		return failed("InstanceDeletionFailed", "could not issue all deletes: %v", err)
	}
	if err := r.waitUntilGone(ctx, prefix); err != nil {
		return failed("InstanceDeletionCheck", "could not confirm zero CustomResources remaining: %v", err)
	}
	return terminating(apiextensions.ConditionFalse, "InstanceDeletionCompleted", "removed all instances"), nil
}

// waitUntilGone waits until nothing is left below a prefix.
func (r *Registry) waitUntilGone(ctx context.Context, prefix string) error {
	ctx, cancel := context.WithTimeout(ctx, deletionCheck)
	defer cancel()
	s := r.options.API.State
	for {
		snapshot, err := s.Consistent(ctx)
		if err != nil || snapshot.Count(prefix, "") == 0 {
			return err
		}
		cursor, err := s.Watch(state.Filter{Prefix: prefix}, snapshot.Revision())
		if err != nil {
			return err
		}
		_, _, err = cursor.Next(ctx)
		cursor.Close()
		if err != nil {
			return err
		}
	}
}
