package builtin

import (
	"k8s.io/kubernetes/pkg/apis/admissionregistration"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingadmissionpolicy"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingadmissionpolicybinding"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingwebhookconfiguration"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingadmissionpolicy"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingadmissionpolicybinding"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingwebhookconfiguration"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) admissionregistration() []*kind.Kind {
	extensions := []string{"api-extensions"}
	mutating := []string{"v1", "v1beta1", "v1alpha1"}
	mutatingPolicyStrategy := mutatingadmissionpolicy.NewStrategy(b.Authorizer, b.Resolver)
	mutatingBindingStrategy := mutatingadmissionpolicybinding.NewStrategy(b.Authorizer, policies{b.Options}, b.Resolver)
	validatingPolicyStrategy := validatingadmissionpolicy.NewStrategy(b.Authorizer, b.Resolver)
	validatingBindingStrategy := validatingadmissionpolicybinding.NewStrategy(b.Authorizer, policies{b.Options}, b.Resolver)
	return inGroup(admissionregistration.GroupName, &kind.Kind{
		Resource: "mutatingadmissionpolicies", Name: "MutatingAdmissionPolicy", Categories: extensions, Versions: mutating,
		New:     object[admissionregistration.MutatingAdmissionPolicy],
		NewList: object[admissionregistration.MutatingAdmissionPolicyList],
		Create:  mutatingPolicyStrategy, Update: mutatingPolicyStrategy,
	}, &kind.Kind{
		Resource: "mutatingadmissionpolicybindings", Name: "MutatingAdmissionPolicyBinding", Categories: extensions, Versions: mutating,
		New:     object[admissionregistration.MutatingAdmissionPolicyBinding],
		NewList: object[admissionregistration.MutatingAdmissionPolicyBindingList],
		Create:  mutatingBindingStrategy, Update: mutatingBindingStrategy,
	}, &kind.Kind{
		Resource: "mutatingwebhookconfigurations", Name: "MutatingWebhookConfiguration", Categories: extensions,
		New:     object[admissionregistration.MutatingWebhookConfiguration],
		NewList: object[admissionregistration.MutatingWebhookConfigurationList],
		Create:  mutatingwebhookconfiguration.Strategy, Update: mutatingwebhookconfiguration.Strategy,
	}, &kind.Kind{
		Resource: "validatingadmissionpolicies", Name: "ValidatingAdmissionPolicy", Categories: extensions,
		New:     object[admissionregistration.ValidatingAdmissionPolicy],
		NewList: object[admissionregistration.ValidatingAdmissionPolicyList],
		Create:  validatingPolicyStrategy, Update: validatingPolicyStrategy,
		Subresources: subresources(status(validatingadmissionpolicy.NewStatusStrategy(validatingPolicyStrategy))),
	}, &kind.Kind{
		Resource: "validatingadmissionpolicybindings", Name: "ValidatingAdmissionPolicyBinding", Categories: extensions,
		New:     object[admissionregistration.ValidatingAdmissionPolicyBinding],
		NewList: object[admissionregistration.ValidatingAdmissionPolicyBindingList],
		Create:  validatingBindingStrategy, Update: validatingBindingStrategy,
	}, &kind.Kind{
		Resource: "validatingwebhookconfigurations", Name: "ValidatingWebhookConfiguration", Categories: extensions,
		New:     object[admissionregistration.ValidatingWebhookConfiguration],
		NewList: object[admissionregistration.ValidatingWebhookConfigurationList],
		Create:  validatingwebhookconfiguration.Strategy, Update: validatingwebhookconfiguration.Strategy,
	})
}
