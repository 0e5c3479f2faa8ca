package controller_test

import (
	"context"
	"fmt"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kayak-k8s/kayak/kayaktest"
)

// Widget is a custom resource as an operator has it: a Go type.
type Widget struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              WidgetSpec   `json:"spec"`
	Status            WidgetStatus `json:"status,omitempty"`
}

// WidgetSpec is what is wanted of a Widget.
type WidgetSpec struct {
	Color    string `json:"color,omitempty"`
	Replicas *int32 `json:"replicas,omitempty"`
}

// WidgetStatus is what there is of a Widget.
type WidgetStatus struct {
	Replicas int32 `json:"replicas"`
}

// WidgetList is a list of Widgets.
type WidgetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Widget `json:"items"`
}

func (w *Widget) DeepCopyObject() runtime.Object {
	out := *w
	out.ObjectMeta = *w.ObjectMeta.DeepCopy()
	if w.Spec.Replicas != nil {
		n := *w.Spec.Replicas
		out.Spec.Replicas = &n
	}
	return &out
}

func (l *WidgetList) DeepCopyObject() runtime.Object {
	out := &WidgetList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for i := range l.Items {
		out.Items = append(out.Items, *l.Items[i].DeepCopyObject().(*Widget))
	}
	return out
}

func widgetScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	if err := scheme.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	gv := schema.GroupVersion{Group: "example.com", Version: "v1"}
	s.AddKnownTypes(gv, &Widget{}, &WidgetList{})
	metav1.AddToGroupVersion(s, gv)
	return s
}

const finalizer = "example.com/widget"

// operator keeps a ConfigMap for each Widget, and a finalizer on the Widget.
type operator struct{ client.Client }

func (o *operator) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	w := &Widget{}
	if err := o.Get(ctx, request.NamespacedName, w); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !w.DeletionTimestamp.IsZero() {
		if controllerutil.RemoveFinalizer(w, finalizer) {
			return reconcile.Result{}, client.IgnoreNotFound(o.Update(ctx, w))
		}
		return reconcile.Result{}, nil
	}
	if controllerutil.AddFinalizer(w, finalizer) {
		return reconcile.Result{}, o.Update(ctx, w)
	}
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: w.Name}}
	if _, err := controllerutil.CreateOrUpdate(ctx, o.Client, m, func() error {
		m.Data = map[string]string{"color": w.Spec.Color}
		return controllerutil.SetControllerReference(w, m, o.Scheme())
	}); err != nil {
		return reconcile.Result{}, err
	}
	if w.Status.Replicas == *w.Spec.Replicas {
		return reconcile.Result{}, nil
	}
	before := w.DeepCopyObject().(*Widget)
	w.Status.Replicas = *w.Spec.Replicas
	return reconcile.Result{}, o.Status().Patch(ctx, w, client.MergeFrom(before))
}

// operate runs the operator until the test ends, and returns a client without a cache.
func operate(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	s := widgetScheme(t)
	manager, err := ctrl.NewManager(config, ctrl.Options{Scheme: s, Metrics: metricsserver.Options{BindAddress: "0"}})
	if err != nil {
		t.Fatal(err)
	}
	err = ctrl.NewControllerManagedBy(manager).For(&Widget{}).Owns(&corev1.ConfigMap{}).Complete(&operator{manager.GetClient()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the manager ended with: %v", err)
		}
	})
	c, err := client.New(config, client.Options{Scheme: s})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestOperatorOfACustomResource is an operator's life with a kind of its own: informers, status, scale, apply, owners, finalizers.
func TestOperatorOfACustomResource(t *testing.T) {
	t.Parallel()
	c := operate(t, kayaktest.Start(t, kayaktest.CRDs("testdata/crd")))
	ctx := t.Context()
	w := &Widget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}}
	if err := c.Create(ctx, w); err != nil {
		t.Fatal(err)
	}
	if w.Spec.Color != "red" || w.Spec.Replicas == nil || *w.Spec.Replicas != 1 || w.Generation != 1 {
		t.Errorf("what is created lacks its defaults: %+v", w)
	}
	key := client.ObjectKeyFromObject(w)
	settled := func(replicas int32, color string) func() error {
		return func() error {
			var got Widget
			var m corev1.ConfigMap
			if err := c.Get(ctx, key, &got); err != nil {
				return err
			}
			if err := c.Get(ctx, key, &m); err != nil {
				return err
			}
			if got.Status.Replicas != replicas || m.Data["color"] != color {
				return fmt.Errorf("%+v %v", got, m.Data)
			}
			return nil
		}
	}
	eventually(t, "the first reconciliation", settled(1, "red"))

	scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: 3}}
	if err := c.SubResource("scale").Update(ctx, w, client.WithSubResourceBody(scale)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "after it was scaled", settled(3, "red"))

	if err := c.Get(ctx, key, w); err != nil {
		t.Fatal(err)
	}
	before := w.DeepCopyObject().(*Widget)
	w.Spec.Color, w.Status.Replicas = "blue", 99
	if err := c.Patch(ctx, w, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		t.Fatal(err)
	}
	if w.Status.Replicas != 3 {
		t.Errorf("a patch of the object changed the status: %+v", w)
	}
	eventually(t, "after a patch", settled(3, "blue"))
	w.Spec.Color = "yellow"
	if err := c.Update(ctx, w); !apierrors.IsInvalid(err) && !apierrors.IsConflict(err) {
		t.Errorf("an invalid update: %v", err)
	}
	if err := c.Patch(ctx, w, client.StrategicMergeFrom(before)); !apierrors.IsUnsupportedMediaType(err) {
		t.Errorf("a strategic merge patch: %v", err)
	}

	applied := &Widget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "example.com/v1", Kind: "Widget"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}, Spec: WidgetSpec{Color: "red"},
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(applied)
	if err != nil {
		t.Fatal(err)
	}
	delete(content, "status")
	u := unstructuredOf(content)
	if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("other")); !apierrors.IsConflict(err) {
		t.Errorf("an apply of what another one owns: %v", err)
	}
	u = unstructuredOf(content)
	if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("other"), client.ForceOwnership); err != nil {
		t.Fatal(err)
	}
	eventually(t, "after an apply", settled(3, "red"))

	for color, want := range map[string]int{"red": 1, "blue": 0} {
		var list WidgetList
		if err := c.List(ctx, &list, client.InNamespace("default"), client.MatchingFields{"spec.color": color}); err != nil || len(list.Items) != want {
			t.Errorf("%s selects %d, %v", color, len(list.Items), err)
		}
	}
	if err := c.Delete(ctx, w); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end, also of what it owned", func() error {
		if err := c.Get(ctx, key, &Widget{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the Widget: %v", err)
		}
		if err := c.Get(ctx, key, &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the ConfigMap: %v", err)
		}
		return nil
	})
}

func unstructuredOf(content map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: runtime.DeepCopyJSON(content)}
}
