package verb

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/storage"
	utilfeature "k8s.io/apiserver/pkg/util/feature"

	"github.com/kayak-k8s/kayak/internal/store"
)

// An object whose stored bytes cannot be read any more stands in the way of everything: of lists, of its namespace's end, and
// of its own deletion, which has to look at it. The option ignoreStoreReadErrorWithClusterBreakingPotential removes such an
// object unseen: no preconditions, no finalizers, no admission (KEP-3926; feature gate AllowUnsafeMalformedObjectDeletion).

// undecodable is the error of stored bytes that cannot be read, in upstream's words (apiserver/pkg/storage/etcd3,
// corruptObjectError).
type undecodable struct {
	revision int64
	err      error
}

func (e *undecodable) Error() string {
	return fmt.Sprintf("object not decodable revision=%d: %v", e.revision, e.err)
}

func (e *undecodable) Unwrap() error { return e.err }

// corrupt words the error of a read or delete of something undecodable as upstream does. Other errors pass unchanged.
func (a *API) corrupt(err error, key string) error {
	var unread *undecodable
	if !errors.As(err, &unread) {
		return err
	}
	return apierrors.NewInternalError(storage.NewCorruptObjError("/"+strings.TrimPrefix(key, a.Root), unread))
}

const unsafeDeleteOption = "ignoreStoreReadErrorWithClusterBreakingPotential"

// wantsUnsafe reports whether the options ask for an unsafe delete, and there is such a thing.
func wantsUnsafe(options *metav1.DeleteOptions) bool {
	ignore := options.IgnoreStoreReadErrorWithClusterBreakingPotential
	return ignore != nil && *ignore && utilfeature.DefaultFeatureGate.Enabled(features.AllowUnsafeMalformedObjectDeletion)
}

// refuseUnsafe is the answer to a deletecollection that wants to be unsafe.
func refuseUnsafe(options *metav1.DeleteOptions) error {
	if !wantsUnsafe(options) {
		return nil
	}
	return invalidOptions("DeleteOptions", field.ErrorList{field.Invalid(field.NewPath(unsafeDeleteOption), true,
		"is not allowed with DELETECOLLECTION, try again after removing the option")})
}

// unsafeDelete removes an object that cannot be read, and nothing else. It needs a permission of its own, besides the one to
// delete.
func (a *API) unsafeDelete(ctx context.Context, c *Call, options *metav1.DeleteOptions) (*metav1.Status, error) {
	audit.AddAuditAnnotation(ctx, "apiserver.k8s.io/unsafe-delete-ignore-read-error", "")
	if c.Resource.NoUnsafeDelete {
		return nil, internalError("no unsafe deleter provided, can not honor %s", unsafeDeleteOption)
	}
	if err := a.authorizeUnsafeDelete(ctx, c, options); err != nil {
		return nil, err
	}
	if err := a.removeUnread(ctx, c, isDryRun(options.DryRun)); err != nil {
		return nil, storeError(err, c)
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusOK, Details: &metav1.StatusDetails{
		Name: c.Info.Name, Kind: c.Resource.Name,
	}}, nil
}

// removeUnread removes what is stored if it still cannot be read when it goes.
func (a *API) removeUnread(ctx context.Context, c *Call, dryRun bool) error {
	key := c.key(a.Root)
	for {
		cur, err := a.reload(ctx, key) // never what the state has: the decision must be made on what is really there
		if err != nil {
			return err
		}
		if cur.revision == 0 {
			return c.notFound()
		}
		if _, err := cur.object(c.Resource.Kind); err == nil {
			return apierrors.NewConflict(c.Resource.GroupResource(), c.Info.Name, storage.NewInvalidObjError(key,
				"unsafe deletion is not allowed because the object is decodable from storage"))
		}
		if dryRun {
			return nil
		}
		_, err = a.Store.Delete(ctx, key, cur.revision)
		var conflict *store.Conflict
		if !errors.As(err, &conflict) {
			return err
		}
	}
}

func (a *API) authorizeUnsafeDelete(ctx context.Context, c *Call, options *metav1.DeleteOptions) error {
	const permission = "unsafe-delete-ignore-read-errors"
	described := c.attributes(ctx, nil, nil, c.Info.Name, admission.Delete, options, isDryRun(options.DryRun))
	attributes := authorizer.AttributesRecord{
		User: described.GetUserInfo(), Verb: permission, ResourceRequest: true,
		Namespace: c.Info.Namespace, Name: c.Info.Name,
		APIGroup: c.Resource.Version.Group, APIVersion: c.Resource.Version.Version, Resource: c.Resource.Kind.Resource,
	}
	decision, reason, err := a.Authorizer.Authorize(ctx, attributes)
	switch {
	case err != nil:
		return admission.NewForbidden(described, fmt.Errorf("error while checking permission for %q, %w", permission, err))
	case decision == authorizer.DecisionAllow:
		return nil
	}
	return admission.NewForbidden(described, fmt.Errorf("not permitted to do %q, reason: %s", permission, reason))
}
