package server

import (
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/kayak-k8s/kayak/internal/request"
)

// authorize asks whether the user may do what the request asks for. An error of an authorizer that allows does not matter.
func (s *Server) authorize(x *exchange) error {
	attributes := x.attributes()
	ctx := x.r.Context()
	if x.event != nil {
		began := time.Now()
		defer func() { genericrequest.TrackAuthorizationLatency(ctx, time.Since(began)) }()
	}
	decision, reason, err := s.options.Authorizer.Authorize(ctx, attributes)
	switch {
	case decision == authorizer.DecisionAllow:
		audit.AddAuditAnnotations(ctx, decisionAnnotation, "allow", reasonAnnotation, reason)
		return nil
	case err != nil:
		audit.AddAuditAnnotation(ctx, reasonAnnotation, "internal error")
		return apierrors.NewInternalError(err)
	}
	audit.AddAuditAnnotations(ctx, decisionAnnotation, "forbid", reasonAnnotation, reason)
	s.log.Debug("Forbidden", "URI", x.r.URL.RequestURI(), "reason", reason, "audit-ID", x.auditID)
	return request.Forbidden(attributes, reason)
}

// The annotations of audit events that tell of the decision (apiserver/pkg/endpoints/filters/authorization.go).
const (
	decisionAnnotation = "authorization.k8s.io/decision"
	reasonAnnotation   = "authorization.k8s.io/reason"
)

func (x *exchange) attributes() *authorizer.AttributesRecord {
	info, a := x.info, x.request()
	if info.FieldSelector != "" {
		selector, err := fields.ParseSelector(info.FieldSelector)
		if a.FieldSelectorParsingErr = err; err == nil {
			a.FieldSelectorRequirements = selector.Requirements()
		}
	}
	if info.LabelSelector != "" {
		selector, err := labels.Parse(info.LabelSelector)
		if a.LabelSelectorParsingErr = err; err == nil {
			a.LabelSelectorRequirements, _ = selector.Requirements()
		}
	}
	return a
}
