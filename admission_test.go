package kayak_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kayak-k8s/kayak"
)

func namespaceObject(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx:1"}}},
	}
}

// A namespace counts from the moment its creation, or its deletion, is acknowledged.
func TestNamespaceLifecycleIsExact(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, server *kayak.Server) {
		c := client(t, server.RESTConfig()).CoreV1()
		for i := range 20 {
			name := "n" + string(rune('a'+i))
			_, err := c.ConfigMaps(name).Create(t.Context(), configMap("early"), metav1.CreateOptions{})
			if !apierrors.IsNotFound(err) || err.Error() != `namespaces "`+name+`" not found` {
				t.Fatalf("a namespace that is not there: %v", err)
			}
			if _, err := c.Namespaces().Create(t.Context(), namespaceObject(name), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := c.ConfigMaps(name).Create(t.Context(), configMap("a"), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := c.Namespaces().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			_, err = c.ConfigMaps(name).Create(t.Context(), configMap("late"), metav1.CreateOptions{})
			want := `configmaps "late" is forbidden: unable to create new content in namespace ` + name + ` because it is being terminated`
			if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || err.Error() != want {
				t.Fatalf("a terminating namespace: %v", err)
			}
		}
		err := c.Namespaces().Delete(t.Context(), "default", metav1.DeleteOptions{})
		if !apierrors.IsForbidden(err) || err.Error() != `namespaces "default" is forbidden: this namespace may not be deleted` {
			t.Errorf("the default namespace: %v", err)
		}
	})
}

// The default plugins do to a pod what kube-apiserver's do.
func TestDefaultChain(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, kayak.Config{}).RESTConfig())
	created, err := c.CoreV1().Pods("default").Create(t.Context(), pod("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if created.Spec.Priority == nil || len(created.Spec.Tolerations) != 2 {
		t.Errorf("priority %v, tolerations %v", created.Spec.Priority, created.Spec.Tolerations)
	}
}
