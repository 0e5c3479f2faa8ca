package actions

import (
	"context"
	"errors"
	"fmt"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/audit"
	apiserviceaccount "k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/token/jwt"
	genericfeatures "k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/registry/rest"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/kubernetes/pkg/apis/authentication"
	"k8s.io/kubernetes/pkg/apis/authentication/validation"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/serviceaccount"
)

// TokenOptions say how tokens for service accounts are made.
type TokenOptions struct {
	// Generator signs them: serviceaccount.JWTTokenGenerator(issuer, key). Its errors are answered with 500.
	Generator serviceaccount.TokenGenerator
	// Audiences are those of this server: a token that is asked for without any is for them.
	Audiences []string
	// MaxExpiration shortens, with a warning, what is asked for; 0 for no limit (--service-account-max-token-expiration).
	MaxExpiration time.Duration
	// ExtendExpiration lets tokens as the ServiceAccount admission plugin orders them for pods live for MaxExtendedExpiration,
	// for clients that do not read theirs again (--service-account-extend-token-expiration). 0 means upstream's: a year.
	ExtendExpiration      bool
	MaxExtendedExpiration time.Duration
}

// token is serviceaccounts/token (kubernetes/pkg/registry/core/serviceaccount/storage/token.go). Tokens that are bound to the
// configuration of a webhook (the alpha feature APIServerWebhookAuthenticationToken) are refused as upstream refuses them
// by default.
type token struct {
	objects
	TokenOptions
	own sets.Set[string] // Audiences
}

var (
	_ rest.NamedCreater                   = (*token)(nil)
	_ rest.SubresourceObjectMetaPreserver = (*token)(nil)
)

var tokenKind = authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")

func newToken(objects objects, options TokenOptions) *token {
	if options.MaxExtendedExpiration == 0 {
		options.MaxExtendedExpiration = serviceaccount.ExpirationExtensionSeconds * time.Second
	}
	return &token{objects: objects, TokenOptions: options, own: sets.New(options.Audiences...)}
}

// New returns an empty body.
func (*token) New() runtime.Object { return &authentication.TokenRequest{} }

// Destroy has nothing to do.
func (*token) Destroy() {}

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate keeps the uid of the body: it is a precondition.
func (*token) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

// Create makes a token for the service account of that name.
func (t *token) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc,
	_ *metav1.CreateOptions) (runtime.Object, error) {
	body, ok := obj.(*authentication.TokenRequest)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a TokenRequest object: %T", obj))
	}
	namespace, err := namespaceOf(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkTokenPath(body, namespace, name); err != nil {
		return nil, err
	}
	found, err := t.get(ctx, "serviceaccounts", namespace, name)
	if err != nil {
		return nil, err
	}
	account := found.(*api.ServiceAccount)
	now := time.Now() // before the token is made: the answer must not say that it lives longer than it does
	if err := t.complete(ctx, body, account, now); err != nil {
		return nil, err
	}
	if errs := validation.ValidateTokenRequest(body); len(errs) > 0 {
		return nil, apierrors.NewInvalid(tokenKind.GroupKind(), "", errs)
	}
	if validate != nil {
		if err := validate(ctx, body.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	bound, err := t.bound(ctx, body.Spec.BoundObjectRef, namespace, name)
	if err != nil {
		return nil, err
	}
	return t.issue(ctx, body, account, bound, now)
}

// checkTokenPath makes sure that a body that names a service account names the one of the path.
func checkTokenPath(body *authentication.TokenRequest, namespace, name string) error {
	mismatch := func(field_, value string) error {
		path := field.NewPath("metadata").Child(field_)
		return apierrors.NewInvalid(tokenKind.GroupKind(), name, field.ErrorList{
			field.Invalid(path, value, fmt.Sprintf("must match the service account %s if specified", field_)),
		})
	}
	switch {
	case body.Name != "" && body.Name != name:
		return mismatch("name", body.Name)
	case body.Namespace != "" && body.Namespace != namespace:
		return mismatch("namespace", body.Namespace)
	}
	return nil
}

// complete fills in what the body leaves open, and checks that it means this service account.
func (t *token) complete(ctx context.Context, body *authentication.TokenRequest, account *api.ServiceAccount,
	now time.Time) error {
	if body.UID != "" && body.UID != account.UID {
		mismatch := fmt.Sprintf("the UID in the token request (%s) does not match the UID of the service account (%s)",
			body.UID, account.UID)
		if utilfeature.DefaultFeatureGate.Enabled(genericfeatures.TokenRequestServiceAccountUIDValidation) {
			gr := schema.GroupResource{Group: tokenKind.Group, Resource: tokenKind.Kind}
			return apierrors.NewConflict(gr, account.Name, errors.New(mismatch))
		}
		audit.AddAuditAnnotation(ctx, "authentication.k8s.io/token-request-uid-mismatch", mismatch)
		warning.AddWarning(ctx, "", mismatch+" but TokenRequestServiceAccountUIDValidation is not enabled. "+
			"In the future, this will return a conflict error")
	}
	if len(body.Spec.Audiences) == 0 {
		body.Spec.Audiences = t.Audiences
	}
	body.Name, body.Namespace = account.Name, account.Namespace
	if body.UID == "" {
		body.UID = account.UID
	}
	body.CreationTimestamp = metav1.NewTime(now)
	body.Status = authentication.TokenRequestStatus{}
	return nil
}

// boundTo is the object with which a token loses its force.
type boundTo struct {
	pod    *api.Pod
	secret *api.Secret
	node   *api.Node // also the one that the pod runs on
}

// bound reads the object that the token is to be bound to.
func (t *token) bound(ctx context.Context, ref *authentication.BoundObjectReference, namespace,
	account string) (bound boundTo, err error) {
	if ref == nil {
		return bound, nil
	}
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	var uid types.UID
	switch gvk.GroupKind() {
	case api.Kind("Pod"):
		if bound, err = t.boundToPod(ctx, namespace, ref.Name, account); err == nil {
			uid = bound.pod.UID
		}
	case api.Kind("Node"):
		if bound.node, err = read[*api.Node](ctx, t, "nodes", "", ref.Name); err == nil {
			uid = bound.node.UID
		}
	case api.Kind("Secret"):
		if bound.secret, err = read[*api.Secret](ctx, t, "secrets", namespace, ref.Name); err == nil {
			uid = bound.secret.UID
		}
	default:
		err = notBindable(gvk)
	}
	if err == nil && ref.UID != "" && ref.UID != uid {
		err = apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, ref.Name, fmt.Errorf(
			"the UID in the bound object reference (%s) does not match the UID in record. "+
				"The object might have been deleted and then recreated", ref.UID))
	}
	return bound, err
}

func notBindable(gvk schema.GroupVersionKind) error {
	text := fmt.Sprintf("cannot bind token to object of type %s", gvk)
	webhook := gvk.Kind == "ValidatingWebhookConfiguration" || gvk.Kind == "MutatingWebhookConfiguration"
	if webhook && gvk.GroupVersion() == admissionregistrationv1.SchemeGroupVersion {
		text += fmt.Sprintf(" (feature gate %s is disabled)", genericfeatures.APIServerWebhookAuthenticationToken)
	}
	return apierrors.NewBadRequest(text)
}

func read[T runtime.Object](ctx context.Context, t *token, resource, namespace, name string) (T, error) {
	obj, err := t.get(ctx, resource, namespace, name)
	typed, _ := obj.(T)
	return typed, err
}

// boundToPod reads a pod of the service account, and the node it runs on. Of a node that is gone the name is enough.
func (t *token) boundToPod(ctx context.Context, namespace, name, account string) (boundTo, error) {
	pod, err := read[*api.Pod](ctx, t, "pods", namespace, name)
	if err != nil {
		return boundTo{}, err
	}
	if pod.Spec.ServiceAccountName != account {
		return boundTo{}, apierrors.NewBadRequest(fmt.Sprintf(
			"cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", account))
	}
	if pod.Spec.NodeName == "" {
		return boundTo{pod: pod}, nil
	}
	node, err := read[*api.Node](ctx, t, "nodes", "", pod.Spec.NodeName)
	switch {
	case apierrors.IsNotFound(err):
		node = &api.Node{ObjectMeta: metav1.ObjectMeta{Name: pod.Spec.NodeName}}
	case err != nil:
		return boundTo{}, apierrors.NewInternalError(err)
	}
	return boundTo{pod: pod, node: node}, nil
}

// issue makes the token.
func (t *token) issue(ctx context.Context, body *authentication.TokenRequest, account *api.ServiceAccount, bound boundTo,
	now time.Time) (runtime.Object, error) {
	spec := &body.Spec
	if most := int64(t.MaxExpiration.Seconds()); most > 0 && spec.ExpirationSeconds > most {
		warning.AddWarning(ctx, "", fmt.Sprintf("requested expiration of %d seconds shortened to %d seconds",
			spec.ExpirationSeconds, most))
		spec.ExpirationSeconds = most
	}
	lifetime, warnAfter := t.lifetime(spec, bound)
	claims, private, err := serviceaccount.Claims(*account, bound.pod, bound.secret, bound.node, nil, nil,
		lifetime, warnAfter, spec.Audiences, spec.Attestations)
	if err != nil {
		return nil, err
	}
	signed, err := t.Generator.GenerateToken(ctx, claims, private)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("failed to generate token: %v", err))
	}
	out := body.DeepCopy()
	out.Status = authentication.TokenRequestStatus{
		Token:               signed,
		ExpirationTimestamp: metav1.NewTime(now.Add(time.Duration(spec.ExpirationSeconds) * time.Second)),
	}
	if claims.ID != "" {
		audit.AddAuditAnnotation(ctx, apiserviceaccount.IssuedCredentialIDAuditAnnotationKey, jwt.CredentialIDForJTI(claims.ID))
	}
	return out, nil
}

// lifetime is how long the token is valid, and after how long its use is warned of, in seconds. A token for a pod, as the
// admission plugin orders it (it is known by its odd expiration), is valid for longer than it says.
func (t *token) lifetime(spec *authentication.TokenRequestSpec, bound boundTo) (lifetime, warnAfter int64) {
	if t.ExtendExpiration && bound.pod != nil && t.own.HasAll(spec.Audiences...) &&
		spec.ExpirationSeconds == serviceaccount.WarnOnlyBoundTokenExpirationSeconds {
		return int64(t.MaxExtendedExpiration.Seconds()), spec.ExpirationSeconds
	}
	return spec.ExpirationSeconds, 0
}
