package manager

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher"
	serviceaccountcontroller "k8s.io/kubernetes/pkg/controller/serviceaccount"

	"github.com/kayak-k8s/kayak/internal/state"
)

// newServiceAccounts makes the controller that gives every namespace its ServiceAccount "default".
func newServiceAccounts(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := coreClient(e.config("service-account-controller"))
	if err != nil {
		return nil, err
	}
	core := e.factory.Core().V1()
	c, err := serviceaccountcontroller.NewServiceAccountsController(klog.FromContext(ctx), core.ServiceAccounts(), core.Namespaces(), client,
		serviceaccountcontroller.DefaultServiceAccountsControllerOptions())
	return func(ctx context.Context) { c.Run(ctx, 1) }, err
}

// newRootCAPublisher makes the controller that gives every namespace the ConfigMap kube-root-ca.crt.
func newRootCAPublisher(_ context.Context, e *environment) (func(context.Context), error) {
	client, err := coreClient(e.config("root-ca-cert-publisher"))
	if err != nil {
		return nil, err
	}
	core := e.factory.Core().V1()
	maps := narrowConfigMaps{narrowed{e.factory.informer(corev1.SchemeGroupVersion.WithKind("ConfigMap")), interest{
		changesOnly: true, in: func(record *state.Record) bool {
			return strings.HasSuffix(record.Key, "/"+rootcacertpublisher.RootCACertConfigMapName)
		},
	}}}
	c, err := rootcacertpublisher.NewPublisher(maps, core.Namespaces(), &publishing{client, e.requests}, e.RootCA)
	return func(ctx context.Context) { c.Run(ctx, 1) }, err
}

// newTokens makes the controller that fills Secrets with tokens, and deletes those of service accounts that are gone.
func newTokens(ctx context.Context, e *environment) (func(context.Context), error) {
	if e.Tokens == nil {
		return func(context.Context) {}, nil
	}
	client, err := coreClient(e.config("tokens-controller"))
	if err != nil {
		return nil, err
	}
	core := e.factory.Core().V1()
	secrets := narrowSecrets{narrowed{e.factory.informer(corev1.SchemeGroupVersion.WithKind("Secret")), interest{
		in: func(record *state.Record) bool {
			return record.Header().Fields.Get("type") == string(corev1.SecretTypeServiceAccountToken)
		},
	}}}
	c, err := serviceaccountcontroller.NewTokensController(klog.FromContext(ctx), core.ServiceAccounts(), secrets, client,
		serviceaccountcontroller.TokensControllerOptions{TokenGenerator: e.Tokens, RootCA: e.RootCA})
	return func(ctx context.Context) { c.Run(ctx, 1) }, err
}

// publishing is a client for the publisher, which would report each request that it wants to make when it is to end as an error,
// and not to its own logger.
type publishing struct {
	*coreOnly
	ctx context.Context
}

func (p *publishing) CoreV1() corev1client.CoreV1Interface { return publishingV1{p.v1, p.ctx} }

type publishingV1 struct {
	corev1client.CoreV1Interface
	ctx context.Context
}

func (p publishingV1) ConfigMaps(namespace string) corev1client.ConfigMapInterface {
	return publishingMaps{p.CoreV1Interface.ConfigMaps(namespace), p.ctx}
}

type publishingMaps struct {
	corev1client.ConfigMapInterface
	ctx context.Context
}

func (p publishingMaps) Create(_ context.Context, m *corev1.ConfigMap, o metav1.CreateOptions) (*corev1.ConfigMap, error) {
	return p.ConfigMapInterface.Create(p.ctx, m, o)
}

func (p publishingMaps) Update(_ context.Context, m *corev1.ConfigMap, o metav1.UpdateOptions) (*corev1.ConfigMap, error) {
	return p.ConfigMapInterface.Update(p.ctx, m, o)
}
