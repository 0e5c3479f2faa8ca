package custom_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	svm "k8s.io/api/storagemigration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"github.com/kayak-k8s/kayak"
)

const twoVersions = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: foos.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: foos, singular: foo, kind: Foo}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {a: {type: string}}}}
  - name: v2
    served: true
    storage: false
    schema: {openAPIV3Schema: {type: object, properties: {a: {type: string}, b: {type: string}}}}
`

// changeDefinition changes a definition, and returns the error that the server has for it.
func (c *cluster) changeDefinition(t *testing.T, name string, change func(*apiextensionsv1.CustomResourceDefinition)) (*apiextensionsv1.CustomResourceDefinition, error) {
	t.Helper()
	definitions := c.definitions.ApiextensionsV1().CustomResourceDefinitions()
	for {
		crd := must(definitions.Get(t.Context(), name, metav1.GetOptions{}))(t)
		change(crd)
		crd, err := definitions.Update(t.Context(), crd, metav1.UpdateOptions{})
		if !apierrors.IsConflict(err) {
			return crd, err
		}
	}
}

func storeIn(version string) func(*apiextensionsv1.CustomResourceDefinition) {
	return func(crd *apiextensionsv1.CustomResourceDefinition) {
		for i := range crd.Spec.Versions {
			crd.Spec.Versions[i].Storage = crd.Spec.Versions[i].Name == version
		}
	}
}

func without(version string) func(*apiextensionsv1.CustomResourceDefinition) {
	return func(crd *apiextensionsv1.CustomResourceDefinition) {
		crd.Spec.Versions = slices.DeleteFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == version })
	}
}

// migrate has all objects of foos.example.com written anew, and returns when that is done and told.
func migrate(ctx context.Context, t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	migrations := client.StoragemigrationV1().StorageVersionMigrations()
	made := must(migrations.Create(ctx, &svm.StorageVersionMigration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       svm.StorageVersionMigrationSpec{Resource: metav1.GroupResource{Group: "example.com", Resource: "foos"}},
	}, metav1.CreateOptions{}))(t)
	w := must(migrations.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name, ResourceVersion: made.ResourceVersion}))(t)
	defer w.Stop()
	for e := range w.ResultChan() {
		m, ok := e.Object.(*svm.StorageVersionMigration)
		if !ok {
			t.Fatalf("%v", e)
		}
		if meta.IsStatusConditionTrue(m.Status.Conditions, string(svm.MigrationFailed)) {
			t.Fatalf("%+v", m.Status)
		}
		if meta.IsStatusConditionTrue(m.Status.Conditions, string(svm.MigrationSucceeded)) &&
			meta.IsStatusConditionFalse(m.Status.Conditions, string(svm.MigrationRunning)) {
			return
		}
	}
	t.Fatal("it is not done")
}

// TestStorageVersionMigration: a version can be removed when no object is stored in it any more, and a StorageVersionMigration sees
// to that.
func TestStorageVersionMigration(t *testing.T) {
	t.Parallel()
	c := start(t, kayak.Config{})
	ctx := t.Context()
	core := must(kubernetes.NewForConfig(c.config))(t)
	if crd := c.define(t, twoVersions); !slices.Equal(crd.Status.StoredVersions, []string{"v1"}) {
		t.Fatalf("at first %v", crd.Status.StoredVersions)
	}
	foos := c.dynamic.Resource(schemaOf("foos")).Namespace("default")
	for _, name := range []string{"one", "two", "three"} {
		must(foos.Create(ctx, object(t, "apiVersion: example.com/v1\nkind: Foo\nmetadata: {name: %s}\na: '1'", name), metav1.CreateOptions{}))(t)
	}
	crd := must(c.changeDefinition(t, "foos.example.com", storeIn("v2")))(t)
	if !slices.Equal(crd.Status.StoredVersions, []string{"v1", "v2"}) {
		t.Fatalf("with another storage version %v", crd.Status.StoredVersions)
	}
	if _, err := c.changeDefinition(t, "foos.example.com", without("v1")); !apierrors.IsInvalid(err) {
		t.Errorf("a version that objects are stored in was removed: %v", err)
	}
	must(foos.Create(ctx, object(t, "apiVersion: example.com/v1\nkind: Foo\nmetadata: {name: four}\na: '1'"), metav1.CreateOptions{}))(t)
	before := revisions(t, c)
	migrate(ctx, t, core, "first")
	after := revisions(t, c)
	for name, revision := range after {
		if stored := name != "four"; stored != (before[name] != revision) {
			t.Errorf("%s had revision %s and has %s", name, before[name], revision)
		}
	}
	definitions := c.definitions.ApiextensionsV1().CustomResourceDefinitions()
	crd = must(definitions.Get(ctx, "foos.example.com", metav1.GetOptions{}))(t)
	if !slices.Equal(crd.Status.StoredVersions, []string{"v2"}) || crd.Generation != 2 {
		t.Errorf("afterwards %v, generation %d", crd.Status.StoredVersions, crd.Generation)
	}
	if !slices.ContainsFunc(crd.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.StorageMigrating && c.Reason == "MigrationSucceeded"
	}) {
		t.Errorf("conditions: %+v", crd.Status.Conditions)
	}
	migrate(ctx, t, core, "second")
	for name, revision := range revisions(t, c) {
		if after[name] != revision {
			t.Errorf("%s was written again", name)
		}
	}
	must(c.changeDefinition(t, "foos.example.com", without("v1")))(t)
	v2 := schema.GroupVersionResource{Group: "example.com", Version: "v2", Resource: "foos"}
	got := must(c.dynamic.Resource(v2).Namespace("default").Get(ctx, "one", metav1.GetOptions{}))(t)
	if a, _, _ := unstructured.NestedString(got.Object, "a"); a != "1" || got.GetGeneration() != 1 {
		t.Errorf("%v", got)
	}
}

// revisions are those of all foos.
func revisions(t *testing.T, c *cluster) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, item := range must(c.dynamic.Resource(schemaOf("foos")).List(t.Context(), metav1.ListOptions{}))(t).Items {
		found[item.GetName()] = item.GetResourceVersion()
	}
	return found
}

// TestStoredVersions: clients may set status.storedVersions to what they like, and a version named there cannot be removed. That is
// how kube-apiserver does it.
func TestStoredVersions(t *testing.T) {
	t.Parallel()
	c := start(t, kayak.Config{})
	ctx := t.Context()
	c.define(t, twoVersions)
	must(c.changeDefinition(t, "foos.example.com", storeIn("v2")))(t)
	definitions := c.definitions.ApiextensionsV1().CustomResourceDefinitions()
	for _, test := range []struct{ set, want []string }{
		{[]string{"v1"}, []string{"v1"}}, {[]string{"v2", "v3"}, []string{"v2", "v3"}}, {[]string{}, []string{"v2"}}, {[]string{"v2"}, []string{"v2"}},
	} {
		crd := must(definitions.Get(ctx, "foos.example.com", metav1.GetOptions{}))(t)
		crd.Status.StoredVersions = test.set
		if crd = must(definitions.UpdateStatus(ctx, crd, metav1.UpdateOptions{}))(t); !slices.Equal(crd.Status.StoredVersions, test.want) {
			t.Errorf("%v becomes %v", test.set, crd.Status.StoredVersions)
		}
	}
	crd := must(c.changeDefinition(t, "foos.example.com", storeIn("v1")))(t)
	if !slices.Equal(crd.Status.StoredVersions, []string{"v2", "v1"}) {
		t.Errorf("back again: %v", crd.Status.StoredVersions)
	}
	_, err := c.changeDefinition(t, "foos.example.com", without("v2"))
	const want = "missing from spec.versions; v2 was previously a storage version, and must remain in spec.versions"
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("a stored version was removed: %v", err)
	}
}
