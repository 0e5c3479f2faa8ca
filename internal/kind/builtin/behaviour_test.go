package builtin

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/admissionregistration"
	"k8s.io/kubernetes/pkg/apis/apps"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/utils/ptr"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// find returns a kind of a table that was made with options.
func find(t *testing.T, options Options, group, resource string) *kind.Kind {
	t.Helper()
	kinds, err := Kinds(options)
	if err != nil {
		t.Fatal(err)
	}
	table := kind.NewTable(kinds...)
	for _, k := range table.Kinds() {
		if k.Group == group && k.Resource == resource {
			return k
		}
	}
	t.Fatalf("there is no %s in %q", resource, group)
	return nil
}

func TestScale(t *testing.T) {
	t.Parallel()
	meta := metav1.ObjectMeta{Name: "x", Namespace: "n", UID: "u", ResourceVersion: "7", Labels: map[string]string{"l": "l"}}
	selector := &metav1.LabelSelector{
		MatchLabels:      map[string]string{"a": "b"},
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "c", Operator: "NotIn", Values: []string{"v", "w"}}},
	}
	for resource, test := range map[schema.GroupResource]struct {
		obj      runtime.Object
		selector string
	}{
		apps.Resource("deployments"): {&apps.Deployment{ObjectMeta: meta,
			Spec:   apps.DeploymentSpec{Replicas: 3, Selector: selector},
			Status: apps.DeploymentStatus{Replicas: 2}}, "a=b,c notin (v,w)"},
		apps.Resource("replicasets"): {&apps.ReplicaSet{ObjectMeta: meta,
			Spec:   apps.ReplicaSetSpec{Replicas: 3, Selector: selector},
			Status: apps.ReplicaSetStatus{Replicas: 2}}, "a=b,c notin (v,w)"},
		apps.Resource("statefulsets"): {&apps.StatefulSet{ObjectMeta: meta,
			Spec:   apps.StatefulSetSpec{Replicas: 3, Selector: selector},
			Status: apps.StatefulSetStatus{Replicas: 2}}, "a=b,c notin (v,w)"},
		api.Resource("replicationcontrollers"): {&api.ReplicationController{ObjectMeta: meta,
			Spec:   api.ReplicationControllerSpec{Replicas: ptr.To(int32(3)), Selector: map[string]string{"a": "b"}},
			Status: api.ReplicationControllerStatus{Replicas: 2}}, "a=b"},
	} {
		view := find(t, Options{}, resource.Group, resource.Resource).Subresources["scale"].View
		got, err := view.Of(test.obj)
		if err != nil {
			t.Fatal(err)
		}
		want := &autoscaling.Scale{
			ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "n", UID: "u", ResourceVersion: "7"},
			Spec:       autoscaling.ScaleSpec{Replicas: 3},
			Status:     autoscaling.ScaleStatus{Replicas: 2, Selector: test.selector},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", resource, diff)
		}
		checkScaleErrors(t, view, resource, test.obj)

		want.Spec.Replicas, want.ResourceVersion = 5, "6"
		if err := view.Into(test.obj, want.DeepCopy()); err != nil {
			t.Fatal(err)
		}
		if got, err = view.Of(test.obj); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, scaled (-want +got):\n%s", resource, diff)
		}
	}
}

// The texts are those of a kube-apiserver.
func checkScaleErrors(t *testing.T, view *kind.View, resource schema.GroupResource, obj runtime.Object) {
	t.Helper()
	before := obj.DeepCopyObject()
	err := view.Into(obj, &autoscaling.Scale{Spec: autoscaling.ScaleSpec{Replicas: -1}})
	want := `Scale.autoscaling "x" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0`
	if !apierrors.IsInvalid(err) || err.Error() != want {
		t.Errorf("%s: %v", resource, err)
	}
	err = view.Into(obj, &autoscaling.Scale{ObjectMeta: metav1.ObjectMeta{UID: "other"}})
	resource.Resource += "/scale"
	want = `Operation cannot be fulfilled on ` + resource.String() + ` "x": Precondition failed: UID in precondition: other, ` +
		`UID in object meta: u`
	if !apierrors.IsConflict(err) || err.Error() != want {
		t.Errorf("%s: %v", resource, err)
	}
	if diff := cmp.Diff(before, obj); diff != "" {
		t.Errorf("%s was changed:\n%s", resource, diff)
	}
}

func TestColumnsOfScale(t *testing.T) {
	t.Parallel()
	face := find(t, Options{}, "apps", "deployments").Subresources["scale"].Face
	scale := &autoscaling.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: "x"},
		Spec:       autoscaling.ScaleSpec{Replicas: 3},
		Status:     autoscaling.ScaleStatus{Replicas: 2},
	}
	table, err := face.Table(t.Context(), scale, &metav1.TableOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := []any{"x", int64(3), int64(2), "<unknown>"}
	if diff := cmp.Diff(want, table.Rows[0].Cells); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestScaleOfBadSelector(t *testing.T) {
	t.Parallel()
	view := find(t, Options{}, "apps", "deployments").Subresources["scale"].View
	_, err := view.Of(&apps.Deployment{Spec: apps.DeploymentSpec{Selector: &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "c", Operator: "Like"}},
	}}})
	if !apierrors.IsBadRequest(err) {
		t.Error(err)
	}
}

// Objects that older versions have stored lack what newer versions set.
func TestServicesOfOlderVersions(t *testing.T) {
	t.Parallel()
	single, dual := ptr.To(api.IPFamilyPolicySingleStack), ptr.To(api.IPFamilyPolicyRequireDualStack)
	v4, v6 := api.IPv4Protocol, api.IPv6Protocol
	internal := api.ServiceInternalTrafficPolicyCluster
	for name, test := range map[string]struct {
		primary   api.IPFamily
		old, want api.ServiceSpec
	}{
		"cluster IP": {
			old: api.ServiceSpec{ClusterIP: "fd00::1"},
			want: api.ServiceSpec{ClusterIP: "fd00::1", ClusterIPs: []string{"fd00::1"},
				IPFamilies: []api.IPFamily{v6}, IPFamilyPolicy: single},
		},
		"both families": {
			old: api.ServiceSpec{ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1", "fd00::1"}},
			want: api.ServiceSpec{ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1", "fd00::1"},
				IPFamilies: []api.IPFamily{v4, v6}, IPFamilyPolicy: dual},
		},
		"headless": {
			primary: v6,
			old:     api.ServiceSpec{ClusterIP: "None", Selector: map[string]string{"a": "b"}},
			want: api.ServiceSpec{ClusterIP: "None", ClusterIPs: []string{"None"}, Selector: map[string]string{"a": "b"},
				IPFamilies: []api.IPFamily{v6}, IPFamilyPolicy: single},
		},
		"headless without selector": {
			old: api.ServiceSpec{ClusterIP: "None"},
			want: api.ServiceSpec{ClusterIP: "None", ClusterIPs: []string{"None"},
				IPFamilies: []api.IPFamily{v4, v6}, IPFamilyPolicy: dual},
		},
		"external": {
			old:  api.ServiceSpec{Type: api.ServiceTypeExternalName, InternalTrafficPolicy: &internal},
			want: api.ServiceSpec{Type: api.ServiceTypeExternalName},
		},
		"complete": {
			old:  api.ServiceSpec{ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"}, IPFamilies: []api.IPFamily{v4}},
			want: api.ServiceSpec{ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"}, IPFamilies: []api.IPFamily{v4}},
		},
	} {
		service := &api.Service{Spec: test.old}
		find(t, Options{PrimaryIPFamily: test.primary}, "", "services").OnRead(service)
		if diff := cmp.Diff(test.want, service.Spec); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestClaimsOfOlderVersions(t *testing.T) {
	t.Parallel()
	claim := &api.PersistentVolumeClaim{Spec: api.PersistentVolumeClaimSpec{
		DataSource: &api.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "source"},
	}}
	find(t, Options{}, "", "persistentvolumeclaims").OnRead(claim)
	want := &api.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "source"}
	if diff := cmp.Diff(want, claim.Spec.DataSourceRef); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What was stored in groups and versions that are no longer served is still read.
func TestOldVersionsDecode(t *testing.T) {
	table := table(t)
	t.Parallel()
	for _, test := range []struct {
		group, resource string
		stored          schema.GroupVersion
	}{
		{"apps", "deployments", schema.GroupVersion{Group: "extensions", Version: "v1beta1"}},
		{"apps", "statefulsets", schema.GroupVersion{Group: "apps", Version: "v1beta2"}},
		{"networking.k8s.io", "ingresses", schema.GroupVersion{Group: "extensions", Version: "v1beta1"}},
		{"networking.k8s.io", "networkpolicies", schema.GroupVersion{Group: "extensions", Version: "v1beta1"}},
		{"", "events", schema.GroupVersion{Group: "events.k8s.io", Version: "v1beta1"}},
		{"batch", "cronjobs", schema.GroupVersion{Group: "batch", Version: "v1beta1"}},
		{"policy", "poddisruptionbudgets", schema.GroupVersion{Group: "policy", Version: "v1beta1"}},
		{"flowcontrol.apiserver.k8s.io", "flowschemas", schema.GroupVersion{Group: "flowcontrol.apiserver.k8s.io", Version: "v1beta3"}},
		{"certificates.k8s.io", "clustertrustbundles", schema.GroupVersion{Group: "certificates.k8s.io", Version: "v1"}},
		{"apiextensions.k8s.io", "customresourcedefinitions", schema.GroupVersion{Group: "apiextensions.k8s.io", Version: "v1"}},
	} {
		i := 0
		for table.Kinds()[i].GroupResource() != (schema.GroupResource{Group: test.group, Resource: test.resource}) {
			i++
		}
		k := table.Kinds()[i]
		old, err := k.Codec.Creater.New(test.stored.WithKind(k.Name))
		if err != nil {
			t.Fatal(err)
		}
		old.(metav1.Object).SetName("old")
		old.(metav1.Object).SetUID("u")
		value, err := runtime.Encode(legacyEncoder(k, test.stored), old)
		if err != nil {
			t.Fatal(err)
		}
		header, err := k.Header("/registry/"+k.Prefix+"/old", value)
		if err != nil || header.UID != "u" {
			t.Errorf("%v %s: header %+v, %v", test.stored, k.Name, header, err)
		}
		obj, err := k.Decode(value, 7)
		if err != nil {
			t.Errorf("%v %s: %v", test.stored, k.Name, err)
			continue
		}
		if _, err := k.Encode(obj); err != nil || obj.(metav1.Object).GetName() != "old" {
			t.Errorf("%v %s: read as %v, %v", test.stored, k.Name, obj, err)
		}
	}
}

func legacyEncoder(k *kind.Kind, gv schema.GroupVersion) runtime.Encoder {
	if own(k) {
		info, _ := runtime.SerializerInfoForMediaType(k.Codec.Serializer.SupportedMediaTypes(), runtime.ContentTypeJSON)
		return k.Codec.Serializer.EncoderForVersion(info.Serializer, gv)
	}
	info, _ := runtime.SerializerInfoForMediaType(legacyscheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	return legacyscheme.Codecs.EncoderForVersion(info.Serializer, gv)
}

// A definition stays until the objects it defines are gone.
func TestTerminateDefinition(t *testing.T) {
	t.Parallel()
	k := find(t, Options{}, "apiextensions.k8s.io", "customresourcedefinitions")
	definition := &apiextensions.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "x"}}
	k.Terminate(definition, &metav1.DeleteOptions{})
	if definition.DeletionTimestamp.IsZero() ||
		!apiextensions.CRDHasFinalizer(definition, apiextensions.CustomResourceCleanupFinalizer) ||
		!apiextensions.IsCRDConditionTrue(definition, apiextensions.Terminating) {
		t.Errorf("not terminating: %+v", definition)
	}
	if !k.Terminated(definition) {
		t.Error("a further delete must look at the finalizers")
	}
}

func TestColumnsOfAPIServices(t *testing.T) {
	t.Parallel()
	k := find(t, Options{}, "apiregistration.k8s.io", "apiservices")
	condition := func(status apiregistration.ConditionStatus, reason string) apiregistration.APIServiceStatus {
		return apiregistration.APIServiceStatus{Conditions: []apiregistration.APIServiceCondition{
			{Type: "Other", Status: "Other"}, {Type: apiregistration.Available, Status: status, Reason: reason},
		}}
	}
	reference := &apiregistration.ServiceReference{Namespace: "ns", Name: "svc"}
	list := &apiregistration.APIServiceList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}, Items: []apiregistration.APIService{
		{ObjectMeta: metav1.ObjectMeta{Name: "local"}, Status: condition("True", "Local")},
		{ObjectMeta: metav1.ObjectMeta{Name: "missing"}, Spec: apiregistration.APIServiceSpec{Service: reference},
			Status: condition("False", "ServiceNotFound")},
		{ObjectMeta: metav1.ObjectMeta{Name: "new"}},
	}}
	table, err := k.Table(t.Context(), list, &metav1.TableOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got [][]any
	for _, row := range table.Rows {
		got = append(got, row.Cells)
	}
	want := [][]any{
		{"local", "Local", "True", "<unknown>"},
		{"missing", "ns/svc", "False (ServiceNotFound)", "<unknown>"},
		{"new", "Local", "Unknown", "<unknown>"},
	}
	if diff := cmp.Diff(want, got); diff != "" || table.ResourceVersion != "7" || len(table.ColumnDefinitions) != 4 {
		t.Errorf("resourceVersion %q (-want +got):\n%s", table.ResourceVersion, diff)
	}
}

// review answers nothing; it only stands for an implementation.
type review struct{ unserved }

func TestStorages(t *testing.T) {
	t.Parallel()
	exec, tokens := &review{}, &review{}
	options := Options{Storages: map[schema.GroupResource]rest.Storage{
		{Resource: "pods/exec"}: exec,
		{Group: "authentication.k8s.io", Resource: "tokenreviews"}: tokens,
	}}
	pods := find(t, options, "", "pods")
	if got := pods.Subresources["exec"].Storage; got != rest.Storage(exec) {
		t.Errorf("exec is served by %v", got)
	}
	if got := pods.Subresources["attach"].Storage; got != nil {
		t.Errorf("attach is served by %v", got)
	}
	if got := find(t, options, "authentication.k8s.io", "tokenreviews").Virtual; got != rest.Storage(tokens) {
		t.Errorf("tokenreviews are served by %v", got)
	}
	other := find(t, options, "authentication.k8s.io", "selfsubjectreviews")
	if _, ok := other.Virtual.(rest.Creater); ok || other.Stored() {
		t.Errorf("selfsubjectreviews are served by %v", other.Virtual)
	}
}

// A misspelt name must not go unnoticed.
func TestUnknownStorage(t *testing.T) {
	t.Parallel()
	for _, gr := range []schema.GroupResource{{Resource: "pods/exce"}, {Resource: "pods"}, {Resource: "tokenreviews"}} {
		if _, err := Kinds(Options{Storages: map[schema.GroupResource]rest.Storage{gr: &review{}}}); err == nil {
			t.Errorf("%v was taken", gr)
		}
	}
}

// Every hook that asks for another object gets it through the options.
func TestLookup(t *testing.T) {
	t.Parallel()
	objects := map[schema.GroupResource]runtime.Object{
		api.Resource("namespaces"): &api.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x", Labels: map[string]string{"a": "b"}}},
		admissionregistration.Resource("validatingadmissionpolicies"): &admissionregistration.ValidatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "x"}},
		admissionregistration.Resource("mutatingadmissionpolicies"): &admissionregistration.MutatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "x"}},
	}
	missing := errors.New("missing")
	o := Options{Lookup: func(_ context.Context, resource schema.GroupResource, name string) (runtime.Object, error) {
		if name != "x" {
			return nil, missing
		}
		return objects[resource], nil
	}}
	namespace, err := namespaces{Options: o}.Get(t.Context(), "x", metav1.GetOptions{})
	want := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x", Labels: map[string]string{"a": "b"}}}
	if diff := cmp.Diff(want, namespace); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if policy, err := (policies{o}).GetValidatingAdmissionPolicy(t.Context(), "x"); err != nil || policy.Name != "x" {
		t.Errorf("%v, %v", policy, err)
	}
	if policy, err := (policies{o}).GetMutatingAdmissionPolicy(t.Context(), "x"); err != nil || policy.Name != "x" {
		t.Errorf("%v, %v", policy, err)
	}
	_, err1 := namespaces{Options: o}.Get(t.Context(), "y", metav1.GetOptions{})
	_, err2 := policies{o}.GetValidatingAdmissionPolicy(t.Context(), "y")
	_, err3 := policies{o}.GetMutatingAdmissionPolicy(t.Context(), "y")
	if err1 != missing || err2 != missing || err3 != missing {
		t.Error(err1, err2, err3)
	}
}

// Without an authorizer nobody is allowed what upstream would ask one for, and nothing crashes.
func TestNoOptions(t *testing.T) {
	t.Parallel()
	o := Options{}.withDefaults()
	decision, _, err := o.mustAuthorize().Authorize(t.Context(), authorizer.AttributesRecord{})
	if decision == authorizer.DecisionAllow || err != nil {
		t.Error(decision, err)
	}
	if _, err := o.Resolver.Resolve(schema.GroupVersionKind{Kind: "X"}); err == nil {
		t.Error("a resource was found")
	}
	if _, err := o.Lookup(t.Context(), schema.GroupResource{}, "x"); err == nil {
		t.Error("an object was found")
	}
}
