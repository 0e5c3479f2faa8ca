package connect

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
)

// authorizeCreate asks whether the user may create what the request names, unless it was authorized as that already.
// WebSocket clients can only send GET, and who may get must not thereby be able to execute
// (pkg/registry/core/pod/rest/authorize.go).
func (c *Connections) authorizeCreate(ctx context.Context) error {
	info, ok := genericrequest.RequestInfoFrom(ctx)
	if !ok {
		return apierrors.NewInternalError(errors.New("no request info in context"))
	}
	if info.Verb == "create" {
		return nil
	}
	user, _ := genericrequest.UserFrom(ctx)
	decision, reason, err := c.options.Authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: user, Verb: "create", ResourceRequest: true, Path: info.Path,
		APIGroup: info.APIGroup, APIVersion: info.APIVersion, Resource: info.Resource, Subresource: info.Subresource,
		Namespace: info.Namespace, Name: info.Name,
	})
	switch {
	case err != nil:
		return err
	case decision != authorizer.DecisionAllow:
		resource := schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}
		return apierrors.NewForbidden(resource, info.Name, errors.New(reason))
	}
	return nil
}
