package kayak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/kubernetes/pkg/apis/admissionregistration"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/serviceaccount"

	"github.com/kayak-k8s/kayak/internal/actions"
	"github.com/kayak-k8s/kayak/internal/authn"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// AuthenticationConfig says who is believed to be whom; its fields are named after kube-apiserver's flags. The zero value knows
// the client certificates of the server's own authority and the service account tokens of its own key.
type AuthenticationConfig = authn.Config

// The parts of AuthenticationConfig.
type (
	// ServiceAccountsConfig says which tokens for service accounts are issued and accepted.
	ServiceAccountsConfig = authn.ServiceAccounts
	// OIDCConfig is one issuer of tokens.
	OIDCConfig = authn.OIDC
	// FrontProxyConfig says which proxy is believed when it names a user in headers.
	FrontProxyConfig = authn.FrontProxy
)

// authentication is what finds out who makes a request.
type authentication struct {
	chain *authn.Chain
	keys  *authn.ServiceAccountKeys
	// documents tell others how to verify this server's tokens.
	documents map[string]authn.Document
}

// authenticate puts the chain of authenticators together. What works in the background ends with life.
func (s *Server) authenticate(life context.Context, p *parts) (*authentication, error) {
	config := s.config.Authentication
	known := knownObjects{p}
	chain, keys, err := authn.New(life, config, authn.Environment{
		CA: s.material.CA.CertPEM, ServiceAccountKey: s.material.ServiceAccountKey,
		Objects:   authn.Objects{ServiceAccountTokenGetter: known, Secrets: secretLabels{p: p}},
		Bootstrap: bootstrapSecrets{known}, ID: s.listener.Addr().String(), Logger: s.log,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot set up authentication: %w", err)
	}
	documents := keys.Discovery(&config.ServiceAccounts, s.externalAddress(), s.log)
	return &authentication{chain: chain, keys: keys, documents: documents}, nil
}

// tokens says how tokens for service accounts are made.
func (a *authentication) tokens(config *AuthenticationConfig) actions.TokenOptions {
	return actions.TokenOptions{
		Generator: a.keys.Signing, Audiences: config.Audiences,
		MaxExpiration: config.ServiceAccounts.MaxExpiration, ExtendExpiration: !config.ServiceAccounts.NoExtendedExpiration,
	}
}

// externalAddress is where others reach this server.
func (s *Server) externalAddress() string {
	address := s.listener.Addr().(*net.TCPAddr)
	host := address.IP.String()
	if s.advertise.IsValid() {
		host = s.advertise.String()
	}
	return net.JoinHostPort(host, fmt.Sprint(address.Port))
}

// knownObjects are those that tokens of service accounts are bound to, read from the state. Of most of them only the metadata is
// needed, and nothing else is converted.
type knownObjects struct{ p *parts }

var _ serviceaccount.ServiceAccountTokenGetter = knownObjects{}

// known reads an object. A name that cannot be one, as a token signed with another's key may have it, is not found.
func known[T runtime.Object](ctx context.Context, o knownObjects, group, resource, namespace, name string) (object T, err error) {
	for _, segment := range []string{namespace, name} {
		if segment != "" && len(content.IsPathSegmentName(segment)) > 0 {
			return object, apierrors.NewNotFound(schema.GroupResource{Group: group, Resource: resource}, name)
		}
	}
	if name == "" {
		return object, apierrors.NewNotFound(schema.GroupResource{Group: group, Resource: resource}, name)
	}
	found, err := o.p.api.KnownObject(ctx, o.p.resource(group, "v1", resource), namespace, name)
	if err != nil {
		return object, err
	}
	object, ok := found.(T)
	if !ok {
		return object, fmt.Errorf("%s/%s is a %T", resource, name, found)
	}
	return object, nil
}

func (o knownObjects) GetServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	found, err := known[*api.ServiceAccount](ctx, o, "", "serviceaccounts", namespace, name)
	if err != nil {
		return nil, err
	}
	account := &corev1.ServiceAccount{ObjectMeta: found.ObjectMeta}
	for _, secret := range found.Secrets {
		account.Secrets = append(account.Secrets, corev1.ObjectReference{Name: secret.Name})
	}
	return account, nil
}

func (o knownObjects) GetPod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	found, err := known[*api.Pod](ctx, o, "", "pods", namespace, name)
	if err != nil {
		return nil, err
	}
	return &corev1.Pod{ObjectMeta: found.ObjectMeta}, nil
}

func (o knownObjects) GetSecret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	found, err := known[*api.Secret](ctx, o, "", "secrets", namespace, name)
	if err != nil {
		return nil, err
	}
	return secretOf(found), nil
}

func secretOf(s *api.Secret) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: s.ObjectMeta, Data: s.Data, Type: corev1.SecretType(s.Type), Immutable: s.Immutable}
}

func (o knownObjects) GetNode(ctx context.Context, name string) (*corev1.Node, error) {
	found, err := known[*api.Node](ctx, o, "", "nodes", "", name)
	if err != nil {
		return nil, err
	}
	return &corev1.Node{ObjectMeta: found.ObjectMeta}, nil
}

func (o knownObjects) GetValidatingWebhookConfiguration(ctx context.Context,
	name string) (*admissionregistrationv1.ValidatingWebhookConfiguration, error) {
	found, err := known[*admissionregistration.ValidatingWebhookConfiguration](ctx, o, admissionregistration.GroupName,
		"validatingwebhookconfigurations", "", name)
	if err != nil {
		return nil, err
	}
	return &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: found.ObjectMeta}, nil
}

func (o knownObjects) GetMutatingWebhookConfiguration(ctx context.Context,
	name string) (*admissionregistrationv1.MutatingWebhookConfiguration, error) {
	found, err := known[*admissionregistration.MutatingWebhookConfiguration](ctx, o, admissionregistration.GroupName,
		"mutatingwebhookconfigurations", "", name)
	if err != nil {
		return nil, err
	}
	return &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: found.ObjectMeta}, nil
}

// bootstrapSecrets are the Secrets of kube-system, where bootstrap tokens are.
type bootstrapSecrets struct{ knownObjects }

var _ corelisters.SecretNamespaceLister = bootstrapSecrets{}

// Get implements corelisters.SecretNamespaceLister.
func (b bootstrapSecrets) Get(name string) (*corev1.Secret, error) {
	return b.GetSecret(context.Background(), metav1.NamespaceSystem, name)
}

// List implements corelisters.SecretNamespaceLister.
func (b bootstrapSecrets) List(selector labels.Selector) ([]*corev1.Secret, error) {
	objs, err := b.p.api.ListObjects(context.Background(), b.p.resource("", "v1", "secrets"), metav1.NamespaceSystem)
	var list []*corev1.Secret
	for _, obj := range objs {
		if secret, ok := obj.(*api.Secret); ok && selector.Matches(labels.Set(secret.Labels)) {
			list = append(list, secretOf(secret))
		}
	}
	return list, err
}

// secretLabels changes labels of Secrets, for the note of when a token was last used.
type secretLabels struct {
	p         *parts
	namespace string
	// SecretInterface is nil: the validator of tokens calls nothing but Patch.
	typedcorev1.SecretInterface
}

var errOtherSecret = errors.New("it is another Secret by now")

// Secrets implements typedcorev1.SecretsGetter.
func (s secretLabels) Secrets(namespace string) typedcorev1.SecretInterface {
	s.namespace = namespace
	return s
}

// Patch applies a merge patch of labels, if the Secret has the uid in it.
func (s secretLabels) Patch(ctx context.Context, name string, _ types.PatchType, data []byte, _ metav1.PatchOptions,
	_ ...string) (*corev1.Secret, error) {
	var patch corev1.Secret
	if err := json.Unmarshal(data, &patch); err != nil {
		return nil, err
	}
	r := s.p.resource("", "v1", "secrets")
	obj, err := s.p.api.UpdateObject(verb.AsServer(ctx), r, "", s.namespace, name, &metav1.UpdateOptions{},
		func(obj runtime.Object) (runtime.Object, error) {
			secret := obj.(*api.Secret)
			if secret.UID != patch.UID {
				return nil, apierrors.NewConflict(schema.GroupResource{Resource: "secrets"}, name, errOtherSecret)
			}
			for key, value := range patch.Labels {
				metav1.SetMetaDataLabel(&secret.ObjectMeta, key, value)
			}
			return secret, nil
		})
	if err != nil {
		return nil, err
	}
	return secretOf(obj.(*api.Secret)), nil
}
