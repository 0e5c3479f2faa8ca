package builtin

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/kubernetes/pkg/apis/admissionregistration"
	api "k8s.io/kubernetes/pkg/apis/core"
	apiv1 "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/resolver"
	"k8s.io/utils/clock"
)

// Options are what the kinds need from the server they are part of. The zero value is enough to know the kinds, and to serve
// those that are objects in the store. The functions and interfaces must be safe for concurrent use; they are only called
// while requests are served, so they may lead to what is built later.
type Options struct {
	// Authorizer is asked by strategies whether the user may do more than the request says: refer to params of an admission
	// policy, sign for a signer, bind a resource claim. Without it, as in upstream, references to params are not checked; what
	// must be allowed is refused.
	Authorizer authorizer.UnconditionalAuthorizer
	// Resolver finds the resource of a kind, the paramKind of an admission policy.
	Resolver resolver.ResourceResolver
	// Lookup reads a cluster-scoped object of another kind, in its hub version: the namespace of a resource claim, the policy
	// of a binding. Its errors are those of a get.
	Lookup func(ctx context.Context, resource schema.GroupResource, name string) (runtime.Object, error)
	// Clock tells strategies the time; default: the real one.
	Clock clock.PassiveClock
	// PrimaryIPFamily is that of the cluster's services, for Services that were stored before they had a family; default: IPv4.
	PrimaryIPFamily api.IPFamily
	// Storages serve what is not an object in the store, by group and resource: "authentication.k8s.io", "tokenreviews"; for
	// subresources "", "pods/exec". kind.Kind.Virtual and kind.Subresource.Storage say what they implement. A kind without
	// one has no working verb; a subresource without one has a nil Storage. Kinds rejects names that it does not know.
	Storages map[schema.GroupResource]rest.Storage
}

func (o Options) withDefaults() Options {
	if o.Resolver == nil {
		o.Resolver = noResolver{}
	}
	if o.Lookup == nil {
		o.Lookup = func(context.Context, schema.GroupResource, string) (runtime.Object, error) {
			return nil, errors.New("no other objects can be read here")
		}
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.PrimaryIPFamily == "" {
		o.PrimaryIPFamily = api.IPv4Protocol
	}
	return o
}

// mustAuthorize is for strategies that upstream never makes without an authorizer.
func (o Options) mustAuthorize() authorizer.UnconditionalAuthorizer {
	if o.Authorizer == nil {
		return refuse{}
	}
	return o.Authorizer
}

type refuse struct{}

func (refuse) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionNoOpinion, "there is no authorizer", nil
}

type noResolver struct{}

func (noResolver) Resolve(gvk schema.GroupVersionKind) (schema.GroupVersionResource, error) {
	return schema.GroupVersionResource{}, errors.New("the resource of a kind cannot be found here: " + gvk.String())
}

type (
	validatingPolicy = admissionregistration.ValidatingAdmissionPolicy
	mutatingPolicy   = admissionregistration.MutatingAdmissionPolicy
)

// policies gives bindings of admission policies their policies.
type policies struct {
	Options
}

func (p policies) GetValidatingAdmissionPolicy(ctx context.Context, name string) (*validatingPolicy, error) {
	obj, err := p.Lookup(ctx, admissionregistration.Resource("validatingadmissionpolicies"), name)
	if err != nil {
		return nil, err
	}
	return obj.(*validatingPolicy), nil
}

func (p policies) GetMutatingAdmissionPolicy(ctx context.Context, name string) (*mutatingPolicy, error) {
	obj, err := p.Lookup(ctx, admissionregistration.Resource("mutatingadmissionpolicies"), name)
	if err != nil {
		return nil, err
	}
	return obj.(*mutatingPolicy), nil
}

// namespaces is the part of a client that resource claims need to see whether admin access is allowed in their namespace
// (registry/resource/utils.go). The rest of the interface is not there.
type namespaces struct {
	corev1client.NamespaceInterface
	Options
}

func (n namespaces) Get(ctx context.Context, name string, _ metav1.GetOptions) (*corev1.Namespace, error) {
	obj, err := n.Lookup(ctx, api.Resource("namespaces"), name)
	if err != nil {
		return nil, err
	}
	namespace := &corev1.Namespace{}
	return namespace, apiv1.Convert_core_Namespace_To_v1_Namespace(obj.(*api.Namespace), namespace, nil)
}
