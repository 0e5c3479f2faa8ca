package admission

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/kubernetes/pkg/apis/admissionregistration"
)

// putLabelPolicy stores a policy that every pod has a label, with a binding.
func (f *fixture) putLabelPolicy(t testing.TB) {
	t.Helper()
	f.putPolicy(t, "labels", "has(object.metadata.labels) && 'app' in object.metadata.labels")
	f.put(t, "admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings", "", &admissionregistration.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "labels"},
		Spec: admissionregistration.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "labels", ValidationActions: []admissionregistration.ValidationAction{admissionregistration.Deny},
		},
	})
}

func (f *fixture) putPolicy(t testing.TB, name, expression string) {
	t.Helper()
	f.put(t, "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "", &admissionregistration.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistration.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistration.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{}, ObjectSelector: &metav1.LabelSelector{},
				ResourceRules: []admissionregistration.NamedRuleWithOperations{{RuleWithOperations: admissionregistration.RuleWithOperations{
					Operations: []admissionregistration.OperationType{admissionregistration.Create},
					Rule: admissionregistration.Rule{
						APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"},
					},
				}}},
			},
			Validations: []admissionregistration.Validation{{Expression: expression}},
		},
	})
}

// A policy counts, as it is now, for the request after it was stored, and is compiled once.
func TestPolicyInForceAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.putNamespace(t, "default")
	chain := f.chain(t, Config{Only: []string{"ValidatingAdmissionPolicy"}})
	check := func() error {
		a, o := f.write(pods, "default", newPod(), nil, admission.Create)
		return chain.Validate(t.Context(), a, o)
	}
	if err := check(); err != nil {
		t.Fatal(err)
	}
	f.putLabelPolicy(t)
	if err := check(); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		f.putPolicy(t, "labels", fmt.Sprintf("'app%d' in object.metadata.labels", i))
		if err := check(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("failed expression: 'app%d' in", i)) {
			t.Fatalf("change %d: %v", i, err)
		}
		f.putPolicy(t, "labels", "true")
		if err := check(); err != nil {
			t.Fatalf("change %d: %v", i, err)
		}
	}
}

// Policies are compiled when they have changed, and not when something else has.
func TestPolicyCompiledOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	compilations := map[string]int{}
	s := newSource(&f.options, f.options.registrations("validatingadmissionpolicies"), f.options.registrations("validatingadmissionpolicybindings"),
		validatingpolicy.NewValidatingAdmissionPolicyAccessor, validatingpolicy.NewValidatingAdmissionPolicyBindingAccessor,
		func(p *v1.ValidatingAdmissionPolicy) validatingpolicy.Validator {
			compilations[p.Name]++
			return nil
		})
	for i := range 3 {
		name := fmt.Sprint("p", i)
		f.putValidatingPolicy(t, name, admissionregistration.ValidatingAdmissionPolicySpec{
			Validations: []admissionregistration.Validation{{Expression: "true"}},
		}, admissionregistration.Deny)
		for range 10 {
			if hooks := s.Hooks(); len(hooks) != i+1 {
				t.Fatalf("%d policies are in force, not %d", len(hooks), i+1)
			}
		}
	}
	f.putPolicy(t, "unbound", "true")
	f.putPolicy(t, "p1", "false")
	f.putNamespace(t, "other")
	for range 10 {
		s.Hooks()
	}
	if diff := cmp.Diff(map[string]int{"p0": 1, "p1": 2, "p2": 1}, compilations); diff != "" {
		t.Errorf("the compilations (- wanted, + done)\n%s", diff)
	}
}
