package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// namespaceLifecycle keeps new objects out of namespaces that there are not, or that are being deleted, and the namespaces that
// every cluster has from being deleted (apiserver/pkg/admission/plugin/namespace/lifecycle).
//
// It trusts the state when that has the namespace as active: this server acknowledges no deletion of a namespace before the state
// has it. It does not trust the state when it would refuse: another server may have made the namespace a moment ago. Then it asks
// for the namespace as it is now.
type namespaceLifecycle struct {
	*admission.Handler
	lister corelisters.NamespaceLister
	// now returns a namespace as it is now.
	now func(ctx context.Context, name string) (*corev1.Namespace, error)
	// ready says without waiting whether the state has been loaded.
	ready func() bool
}

var _ admission.MutationInterface = &namespaceLifecycle{}

func newNamespaceLifecycle(o *Options) *namespaceLifecycle {
	namespaces := o.Informers.Core().V1().Namespaces()
	l := &namespaceLifecycle{
		Handler: admission.NewHandler(admission.Create, admission.Update, admission.Delete),
		lister:  namespaces.Lister(), now: o.Namespace,
	}
	l.ready = namespaces.Informer().HasSynced
	l.SetReadyFunc(l.ready)
	return l
}

// immortal are the namespaces that cannot be deleted.
func immortal() []string {
	return []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic}
}

// idle reports whether it would return at once.
func (l *namespaceLifecycle) idle(a admission.Attributes) bool {
	return !ofNamespace(a) && (a.GetNamespace() == "" || a.GetOperation() != admission.Create || isAccessReview(a))
}

// ofNamespace says whether it is a namespace that is written.
func ofNamespace(a admission.Attributes) bool {
	return a.GetKind().GroupKind() == schema.GroupKind{Kind: "Namespace"}
}

// Admit implements admission.MutationInterface. It changes nothing; it is asked early.
func (l *namespaceLifecycle) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if ofNamespace(a) {
		if a.GetOperation() == admission.Delete && slices.Contains(immortal(), a.GetName()) {
			return apierrors.NewForbidden(a.GetResource().GroupResource(), a.GetName(), errors.New("this namespace may not be deleted"))
		}
		return nil
	}
	if l.idle(a) {
		return nil
	}
	if !l.ready() && !l.WaitForReady() {
		return admission.NewForbidden(a, errors.New("not yet ready to handle request"))
	}
	namespace, err := l.lister.Get(a.GetNamespace())
	if err != nil || namespace.Status.Phase == corev1.NamespaceTerminating {
		namespace, err = l.now(ctx, a.GetNamespace())
	}
	switch {
	case apierrors.IsNotFound(err):
		return err
	case err != nil:
		return apierrors.NewInternalError(err)
	case namespace.Status.Phase == corev1.NamespaceTerminating:
		return terminating(a)
	}
	return nil
}

func terminating(a admission.Attributes) error {
	err := admission.NewForbidden(a, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", a.GetNamespace()))
	var status *apierrors.StatusError
	if errors.As(err, &status) {
		status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{
			Type: corev1.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", a.GetNamespace()),
			Field: "metadata.namespace",
		})
	}
	return err
}

// isAccessReview says whether somebody asks what they may do in a namespace: that must not tell whether it is there.
func isAccessReview(a admission.Attributes) bool {
	return a.GetResource().GroupResource() == schema.GroupResource{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"}
}
