package request

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Status returns the Status that tells a client of err: the one that err carries, or else an internal error with its text
// (apiserver/pkg/endpoints/handlers/responsewriters/status.go).
func Status(err error) *metav1.Status {
	var carrier apierrors.APIStatus
	if !errors.As(err, &carrier) {
		return &metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
			Status:   metav1.StatusFailure,
			Code:     http.StatusInternalServerError,
			Reason:   metav1.StatusReasonUnknown,
			Message:  err.Error(),
		}
	}
	status := carrier.Status()
	if status.Status == "" {
		status.Status = metav1.StatusFailure
	}
	if status.Code == 0 {
		status.Code = http.StatusInternalServerError
		if status.Status == metav1.StatusSuccess {
			status.Code = http.StatusOK
		}
	}
	status.Kind, status.APIVersion = "Status", "v1"
	return &status
}

// NotAcceptable is the error of an Accept header that names no type the server can answer with (406).
func NotAcceptable(accepted []string) error {
	return plain(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
		"only the following media types are accepted: "+strings.Join(accepted, ", "))
}

// NotAcceptableBecause is a 406 with a text of its own.
func NotAcceptableBecause(message string) error {
	return plain(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable, message)
}

// UnsupportedMediaType is the error of a body in a type the server can't read (415).
func UnsupportedMediaType(accepted []string) error {
	return plain(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType,
		"the body of the request was in an unknown format - accepted media types include: "+strings.Join(accepted, ", "))
}

// NoRoute is the error of a request whose headers fit nothing that is served at its path (406, 415): upstream's router says so,
// in its own words, before a handler looks at the request (go-restful's detectRoute, apiserver/pkg/server/handler.go).
func NoRoute(code int, message string) error {
	return apierrors.NewGenericServerResponse(code, "", schema.GroupResource{}, "", message, 0, false)
}

// UnknownResource is the error of a path below a served group version that names nothing there (404).
func UnknownResource() error {
	return apierrors.NewGenericServerResponse(http.StatusNotFound, "", schema.GroupResource{}, "", "", 0, false)
}

// MethodNotAllowed is the error of a method that a resource does not have (405).
func MethodNotAllowed() error {
	return apierrors.NewGenericServerResponse(http.StatusMethodNotAllowed, "", schema.GroupResource{}, "", "", 0, false)
}

func plain(code int32, reason metav1.StatusReason, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message,
	}}
}

// Unauthorized is the error of a request whose credentials are not accepted (401).
func Unauthorized() error { return apierrors.NewUnauthorized("Unauthorized") }

var forbiddenSanitizer = strings.NewReplacer(`&`, "&amp;", `<`, "&lt;", `>`, "&gt;")

// Forbidden is the error of a request that its user may not make (403), with the authorizer's reason where it gave one. The
// texts are those of apiserver/pkg/endpoints/handlers/responsewriters/errors.go; programs match on them.
func Forbidden(a authorizer.Attributes, reason string) error {
	message := forbiddenSanitizer.Replace(forbiddenMessage(a))
	if reason != "" {
		message += ": " + reason
	}
	gr := schema.GroupResource{Group: a.GetAPIGroup(), Resource: a.GetResource()}
	return apierrors.NewForbidden(gr, a.GetName(), errors.New(message))
}

func forbiddenMessage(a authorizer.Attributes) string {
	name := ""
	if a.GetUser() != nil {
		name = a.GetUser().GetName()
	}
	if !a.IsResourceRequest() {
		return fmt.Sprintf("User %q cannot %s path %q", name, a.GetVerb(), a.GetPath())
	}
	resource := a.GetResource()
	if sub := a.GetSubresource(); sub != "" {
		resource += "/" + sub
	}
	where := "at the cluster scope"
	if ns := a.GetNamespace(); ns != "" {
		where = fmt.Sprintf("in the namespace %q", ns)
	}
	return fmt.Sprintf("User %q cannot %s resource %q in API group %q %s", name, a.GetVerb(), resource, a.GetAPIGroup(), where)
}
