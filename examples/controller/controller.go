// Package controller is a small, real controller, as an example of how one is tested with kayak: it copies every ConfigMap with
// the annotation example.kayak.dev/copy-to into the namespaces that the annotation names, keeps the copies as the original is,
// and removes those that are no longer wanted.
//
// The tests are what it is here for: controller_test.go runs it against a server in the test's process, with kayaktest;
// envtest_test.go runs the same against kayak in the place of the binaries that controller-runtime's envtest starts.
package controller

import (
	"context"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	// CopyTo is the annotation of an original: a list of namespaces, separated by commas.
	CopyTo = "example.kayak.dev/copy-to"
	// CopyOf is the annotation of a copy: the original's namespace and name.
	CopyOf = "example.kayak.dev/copy-of"
	// Finalizer keeps an original until its copies are gone.
	Finalizer = "example.kayak.dev/copies"
	// Label finds the copies.
	Label = "example.kayak.dev/copy"
)

// Copier is the reconciler.
type Copier struct {
	client.Client
}

// SetupWithManager makes the manager run it.
func (c *Copier) SetupWithManager(manager ctrl.Manager) error {
	skip := true // names of controllers need to be unique in a process, and tests run several
	return ctrl.NewControllerManagedBy(manager).
		Named("copier").
		WithOptions(controller.Options{SkipNameValidation: &skip}).
		For(&corev1.ConfigMap{}).
		Watches(&corev1.ConfigMap{}, handler.EnqueueRequestsFromMapFunc(original)).
		Complete(c)
}

// original finds the original of a copy.
func original(_ context.Context, obj client.Object) []reconcile.Request {
	namespace, name, ok := strings.Cut(obj.GetAnnotations()[CopyOf], "/")
	if !ok {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}}
}

// Reconcile makes the copies of one original what they ought to be.
func (c *Copier) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var source corev1.ConfigMap
	if err := c.Get(ctx, request.NamespacedName, &source); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	wanted := namespaces(&source)
	if len(wanted) > 0 && controllerutil.AddFinalizer(&source, Finalizer) {
		if err := c.Update(ctx, &source); err != nil {
			return ctrl.Result{}, err
		}
	}
	for _, namespace := range wanted {
		if err := c.copy(ctx, &source, namespace); err != nil {
			return ctrl.Result{}, err
		}
	}
	if err := c.prune(ctx, &source, wanted); err != nil {
		return ctrl.Result{}, err
	}
	if len(wanted) == 0 && controllerutil.RemoveFinalizer(&source, Finalizer) {
		return ctrl.Result{}, client.IgnoreNotFound(c.Update(ctx, &source))
	}
	return ctrl.Result{}, nil
}

// namespaces are where copies of an original belong: nowhere once it is being deleted.
func namespaces(source *corev1.ConfigMap) []string {
	var wanted []string
	if !source.DeletionTimestamp.IsZero() {
		return nil
	}
	for _, namespace := range strings.Split(source.Annotations[CopyTo], ",") {
		if namespace = strings.TrimSpace(namespace); namespace != "" && namespace != source.Namespace {
			wanted = append(wanted, namespace)
		}
	}
	return wanted
}

func (c *Copier) copy(ctx context.Context, source *corev1.ConfigMap, namespace string) error {
	target := &corev1.ConfigMap{}
	target.Namespace, target.Name = namespace, source.Name
	_, err := controllerutil.CreateOrUpdate(ctx, c.Client, target, func() error {
		target.Labels = map[string]string{Label: "true"}
		target.Annotations = map[string]string{CopyOf: source.Namespace + "/" + source.Name}
		target.Data = maps.Clone(source.Data)
		return nil
	})
	if apierrors.IsNotFound(err) {
		return nil // there is no such namespace
	}
	return err
}

// prune removes the copies that are not wanted any more.
func (c *Copier) prune(ctx context.Context, source *corev1.ConfigMap, wanted []string) error {
	var copies corev1.ConfigMapList
	if err := c.List(ctx, &copies, client.MatchingLabels{Label: "true"}); err != nil {
		return err
	}
	for _, target := range copies.Items {
		if target.Annotations[CopyOf] != source.Namespace+"/"+source.Name || slices.Contains(wanted, target.Namespace) {
			continue
		}
		if err := c.Delete(ctx, &target); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return nil
}
