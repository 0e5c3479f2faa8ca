package server

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/kayak-k8s/kayak/internal/request"
)

// impersonate lets a user act as another, who is named in headers, if the user has the verb impersonate on every part of that
// identity (apiserver/pkg/endpoints/filters/impersonation). Everything behind this stage sees the other user only.
func (s *Server) impersonate(x *exchange) error {
	wanted, err := impersonated(x.r.Header)
	if err != nil || wanted == nil {
		return err
	}
	for _, attributes := range wanted.permissions() {
		attributes.User = x.user
		attributes.Verb = "impersonate"
		attributes.ResourceRequest = true
		decision, reason, err := s.options.Authorizer.Authorize(x.r.Context(), attributes)
		if err != nil || decision != authorizer.DecisionAllow {
			return request.Forbidden(attributes, reason)
		}
	}
	wanted.complete()
	s.log.Debug("impersonation", "user", x.user.GetName(), "as", wanted.Name, "audit-id", x.auditID)
	x.user = &wanted.DefaultInfo
	for name := range x.r.Header {
		if strings.HasPrefix(name, "Impersonate-") {
			x.r.Header.Del(name)
		}
	}
	x.r = x.r.WithContext(genericrequest.WithUser(x.r.Context(), x.user))
	return nil
}

// impersonation is the user that headers name.
type impersonation struct{ user.DefaultInfo }

// impersonated reads the headers; nil when there are none.
func impersonated(header http.Header) (*impersonation, error) {
	wanted := &impersonation{}
	wanted.Name = header.Get(authenticationv1.ImpersonateUserHeader)
	wanted.UID = header.Get(authenticationv1.ImpersonateUIDHeader)
	wanted.Groups = slices.Clone(header[authenticationv1.ImpersonateGroupHeader])
	for name, values := range header {
		if key, ok := strings.CutPrefix(strings.ToLower(name), strings.ToLower(authenticationv1.ImpersonateUserExtraHeaderPrefix)); ok {
			if unescaped, err := url.PathUnescape(key); err == nil {
				key = unescaped
			}
			if wanted.Extra == nil {
				wanted.Extra = map[string][]string{}
			}
			wanted.Extra[key] = append(wanted.Extra[key], values...)
		}
	}
	if wanted.Name != "" {
		return wanted, nil
	}
	if wanted.UID != "" || len(wanted.Groups) > 0 || len(wanted.Extra) > 0 {
		return nil, apierrors.NewInternalError(errImpersonateWithoutUser)
	}
	return nil, nil
}

var errImpersonateWithoutUser = plainError{http.StatusInternalServerError, "requested groups, uid or extra without impersonating a user"}

// permissions are what the impersonating user must be allowed.
func (i *impersonation) permissions() []authorizer.AttributesRecord {
	var list []authorizer.AttributesRecord
	if namespace, name, err := serviceaccount.SplitUsername(i.Name); err == nil {
		list = append(list, authorizer.AttributesRecord{APIVersion: "v1", Resource: "serviceaccounts", Namespace: namespace, Name: name})
	} else {
		list = append(list, authorizer.AttributesRecord{APIVersion: "v1", Resource: "users", Name: i.Name})
	}
	for _, group := range i.Groups {
		list = append(list, authorizer.AttributesRecord{APIVersion: "v1", Resource: "groups", Name: group})
	}
	for key, values := range i.Extra {
		for _, value := range values {
			list = append(list, authorizer.AttributesRecord{
				APIGroup: authenticationv1.GroupName, APIVersion: "v1", Resource: "userextras", Subresource: key, Name: value,
			})
		}
	}
	if i.UID != "" {
		list = append(list, authorizer.AttributesRecord{
			APIGroup: authenticationv1.GroupName, APIVersion: "v1", Resource: "uids", Name: i.UID,
		})
	}
	return list
}

// complete adds the groups that follow from the name.
func (i *impersonation) complete() {
	if namespace, _, err := serviceaccount.SplitUsername(i.Name); err == nil && len(i.Groups) == 0 {
		i.Groups = serviceaccount.MakeGroupNames(namespace)
	}
	group := user.AllAuthenticated
	if i.Name == user.Anonymous {
		group = user.AllUnauthenticated
	}
	if !slices.Contains(i.Groups, group) && !(i.Name == user.Anonymous && len(i.Groups) > 0) {
		i.Groups = append(i.Groups, group)
	}
}
