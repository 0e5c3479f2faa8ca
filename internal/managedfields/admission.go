package managedfields

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"
)

// InvalidWarning is what a client is warned of when admission has made entries invalid; they are put back as they were
// (handlers/fieldmanager/admission.go).
const InvalidWarning = ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated " +
	"mutating admission controller; please fix your requests: %v"

// Valid says what is wrong with entries.
func Valid(entries []metav1.ManagedFieldsEntry) error {
	return managedfields.ValidateManagedFields(entries)
}
