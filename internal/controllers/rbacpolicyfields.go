package controllers

import (
	"encoding/json"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// policyFields are the managed fields of an object of the policy that is new. Which they are is known from the start: working them
// out takes as long as all the rest of a hundred and forty writes. A test compares them with what is worked out. Rules that a role
// is aggregated to have belong to the controller that aggregates them.
func policyFields(obj metav1.Object, now metav1.Time) []metav1.ManagedFieldsEntry {
	metadata := object{}
	if annotations := obj.GetAnnotations(); len(annotations) > 0 {
		metadata["f:annotations"] = keys(annotations)
	}
	if labels := obj.GetLabels(); len(labels) > 0 {
		metadata["f:labels"] = keys(labels)
	}
	set := object{}
	if len(metadata) > 0 {
		set["f:metadata"] = metadata
	}
	var entries []metav1.ManagedFieldsEntry
	rules := func(rules []rbacv1.PolicyRule) {
		if len(rules) > 0 {
			set["f:rules"] = object{}
		}
	}
	bound := func(subjects []rbacv1.Subject) {
		set["f:roleRef"] = object{}
		if len(subjects) > 0 {
			set["f:subjects"] = object{}
		}
	}
	switch obj := obj.(type) {
	case *rbacv1.ClusterRole:
		if obj.AggregationRule == nil {
			rules(obj.Rules)
			break
		}
		set["f:aggregationRule"] = object{".": object{}, "f:clusterRoleSelectors": object{}}
		entries = append(entries, policyEntry(aggregationManager, metav1.ManagedFieldsOperationApply, now, object{"f:rules": object{}}))
	case *rbacv1.Role:
		rules(obj.Rules)
	case *rbacv1.ClusterRoleBinding:
		bound(obj.Subjects)
	case *rbacv1.RoleBinding:
		bound(obj.Subjects)
	}
	return append(entries, policyEntry(asKubeAPIServer, metav1.ManagedFieldsOperationUpdate, now, set))
}

type object map[string]any

func keys(of map[string]string) object {
	set := object{".": object{}}
	for key := range of {
		set["f:"+key] = object{}
	}
	return set
}

func policyEntry(manager string, operation metav1.ManagedFieldsOperationType, now metav1.Time, set object) metav1.ManagedFieldsEntry {
	raw, err := json.Marshal(set)
	if err != nil {
		panic(err) // maps of maps can be encoded
	}
	return metav1.ManagedFieldsEntry{
		Manager: manager, Operation: operation, APIVersion: rbacv1.SchemeGroupVersion.String(), Time: &now,
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(raw)),
	}
}
