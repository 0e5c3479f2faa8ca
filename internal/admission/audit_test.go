package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/kubernetes/pkg/apis/admissionregistration"
)

// audited returns a context with an event that takes annotations.
func audited(t *testing.T) (context.Context, *audit.AuditContext) {
	t.Helper()
	ctx := audit.WithAuditContext(t.Context())
	event := audit.AuditContextFrom(ctx)
	if err := event.Init(audit.RequestAuditConfig{Level: auditinternal.LevelMetadata}, nil); err != nil {
		t.Fatal(err)
	}
	return ctx, event
}

// warned collects warnings.
type warned struct{ texts []string }

func (w *warned) AddWarning(_, text string) { w.texts = append(w.texts, text) }

// putValidatingPolicy stores a policy for the creation of pods, with a binding.
func (f *fixture) putValidatingPolicy(t testing.TB, name string, spec admissionregistration.ValidatingAdmissionPolicySpec, actions ...admissionregistration.ValidationAction) {
	t.Helper()
	spec.MatchConstraints = &admissionregistration.MatchResources{
		NamespaceSelector: &metav1.LabelSelector{}, ObjectSelector: &metav1.LabelSelector{},
		ResourceRules: []admissionregistration.NamedRuleWithOperations{{RuleWithOperations: admissionregistration.RuleWithOperations{
			Operations: []admissionregistration.OperationType{admissionregistration.Create},
			Rule:       admissionregistration.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
		}}},
	}
	f.put(t, "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "",
		&admissionregistration.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec})
	f.put(t, "admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings", "",
		&admissionregistration.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       admissionregistration.ValidatingAdmissionPolicyBindingSpec{PolicyName: name, ValidationActions: actions},
		})
}

// The action Audit writes a failed validation into the audit event, and refuses nothing; Warn says it to the client. A policy's own
// annotations are written whatever comes of it.
func TestPolicyActions(t *testing.T) {
	t.Parallel()
	const failure = "validation.policy.admission.k8s.io/validation_failure"
	for _, actions := range [][]admissionregistration.ValidationAction{
		{admissionregistration.Deny}, {admissionregistration.Audit}, {admissionregistration.Warn},
		{admissionregistration.Warn, admissionregistration.Audit}, {admissionregistration.Deny, admissionregistration.Audit},
	} {
		f := newFixture(t)
		f.putNamespace(t, "default")
		f.putValidatingPolicy(t, "policy", admissionregistration.ValidatingAdmissionPolicySpec{
			Validations: []admissionregistration.Validation{{Expression: "false", Message: "never"}},
			AuditAnnotations: []admissionregistration.AuditAnnotation{
				{Key: "name", ValueExpression: "'it is ' + object.metadata.name"}, {Key: "none", ValueExpression: "null"},
			},
		}, actions...)
		chain := admission.WithAudit(f.chain(t, Config{Only: []string{"ValidatingAdmissionPolicy"}})).(admission.ValidationInterface)
		ctx, event := audited(t)
		warnings := &warned{}
		a, o := f.write(pods, "default", newPod(), nil, admission.Create)
		err := chain.Validate(warning.WithWarningRecorder(ctx, warnings), a, o)
		does := func(action admissionregistration.ValidationAction) bool {
			return strings.Contains(fmt.Sprint(actions), string(action))
		}
		if (err != nil) != does(admissionregistration.Deny) {
			t.Errorf("%v: %v", actions, err)
		}
		if (len(warnings.texts) == 1) != does(admissionregistration.Warn) {
			t.Errorf("%v: warnings %q", actions, warnings.texts)
		}
		if text, _ := event.GetEventAnnotation("policy/name"); text != "it is a" {
			t.Errorf("%v: the annotation is %q", actions, text)
		}
		if text, ok := event.GetEventAnnotation("policy/none"); ok {
			t.Errorf("%v: the annotation of nothing is %q", actions, text)
		}
		text, ok := event.GetEventAnnotation(failure)
		if ok != does(admissionregistration.Audit) {
			t.Errorf("%v: %s is %q", actions, failure, text)
		}
		if !ok {
			continue
		}
		var failures []struct {
			Message, Policy, Binding string
			ExpressionIndex          int
			ValidationActions        []string
		}
		if err := json.Unmarshal([]byte(text), &failures); err != nil || len(failures) != 1 || failures[0].Message != "never" ||
			failures[0].Policy != "policy" || failures[0].Binding != "policy" || len(failures[0].ValidationActions) != len(actions) {
			t.Errorf("%v: %s is %s, %v", actions, failure, text, err)
		}
	}
}

// Webhooks' annotations are in the event under their names.
func TestChainKeepsAnnotationsOfRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	chain := f.chain(t, Config{Only: []string{"NamespaceLifecycle"}})
	chain.plugins = nil
	refusal := errors.New("no")
	chain.add(known{name: "annotates"}, &annotates{admission.NewHandler(admission.Create), refusal})
	ctx, event := audited(t)
	a, o := f.write(pods, "default", newPod(), nil, admission.Create)
	if err := admission.WithAudit(chain).(admission.ValidationInterface).Validate(ctx, a, o); !errors.Is(err, refusal) {
		t.Error(err)
	}
	if text, _ := event.GetEventAnnotation("annotates.example.com/why"); text != "because" {
		t.Errorf("the annotation is %q", text)
	}
}

// annotates is a plugin that says why, and refuses.
type annotates struct {
	*admission.Handler
	err error
}

func (p *annotates) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if err := a.AddAnnotation("annotates.example.com/why", "because"); err != nil {
		return err
	}
	return p.err
}

// An expression that takes too much work is given up, and counts as the failure policy says.
func TestPolicyCostLimit(t *testing.T) {
	t.Parallel()
	list := "[" + strings.TrimSuffix(strings.Repeat("1,", 100), ",") + "]"
	for policy, refused := range map[admissionregistration.FailurePolicyType]bool{admissionregistration.Fail: true, admissionregistration.Ignore: false} {
		f := newFixture(t)
		f.putNamespace(t, "default")
		f.putValidatingPolicy(t, "costly", admissionregistration.ValidatingAdmissionPolicySpec{
			FailurePolicy: &policy,
			Variables:     []admissionregistration.Variable{{Name: "list", Expression: list}},
			Validations: []admissionregistration.Validation{{
				Expression: "variables.list.all(a, variables.list.all(b, variables.list.all(c, a*b*c == 1)))",
			}},
		}, admissionregistration.Deny)
		a, o := f.write(pods, "default", newPod(), nil, admission.Create)
		err := f.chain(t, Config{Only: []string{"ValidatingAdmissionPolicy"}}).Validate(t.Context(), a, o)
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "operation cancelled: actual cost limit exceeded") {
			t.Errorf("%s: %v", policy, err)
		}
	}
}
