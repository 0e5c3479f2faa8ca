package server

import (
	"context"
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/endpoints/filters/impersonation"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	genericfeatures "k8s.io/apiserver/pkg/features"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
)

// impersonate lets a user act as another, who is named in headers, if the user may: by the verb impersonate on every part of that
// identity, or, constrained, by impersonate:<mode> on it together with impersonate-on:<mode>:<verb> on what is asked for
// (KEP-5284). Everything behind this stage sees the other user only, and none of the headers.
//
// Who may is upstream's filter, which is used as it is: it consists of rules, it remembers which mode worked for whom, and
// requests without such headers do not come near it.
func (s *Server) impersonate(x *exchange) error {
	if !impersonating(x.r.Header) {
		return nil
	}
	s.distrust(x)
	before := x.user
	var allowed *http.Request
	ctx := context.WithValue(x.r.Context(), allowedKey{}, &allowed)
	s.impersonation.ServeHTTP(x.w, x.r.WithContext(ctx))
	if allowed == nil {
		return errAnswered
	}
	x.user, _ = genericrequest.UserFrom(allowed.Context())
	x.r = allowed
	s.log.Debug("impersonation", "user", before.GetName(), "as", x.user.GetName(), "audit-id", x.auditID)
	return nil
}

// impersonating reports whether there is a header that names somebody else.
func impersonating(header http.Header) bool {
	for name := range header {
		if strings.HasPrefix(name, "Impersonate-") {
			return true
		}
	}
	return false
}

// allowedKey is the context key of where the filter leaves a request that it let pass.
type allowedKey struct{}

// newImpersonation returns upstream's filter. What it lets pass is left where the request's context says.
func newImpersonation(o Options) http.Handler {
	allowed := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if place, ok := r.Context().Value(allowedKey{}).(**http.Request); ok {
			*place = r
		}
	})
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	codecs := serializer.NewCodecFactory(scheme) // a Status is all that is written
	if utilfeature.DefaultFeatureGate.Enabled(genericfeatures.ConstrainedImpersonation) {
		return impersonation.WithConstrainedImpersonation(allowed, o.Authorizer, codecs)
	}
	return impersonation.WithImpersonation(allowed, o.Authorizer, codecs)
}
