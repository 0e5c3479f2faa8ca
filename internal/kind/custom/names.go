package custom

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/util/webhook"
)

// What follows is what upstream's controllers work out of a definition and of its neighbours, one after the other, in writes of
// their own: apiextensions-apiserver/pkg/controller/{status,establish,apiapproval,nonstructuralschema}.

// taken are the names that others of a group have.
type taken struct{ resources, kinds map[string]bool }

// reservations are names that writes under way are about to take, or have just taken, by definition.
type reservations map[string]reservation

type reservation struct {
	group   string
	names   apiextensions.CustomResourceDefinitionNames
	expires time.Time
}

// reservationTime is how long a write that the store did not answer keeps its names.
const reservationTime = time.Minute

// seen ends a reservation: the state has the definition, which speaks for itself.
func (r reservations) seen(name string, accepted *apiextensionsv1.CustomResourceDefinitionNames) {
	if have, ok := r[name]; ok && have.names.Plural == accepted.Plural && have.names.Kind == accepted.Kind {
		delete(r, name)
	}
}

// takenBy collects the names of a group that others than name have. The caller holds mu.
func (r *Registry) taken(group, name string) taken {
	t := taken{map[string]bool{}, map[string]bool{}}
	add := func(plural, singular, kindName, listKind string, short []string) {
		for _, resource := range append(slices.Clone(short), plural, singular) {
			t.resources[resource] = true
		}
		t.kinds[kindName], t.kinds[listKind] = true, true
	}
	for other, d := range r.definitions {
		if n := &d.newest().Status.AcceptedNames; d.Spec.Group == group && other != name {
			add(n.Plural, n.Singular, n.Kind, n.ListKind, n.ShortNames)
		}
	}
	for other, reserved := range r.names {
		if time.Now().After(reserved.expires) {
			delete(r.names, other)
			continue
		}
		if n := &reserved.names; reserved.group == group && other != name {
			add(n.Plural, n.Singular, n.Kind, n.ListKind, n.ShortNames)
		}
	}
	return t
}

// settle gives a definition the names and conditions that it is to have. It reports whether that changes anything.
func settle(crd *apiextensions.CustomResourceDefinition, others taken) bool {
	before := crd.Status.DeepCopy()
	settleNames(crd, others)
	settleApproval(crd)
	// Validation lets nothing else in; only old definitions have the condition, and may lose it.
	if apiextensions.FindCRDCondition(crd, apiextensions.NonStructuralSchema) != nil {
		settleStructure(crd)
	}
	return !reflect.DeepEqual(before, &crd.Status)
}

func settleNames(crd *apiextensions.CustomResourceDefinition, others taken) {
	wanted, accepted := crd.Spec.Names, &crd.Status.AcceptedNames
	if !reflect.DeepEqual(wanted, *accepted) {
		names, condition := acceptNames(wanted, *accepted, others)
		*accepted = names
		setCondition(crd, condition)
	}
	if !apiextensions.IsCRDConditionTrue(crd, apiextensions.Established) {
		setCondition(crd, establishment(crd))
	}
}

func establishment(crd *apiextensions.CustomResourceDefinition) apiextensions.CustomResourceDefinitionCondition {
	condition := apiextensions.CustomResourceDefinitionCondition{
		Type: apiextensions.Established, Status: apiextensions.ConditionFalse,
		Reason: "NotAccepted", Message: "not all names are accepted",
	}
	if !apiextensions.IsCRDConditionTrue(crd, apiextensions.NamesAccepted) {
		return condition
	}
	if c := crd.Spec.Conversion; c != nil && c.WebhookClientConfig != nil &&
		len(webhook.ValidateCABundle(field.NewPath(""), c.WebhookClientConfig.CABundle)) > 0 {
		condition.Reason, condition.Message = "InvalidCABundle", "The conversion webhook CABundle is invalid"
		return condition
	}
	condition.Status = apiextensions.ConditionTrue
	condition.Reason, condition.Message = "InitialNamesAccepted", "the initial names have been accepted"
	return condition
}

// acceptNames takes of the wanted names those that nobody else has (naming_controller.go, calculateNamesAndConditions).
func acceptNames(wanted, accepted apiextensions.CustomResourceDefinitionNames, others taken) (apiextensions.CustomResourceDefinitionNames, apiextensions.CustomResourceDefinitionCondition) {
	condition := apiextensions.CustomResourceDefinitionCondition{
		Type: apiextensions.NamesAccepted, Status: apiextensions.ConditionTrue, Reason: "NoConflicts", Message: "no conflicts found",
	}
	refuse := func(reason string, err error) {
		condition.Status, condition.Reason, condition.Message = apiextensions.ConditionFalse, reason, err.Error()
	}
	names := accepted
	take := func(reason, want string, have *string, used map[string]bool) {
		if err := free(want, *have, used); err != nil {
			refuse(reason, err)
			return
		}
		*have = want
	}
	take("PluralConflict", wanted.Plural, &names.Plural, others.resources)
	take("SingularConflict", wanted.Singular, &names.Singular, others.resources)
	if !reflect.DeepEqual(wanted.ShortNames, accepted.ShortNames) {
		var errs []error
		for _, short := range wanted.ShortNames {
			if err := free(short, "", others.resources); err != nil && !slices.Contains(accepted.ShortNames, short) {
				errs = append(errs, err)
			}
		}
		if err := utilerrors.NewAggregate(errs); err != nil {
			refuse("ShortNamesConflict", err)
		} else {
			names.ShortNames = wanted.ShortNames
		}
	}
	take("KindConflict", wanted.Kind, &names.Kind, others.kinds)
	take("ListKindConflict", wanted.ListKind, &names.ListKind, others.kinds)
	names.Categories = wanted.Categories
	return names, condition
}

func free(wanted, accepted string, used map[string]bool) error {
	if wanted == accepted || !used[wanted] {
		return nil
	}
	return fmt.Errorf("%q is already in use", wanted)
}

// settleApproval is about groups of the Kubernetes community (apiapproval_controller.go).
func settleApproval(crd *apiextensions.CustomResourceDefinition) {
	if !apihelpers.IsProtectedCommunityGroup(crd.Spec.Group) {
		return
	}
	state, message := apihelpers.GetAPIApprovalState(crd.Annotations)
	condition := apiextensions.CustomResourceDefinitionCondition{
		Type: apiextensions.KubernetesAPIApprovalPolicyConformant, Status: apiextensions.ConditionFalse, Message: message,
	}
	switch state {
	case apihelpers.APIApprovalInvalid:
		condition.Reason = "InvalidAnnotation"
	case apihelpers.APIApprovalMissing:
		condition.Reason = "MissingAnnotation"
	case apihelpers.APIApproved:
		condition.Status, condition.Reason = apiextensions.ConditionTrue, "ApprovedAnnotation"
	case apihelpers.APIApprovalBypassed:
		condition.Reason = "UnapprovedAnnotation"
	default:
		condition.Status, condition.Reason = apiextensions.ConditionUnknown, "UnknownAnnotation"
	}
	setCondition(crd, condition)
}

// settleStructure tells of schemas that are not structural, which only old definitions can have
// (nonstructuralschema_controller.go).
func settleStructure(crd *apiextensions.CustomResourceDefinition) {
	condition := structure(crd)
	if condition == nil {
		apiextensions.RemoveCRDCondition(crd, apiextensions.NonStructuralSchema)
		return
	}
	setCondition(crd, *condition)
}

func structure(crd *apiextensions.CustomResourceDefinition) *apiextensions.CustomResourceDefinitionCondition {
	condition := &apiextensions.CustomResourceDefinitionCondition{
		Type: apiextensions.NonStructuralSchema, Status: apiextensions.ConditionUnknown,
	}
	var errs field.ErrorList
	if preserve := crd.Spec.PreserveUnknownFields; preserve != nil && *preserve {
		errs = append(errs, field.Invalid(field.NewPath("spec", "preserveUnknownFields"), *preserve, "must be false"))
	}
	var last *apiextensions.CustomResourceValidation
	for i, v := range crd.Spec.Versions {
		validation, err := apiextensions.GetSchemaForVersion(crd, v.Name)
		if err != nil || validation == nil || validation.OpenAPIV3Schema == nil || validation == last {
			continue
		}
		last = validation // the same for all versions
		s, err := structuralschema.NewStructural(validation.OpenAPIV3Schema)
		if err != nil {
			condition.Reason = "StructuralError"
			condition.Message = fmt.Sprintf("failed to check validation schema for version %s: %v", v.Name, err)
			return condition
		}
		path := field.NewPath("spec", "versions").Index(i).Child("schema", "openAPIV3Schema")
		errs = append(errs, structuralschema.ValidateStructural(path, s)...)
	}
	if len(errs) == 0 {
		return nil
	}
	condition.Status, condition.Reason, condition.Message = apiextensions.ConditionTrue, "Violations", errs.ToAggregate().Error()
	return condition
}

// setCondition leaves a condition that says the same as it is.
func setCondition(crd *apiextensions.CustomResourceDefinition, condition apiextensions.CustomResourceDefinitionCondition) {
	if old := apiextensions.FindCRDCondition(crd, condition.Type); old != nil && apiextensions.IsCRDConditionEquivalent(old, &condition) {
		return
	}
	apiextensions.SetCRDCondition(crd, condition)
}
