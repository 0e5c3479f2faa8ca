package controllers_test

import (
	"bytes"
	"context"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration"
	"k8s.io/kubernetes/pkg/apis/flowcontrol"
	"k8s.io/kubernetes/pkg/apis/rbac"

	"github.com/kayak-k8s/kayak/internal/controllers"
	"github.com/kayak-k8s/kayak/internal/controllers/premade"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/verb"
)

var rewrite = flag.Bool("rewrite", false, "write the premade objects anew")

var namespaces = resource{"", "namespaces"}

// premadeKinds are the kinds that have premade objects.
var premadeKinds = []resource{
	namespaces, classes, flowSchemas, priorityLevels, roles, clusterRoles, roleBindings, clusterRoleBindings, apiServices,
}

// making are the controllers that make what can be premade.
func (c *cluster) making(a *verb.API, set *premade.Set) []controller {
	flow, policy, aggregation := c.flowControl(a), c.rbacPolicy(a), c.aggregation(a)
	flow.Premade, policy.Premade, aggregation.Premade = set, set, set
	return []controller{
		&controllers.SystemNamespaces{API: a, Resource: c.resource(namespaces), Premade: set, Logger: quiet()},
		&controllers.PriorityClasses{API: a, Resource: c.resource(classes), Premade: set, Logger: quiet()},
		c.apiServices(a, set), flow, policy, aggregation,
	}
}

// stored are all values in the store.
func (c *cluster) stored(t testing.TB) []store.KV {
	t.Helper()
	page, err := c.store.Range(t.Context(), store.RangeOptions{Prefix: root})
	if err != nil {
		t.Fatal(err)
	}
	return page.KVs
}

// kindOf finds the kind of a key.
func (c *cluster) kindOf(t testing.TB, key string) *kind.Resource {
	t.Helper()
	for _, r := range premadeKinds {
		if k := c.resource(r); len(key) > len(k.KeyPrefix(root, "")) && key[:len(k.KeyPrefix(root, ""))] == k.KeyPrefix(root, "") {
			return k
		}
	}
	t.Fatalf("%s belongs to no kind", key)
	return nil
}

// TestPremade compares the premade objects with what the controllers make without them.
func TestPremade(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	ensure(t, c.making(c.tracking(t), nil)...)
	var want []*premade.Object
	for _, kv := range c.stored(t) {
		k := c.kindOf(t, kv.Key)
		obj, err := k.Decode(kv.Value, kv.Revision)
		if err != nil {
			t.Fatal(err)
		}
		withHoles(obj)
		value, err := k.Encode(obj)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, premade.New(kv.Key[len(root):], value))
	}
	if *rewrite {
		if err := os.WriteFile("premade/objects.bin", premade.Format(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got := premade.Default().Under(""); !bytes.Equal(premade.Format(got), premade.Format(want)) {
		t.Errorf("the premade objects are not what the controllers make: write them anew with -rewrite\n%s",
			cmp.Diff(objectKeys(want), objectKeys(got)))
	}
}

func objectKeys(objects []*premade.Object) (list []string) {
	for _, o := range objects {
		list = append(list, o.Key)
	}
	return list
}

// withHoles replaces what differs from one cluster to the next.
func withHoles(obj runtime.Object) {
	then := metav1.Unix(premade.Time, 0)
	m := obj.(metav1.Object)
	m.SetUID(types.UID(premade.UID))
	m.SetCreationTimestamp(then)
	fields := m.GetManagedFields()
	for i := range fields {
		fields[i].Time = &then
	}
	m.SetManagedFields(fields)
	if schema, ok := obj.(*flowcontrol.FlowSchema); ok {
		for i := range schema.Status.Conditions {
			schema.Status.Conditions[i].LastTransitionTime = then
		}
	}
	if service, ok := obj.(*apiregistration.APIService); ok {
		service.Status.Conditions[0].LastTransitionTime = then
	}
}

// TestReady lets a start write the premade objects, a second one find nothing to do, and a third one what somebody has changed.
func TestReady(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.tracking(t)
	began := time.Now().Truncate(time.Second)
	ensure(t, c.making(a, premade.Default())...)
	made := c.stored(t)
	if len(made) != len(premade.Default().Under("")) {
		t.Errorf("there are %d objects, of %d", len(made), len(premade.Default().Under("")))
	}
	uids := map[types.UID]bool{}
	for _, kv := range made {
		obj, err := c.kindOf(t, kv.Key).Decode(kv.Value, kv.Revision)
		if err != nil {
			t.Fatal(err)
		}
		m := obj.(metav1.Object)
		times := []time.Time{m.GetCreationTimestamp().Time}
		for _, entry := range m.GetManagedFields() {
			times = append(times, entry.Time.Time)
		}
		if schema, ok := obj.(*flowcontrol.FlowSchema); ok {
			times = append(times, schema.Status.Conditions[0].LastTransitionTime.Time)
		}
		if service, ok := obj.(*apiregistration.APIService); ok {
			times = append(times, service.Status.Conditions[0].LastTransitionTime.Time)
		}
		if slices.ContainsFunc(times, func(at time.Time) bool { return at.Before(began) || at.After(time.Now()) }) {
			t.Errorf("%s has the times %v, after %v", kv.Key, times, began)
		}
		uids[m.GetUID()] = true
	}
	if len(uids) != len(made) {
		t.Errorf("%d objects have %d UIDs", len(made), len(uids))
	}
	ensure(t, c.making(a, premade.Default())...)
	ensure(t, c.making(c.tracking(t), nil)...) // nor do those find anything who look at each
	if after := c.stored(t); !cmp.Equal(made, after) {
		t.Error("what is as it was made was written again")
	}
	mend(t, c, a)
}

// TestReadyWithPolicies looks on while there is a policy: then nothing is written but through the verbs, which write it all the same.
func TestReadyWithPolicies(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	key := root + "validatingadmissionpolicies/p"
	if _, err := c.store.Put(t.Context(), key, []byte("k8s\x00"), 0, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	a := c.server(t) // keeps no track of managed fields, so what it makes can be told apart
	ensure(t, c.making(a, premade.Default())...)
	made := c.stored(t)
	if len(made) < len(premade.Default().Under("")) {
		t.Errorf("there are %d objects", len(made))
	}
	for _, kv := range made {
		o := premade.Default().Find(kv.Key[len(root):])
		if o != nil && !strings.HasPrefix(o.Key, "namespaces/") && o.Matches(kv.Value) { // those have none
			t.Errorf("%s was not made", kv.Key)
		}
	}
}

// TestAggregationOfOthers lets a role come with a label while all there is are premade ones.
func TestAggregationOfOthers(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.tracking(t)
	list := c.making(a, premade.Default())
	ensure(t, list...)
	follows(t, c, a, list[len(list)-1])
}

// mend changes and deletes some of the objects, and lets a start see to it.
func mend(t *testing.T, c *cluster, a *verb.API) {
	update(t, a, c.resource(clusterRoles), "", "system:discovery", func(role *rbac.ClusterRole) { role.Rules = nil })
	update(t, a, c.resource(flowSchemas), "", "exempt", func(schema *flowcontrol.FlowSchema) {
		schema.Annotations = nil
	})
	ctx := verb.AsServer(context.Background())
	for _, name := range []string{"edit", "system:node"} {
		if _, _, err := a.DeleteObject(ctx, c.resource(clusterRoles), "", name, &metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	createSchema(t, c, a, "of-an-earlier-version", "exempt", "true")
	ensure(t, c.making(a, premade.Default())...)
	for _, o := range premade.Default().Under("") {
		if slices.Contains([]string{"clusterroles/system:discovery", "flowschemas/exempt"}, o.Key) {
			continue // as they should be, with a history
		}
		if record := a.State.Snapshot().Get(root + o.Key); record == nil || !o.Matches(record.Value()) {
			t.Errorf("%s is not as it was made", o.Key)
		}
	}
	if role := c.clusterRole(t, a, "system:discovery"); len(role.Rules) == 0 {
		t.Error("system:discovery was not reconciled")
	}
	if schema := get[*flowcontrol.FlowSchema](t, a, c.resource(flowSchemas), "exempt"); schema.Annotations[autoUpdate] != "true" {
		t.Errorf("the flow schema exempt has the annotations %v", schema.Annotations)
	}
	if a.State.Snapshot().Get(root+"flowschemas/of-an-earlier-version") != nil {
		t.Error("a flow schema that Kubernetes no longer has is still there")
	}
}
