package admission

import (
	"fmt"

	v1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// What follows puts compiled policies together out of upstream's parts; the functions that do so in upstream's plugins cannot be
// called from outside. Errors of expressions are kept in what is compiled, and come out when it is evaluated.

// compiler returns a compiler that knows a policy's variables.
func compiler(variables []v1.Variable, declarations cel.OptionalVariableDeclarations) (*cel.CompositedCompiler, error) {
	c, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return nil, err
	}
	named := make([]cel.NamedExpressionAccessor, len(variables))
	for i, v := range variables {
		named[i] = &validatingpolicy.Variable{Name: v.Name, Expression: v.Expression}
	}
	c.CompileAndStoreVariables(named, declarations, environment.StoredExpressions)
	return c, nil
}

// conditions compiles match conditions; nil when there are none.
func conditions(c *cel.CompositedCompiler, list []v1.MatchCondition, declarations cel.OptionalVariableDeclarations,
	failurePolicy *v1.FailurePolicyType, policy string) matchconditions.Matcher {
	if len(list) == 0 {
		return nil
	}
	expressions := make([]cel.ExpressionAccessor, len(list))
	for i := range list {
		expressions[i] = (*matchconditions.MatchCondition)(&list[i])
	}
	compiled := c.CompileCondition(expressions, declarations, environment.StoredExpressions)
	return matchconditions.NewMatcher(compiled, failurePolicy, "policy", "validate", policy)
}

func compileValidating(policy *v1.ValidatingAdmissionPolicy) validatingpolicy.Validator {
	spec := &policy.Spec
	declarations := cel.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil, HasAuthorizer: true}
	inMessages := cel.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil}
	c, err := compiler(spec.Variables, declarations)
	if err != nil {
		return validatingpolicy.NewValidator(nil, nil, nil, nil, spec.FailurePolicy, err)
	}
	checks := make([]cel.ExpressionAccessor, len(spec.Validations))
	messages := make([]cel.ExpressionAccessor, len(spec.Validations))
	for i, v := range spec.Validations {
		checks[i] = &validatingpolicy.ValidationCondition{Expression: v.Expression, Message: v.Message, Reason: v.Reason}
		if v.MessageExpression != "" {
			messages[i] = &validatingpolicy.MessageExpressionCondition{MessageExpression: v.MessageExpression}
		}
	}
	annotations := make([]cel.ExpressionAccessor, len(spec.AuditAnnotations))
	for i, a := range spec.AuditAnnotations {
		annotations[i] = &validatingpolicy.AuditAnnotationCondition{Key: a.Key, ValueExpression: a.ValueExpression}
	}
	return validatingpolicy.NewValidator(
		c.CompileCondition(checks, declarations, environment.StoredExpressions),
		conditions(c, spec.MatchConditions, declarations, spec.FailurePolicy, policy.Name),
		c.CompileCondition(annotations, declarations, environment.StoredExpressions),
		c.CompileCondition(messages, inMessages, environment.StoredExpressions),
		spec.FailurePolicy, nil)
}

func compileMutating(policy *v1.MutatingAdmissionPolicy) mutatingpolicy.PolicyEvaluator {
	spec := &policy.Spec
	declarations := cel.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil, HasAuthorizer: true}
	c, err := compiler(spec.Variables, declarations)
	if err != nil {
		return mutatingpolicy.PolicyEvaluator{Error: &apiservercel.Error{
			Type: apiservercel.ErrorTypeInternal, Detail: fmt.Sprintf("failed to initialize CEL compiler: %v", err),
		}}
	}
	evaluator := mutatingpolicy.PolicyEvaluator{
		Matcher: conditions(c, spec.MatchConditions, declarations, spec.FailurePolicy, policy.Name), CompositedCompiler: c,
	}
	declarations.HasPatchTypes = true
	for _, m := range spec.Mutations {
		switch {
		case m.PatchType == v1.PatchTypeJSONPatch && m.JSONPatch != nil:
			expression := &patch.JSONPatchCondition{Expression: m.JSONPatch.Expression}
			evaluator.Mutators = append(evaluator.Mutators,
				patch.NewJSONPatcher(c.CompileMutatingEvaluator(expression, declarations, environment.StoredExpressions)))
		case m.PatchType == v1.PatchTypeApplyConfiguration && m.ApplyConfiguration != nil:
			expression := &patch.ApplyConfigurationCondition{Expression: m.ApplyConfiguration.Expression}
			evaluator.Mutators = append(evaluator.Mutators,
				patch.NewApplyConfigurationPatcher(c.CompileMutatingEvaluator(expression, declarations, environment.StoredExpressions)))
		}
	}
	return evaluator
}
