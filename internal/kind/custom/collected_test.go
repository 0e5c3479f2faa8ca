package custom_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/kayak-k8s/kayak"
)

// TestObjectsGoWithOwnerAndNamespace: the garbage collector and the deletion of namespaces know custom resources.
func TestObjectsGoWithOwnerAndNamespace(t *testing.T) {
	t.Parallel()
	c := start(t, kayak.Config{})
	ctx := t.Context()
	core := must(kubernetes.NewForConfig(c.config))(t)
	must(core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{}))(t)
	c.define(t, widgets)
	r := c.dynamic.Resource(widgetResource).Namespace("a")
	owner := must(r.Create(ctx, object(t, "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: owner}\nspec: {}"), metav1.CreateOptions{}))(t)
	must(r.Create(ctx, object(t, "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: owned, ownerReferences: "+
		"[{apiVersion: example.com/v1, kind: Widget, name: owner, uid: %s}]}\nspec: {}", owner.GetUID()), metav1.CreateOptions{}))(t)
	must(r.Create(ctx, object(t, "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: other}\nspec: {}"), metav1.CreateOptions{}))(t)
	w := must(r.Watch(ctx, metav1.ListOptions{}))(t)
	defer w.Stop()
	wait := func(name string) {
		for e := range w.ResultChan() {
			if e.Type == watch.Deleted && nameOf(e) == name {
				return
			}
		}
		t.Fatalf("%s is not deleted", name)
	}
	if err := r.Delete(ctx, "owner", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wait("owned")
	if err := core.CoreV1().Namespaces().Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wait("other")
	if _, err := r.Get(ctx, "other", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}

func nameOf(e watch.Event) string {
	accessor, ok := e.Object.(metav1.Object)
	if !ok {
		return ""
	}
	return accessor.GetName()
}
