package manager_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/kayak-k8s/kayak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is a server with its client.
type cluster struct {
	*testing.T
	kubernetes.Interface
	ctx    context.Context
	config *rest.Config
}

// start starts a server with controllers; none is those that are on by default.
func start(t *testing.T, controllers ...string) *cluster {
	t.Helper()
	server, err := kayak.New(kayak.Config{Controllers: controllers})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	config := server.ConfigFor("admin", "system:masters", "system:authenticated")
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	t.Cleanup(cancel)
	return &cluster{t, client, ctx, config}
}

// await waits until ok has no error.
func (c *cluster) await(what string, ok func() error) {
	c.Helper()
	c.awaitFor(20*time.Second, what, ok)
}

func (c *cluster) awaitFor(limit time.Duration, what string, ok func() error) {
	c.Helper()
	for began := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		err := ok()
		if err == nil {
			return
		}
		if time.Since(began) > limit {
			c.Fatalf("%s: %v", what, err)
		}
	}
}

// gone turns the error of a get into one unless it is that there is nothing.
func gone(err error) error {
	switch {
	case err == nil:
		return fmt.Errorf("it is still there")
	case apierrors.IsNotFound(err):
		return nil
	}
	return err
}

func (c *cluster) namespace(name string) {
	c.Helper()
	_, err := c.CoreV1().Namespaces().Create(c.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	c.must(err)
}

func (c *cluster) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// configMap creates one that has owners.
func (c *cluster) configMap(namespace, name string, owners ...metav1.OwnerReference) *corev1.ConfigMap {
	c.Helper()
	made, err := c.CoreV1().ConfigMaps(namespace).Create(c.ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: owners},
	}, metav1.CreateOptions{})
	c.must(err)
	return made
}

func owner(m *corev1.ConfigMap) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: m.Name, UID: m.UID, BlockOwnerDeletion: ptr.To(true)}
}

func (c *cluster) awaitGone(namespace, name string) {
	c.Helper()
	c.await("ConfigMap "+name+" goes", func() error {
		_, err := c.CoreV1().ConfigMaps(namespace).Get(c.ctx, name, metav1.GetOptions{})
		return gone(err)
	})
}

func TestNamespaceGetsItsServiceAccountAndRootCA(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.namespace("a")
	for _, namespace := range []string{"default", "kube-system", "a"} {
		c.await("ServiceAccount default in "+namespace, func() error {
			_, err := c.CoreV1().ServiceAccounts(namespace).Get(c.ctx, "default", metav1.GetOptions{})
			return err
		})
		c.await("ConfigMap kube-root-ca.crt in "+namespace, func() error {
			_, err := c.CoreV1().ConfigMaps(namespace).Get(c.ctx, "kube-root-ca.crt", metav1.GetOptions{})
			return err
		})
	}
	c.must(c.CoreV1().ServiceAccounts("a").Delete(c.ctx, "default", metav1.DeleteOptions{}))
	c.await("ServiceAccount default comes back", func() error {
		_, err := c.CoreV1().ServiceAccounts("a").Get(c.ctx, "default", metav1.GetOptions{})
		return err
	})
}

func TestTokenSecretIsFilledAndGoesWithItsServiceAccount(t *testing.T) {
	t.Parallel()
	c := start(t)
	_, err := c.CoreV1().ServiceAccounts("default").Create(c.ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "sa"}}, metav1.CreateOptions{})
	c.must(err)
	_, err = c.CoreV1().Secrets("default").Create(c.ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "s", Annotations: map[string]string{corev1.ServiceAccountNameKey: "sa"}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}, metav1.CreateOptions{})
	c.must(err)
	c.await("the token comes", func() error {
		secret, err := c.CoreV1().Secrets("default").Get(c.ctx, "s", metav1.GetOptions{})
		if err == nil && (len(secret.Data["token"]) == 0 || len(secret.Data["ca.crt"]) == 0 || string(secret.Data["namespace"]) != "default") {
			err = fmt.Errorf("it has %d entries", len(secret.Data))
		}
		return err
	})
	c.must(c.CoreV1().ServiceAccounts("default").Delete(c.ctx, "sa", metav1.DeleteOptions{}))
	c.await("the Secret goes", func() error {
		_, err := c.CoreV1().Secrets("default").Get(c.ctx, "s", metav1.GetOptions{})
		return gone(err)
	})
}

func TestNamespaceIsDeleted(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.namespace("a")
	c.configMap("a", "m")
	c.must(c.CoreV1().Namespaces().Delete(c.ctx, "a", metav1.DeleteOptions{}))
	c.await("the namespace goes", func() error {
		_, err := c.CoreV1().Namespaces().Get(c.ctx, "a", metav1.GetOptions{})
		return gone(err)
	})
	if _, err := c.CoreV1().ConfigMaps("a").Get(c.ctx, "m", metav1.GetOptions{}); gone(err) != nil {
		t.Errorf("a ConfigMap is left: %v", err)
	}
}

// What has a finalizer stays, the namespace says so, and both go when the finalizer does.
func TestNamespaceWaitsForFinalizers(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.namespace("a")
	m := c.configMap("a", "m")
	m.Finalizers = []string{"example.com/wait"}
	_, err := c.CoreV1().ConfigMaps("a").Update(c.ctx, m, metav1.UpdateOptions{})
	c.must(err)
	c.must(c.CoreV1().Namespaces().Delete(c.ctx, "a", metav1.DeleteOptions{}))
	c.await("the namespace says what it waits for", func() error {
		namespace, err := c.CoreV1().Namespaces().Get(c.ctx, "a", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range namespace.Status.Conditions {
			if condition.Type == corev1.NamespaceFinalizersRemaining && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("its conditions are %v", namespace.Status.Conditions)
	})
	m, err = c.CoreV1().ConfigMaps("a").Get(c.ctx, "m", metav1.GetOptions{})
	c.must(err)
	m.Finalizers = nil
	_, err = c.CoreV1().ConfigMaps("a").Update(c.ctx, m, metav1.UpdateOptions{})
	c.must(err)
	c.await("the namespace goes", func() error {
		_, err := c.CoreV1().Namespaces().Get(c.ctx, "a", metav1.GetOptions{})
		return gone(err)
	})
}

func TestBackgroundDeletion(t *testing.T) {
	t.Parallel()
	c := start(t)
	a := c.configMap("default", "a")
	b := c.configMap("default", "b", owner(a))
	c.configMap("default", "c", owner(b))
	both := c.configMap("default", "both", owner(a), owner(c.configMap("default", "other")))
	c.must(c.CoreV1().ConfigMaps("default").Delete(c.ctx, "a", metav1.DeleteOptions{}))
	c.awaitGone("default", "b")
	c.awaitGone("default", "c")
	c.await("an owner that is left keeps its dependent, without the other's reference", func() error {
		m, err := c.CoreV1().ConfigMaps("default").Get(c.ctx, both.Name, metav1.GetOptions{})
		if err == nil && len(m.OwnerReferences) != 1 {
			err = fmt.Errorf("its owners are %v", m.OwnerReferences)
		}
		return err
	})
}

func TestForegroundDeletion(t *testing.T) {
	t.Parallel()
	c := start(t)
	a := c.configMap("default", "a")
	b := c.configMap("default", "b", owner(a))
	b.Finalizers = []string{"example.com/wait"}
	b, err := c.CoreV1().ConfigMaps("default").Update(c.ctx, b, metav1.UpdateOptions{})
	c.must(err)
	c.must(c.CoreV1().ConfigMaps("default").Delete(c.ctx, "a", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)}))
	c.await("the dependent is deleted first", func() error {
		b, err = c.CoreV1().ConfigMaps("default").Get(c.ctx, "b", metav1.GetOptions{})
		if err == nil && b.DeletionTimestamp == nil {
			err = fmt.Errorf("it is not being deleted")
		}
		return err
	})
	a, err = c.CoreV1().ConfigMaps("default").Get(c.ctx, "a", metav1.GetOptions{})
	c.must(err)
	if !slices.Contains(a.Finalizers, metav1.FinalizerDeleteDependents) {
		t.Errorf("the owner does not wait: its finalizers are %v", a.Finalizers)
	}
	b.Finalizers = nil
	_, err = c.CoreV1().ConfigMaps("default").Update(c.ctx, b, metav1.UpdateOptions{})
	c.must(err)
	c.awaitGone("default", "b")
	c.awaitGone("default", "a")
}

func TestOrphans(t *testing.T) {
	t.Parallel()
	c := start(t)
	a := c.configMap("default", "a")
	c.configMap("default", "b", owner(a))
	c.must(c.CoreV1().ConfigMaps("default").Delete(c.ctx, "a", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationOrphan)}))
	c.awaitGone("default", "a")
	b, err := c.CoreV1().ConfigMaps("default").Get(c.ctx, "b", metav1.GetOptions{})
	c.must(err)
	if len(b.OwnerReferences) != 0 || b.DeletionTimestamp != nil {
		t.Errorf("the orphan is %v", b.ObjectMeta)
	}
}

// An owner that there never was is one that is gone.
func TestDependentOfNobodyIsCollected(t *testing.T) {
	t.Parallel()
	c := start(t)
	a := c.configMap("default", "a")
	a.UID = "11111111-2222-3333-4444-555555555555"
	c.configMap("default", "b", owner(a))
	c.awaitGone("default", "b")
	if _, err := c.CoreV1().ConfigMaps("default").Get(c.ctx, "a", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

func TestQuotaIsCounted(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.configMap("default", "before")
	_, err := c.CoreV1().ResourceQuotas("default").Create(c.ctx, &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "q"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/configmaps": resource.MustParse("10")}},
	}, metav1.CreateOptions{})
	c.must(err)
	used := func(want int) func() error {
		return func() error {
			q, err := c.CoreV1().ResourceQuotas("default").Get(c.ctx, "q", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if used := q.Status.Used["count/configmaps"]; int(used.Value()) != want {
				return fmt.Errorf("%s of them are used", used.String())
			}
			return nil
		}
	}
	c.await("usage is counted", used(2)) // with kube-root-ca.crt
	c.must(c.CoreV1().ConfigMaps("default").Delete(c.ctx, "before", metav1.DeleteOptions{}))
	c.await("usage falls", used(1))
}
