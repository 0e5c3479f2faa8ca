package node_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/resource"
	"k8s.io/kubernetes/pkg/apis/storage"

	"github.com/kayak-k8s/kayak/internal/authz/node"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/kind/builtin"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/memory"
)

const root = "/registry/"

// cluster is a store with an authorizer that follows it.
type cluster struct {
	t         *testing.T
	store     store.Store
	table     *kind.Table
	state     *state.State
	node      *node.Authorizer
	revisions map[string]int64
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	kinds, err := builtin.Kinds(builtin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, store: memory.New(), table: kind.NewTable(kinds...), revisions: map[string]int64{}}
	source := node.Source{Root: root, Logger: slog.New(slog.DiscardHandler)}
	var families []state.Family
	for _, one := range [][2]string{{"", "pods"}, {"", "persistentvolumes"}, {"storage.k8s.io", "volumeattachments"},
		{"resource.k8s.io", "resourceslices"}, {"certificates.k8s.io", "podcertificaterequests"}} {
		k := c.table.Resource(one[0], "v1", one[1])
		source.Kinds = append(source.Kinds, k)
		if k != nil {
			families = append(families, state.Family{Prefix: k.KeyPrefix(root, ""), Header: k.Header, Index: k.Index})
		}
	}
	c.state = state.New(state.Options{Store: c.store, Prefix: root, Families: families})
	source.State = c.state
	ctx, cancel := context.WithCancel(context.Background())
	c.node = node.New(ctx)
	c.node.Follow(source)
	var group sync.WaitGroup
	group.Go(func() { _ = c.state.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		group.Wait()
		_ = c.store.Close()
	})
	if err := c.state.WaitSynced(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// put stores an object, and waits until the state has it.
func (c *cluster) put(group, name string, obj runtime.Object) {
	c.t.Helper()
	r := c.table.Resource(group, "v1", name)
	m := obj.(metav1.Object)
	key := r.Key(root, m.GetNamespace(), m.GetName())
	value, err := r.Encode(obj)
	if err != nil {
		c.t.Fatal(err)
	}
	revision, err := c.store.Put(c.t.Context(), key, value, c.revisions[key], store.PutOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	c.revisions[key] = revision
	c.wait(revision)
}

func (c *cluster) wait(revision int64) {
	c.t.Helper()
	if _, err := c.state.AtLeast(c.t.Context(), revision); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) remove(group, name, namespace, object string) {
	c.t.Helper()
	key := c.table.Resource(group, "v1", name).Key(root, namespace, object)
	revision, err := c.store.Delete(c.t.Context(), key, c.revisions[key])
	if err != nil {
		c.t.Fatal(err)
	}
	delete(c.revisions, key)
	c.wait(revision)
}

func kubelet(name string) user.Info {
	return &user.DefaultInfo{Name: "system:node:" + name, Groups: []string{"system:nodes", "system:authenticated"}}
}

// get asks for one object of the core group, in the namespace a.
func (c *cluster) get(u user.Info, resource, name string) (authorizer.Decision, string) {
	return c.ask(authorizer.AttributesRecord{User: u, Verb: "get", Resource: resource, Namespace: "a", Name: name, APIVersion: "v1"})
}

func (c *cluster) ask(a authorizer.AttributesRecord) (authorizer.Decision, string) {
	c.t.Helper()
	a.ResourceRequest = true
	decision, reason, err := c.node.Authorize(c.t.Context(), a)
	if err != nil {
		c.t.Fatal(err)
	}
	return decision, reason
}

func pod(name, node, secret string) *api.Pod {
	p := &api.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}, Spec: api.PodSpec{NodeName: node, ServiceAccountName: "robot"}}
	if secret != "" {
		p.Spec.Volumes = []api.Volume{
			{Name: "v", VolumeSource: api.VolumeSource{Secret: &api.SecretVolumeSource{SecretName: secret}}},
			{Name: "c", VolumeSource: api.VolumeSource{PersistentVolumeClaim: &api.PersistentVolumeClaimVolumeSource{ClaimName: "claim"}}},
		}
	}
	return p
}

func TestPodsAndWhatTheyReferTo(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.put("", "pods", pod("early", "n1", "s0"))
	expect := func(u user.Info, resource, name string, want authorizer.Decision, wantReason string) {
		t.Helper()
		if decision, reason := c.get(u, resource, name); decision != want || reason != wantReason {
			t.Errorf("%s gets %s/%s: got %v %q, want %v %q", u.GetName(), resource, name, decision, reason, want, wantReason)
		}
	}
	const unrelated = "no relationship found between node 'n2' and this object"
	expect(kubelet("n1"), "secrets", "s0", authorizer.DecisionAllow, "") // what was there before anybody asked
	expect(kubelet("n2"), "secrets", "s0", authorizer.DecisionNoOpinion, unrelated)
	expect(&user.DefaultInfo{Name: "system:node:n1"}, "secrets", "s0", authorizer.DecisionNoOpinion, "")
	expect(&user.DefaultInfo{Name: "jane"}, "secrets", "s0", authorizer.DecisionNoOpinion, "")

	c.put("", "pods", pod("late", "", "s1"))
	expect(kubelet("n2"), "secrets", "s1", authorizer.DecisionNoOpinion, unrelated)
	c.put("", "pods", pod("late", "n2", "s1"))
	expect(kubelet("n2"), "secrets", "s1", authorizer.DecisionAllow, "")
	expect(kubelet("n2"), "persistentvolumeclaims", "claim", authorizer.DecisionAllow, "")
	status := pod("late", "n2", "s1")
	status.Status.Phase = api.PodRunning
	c.put("", "pods", status)
	expect(kubelet("n2"), "secrets", "s1", authorizer.DecisionAllow, "")
	c.remove("", "pods", "a", "late")
	expect(kubelet("n2"), "secrets", "s1", authorizer.DecisionNoOpinion, unrelated)
}

// TestOthers are the other kinds in the graph, one of which is stored in another version than the graph has.
func TestOthers(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.put("", "pods", pod("p", "n1", "s"))
	name := "n1"
	volume := func(u user.Info) authorizer.Decision {
		decision, _ := c.ask(authorizer.AttributesRecord{User: u, Verb: "get", Resource: "persistentvolumes", Name: "pv"})
		return decision
	}
	if volume(kubelet("n1")) == authorizer.DecisionAllow {
		t.Error("a volume that there is not can be read")
	}
	c.put("", "persistentvolumes", &api.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: api.PersistentVolumeSpec{ClaimRef: &api.ObjectReference{Namespace: "a", Name: "claim"}},
	})
	if volume(kubelet("n1")) != authorizer.DecisionAllow {
		t.Error("the volume of a pod's claim cannot be read")
	}
	if volume(kubelet("n2")) == authorizer.DecisionAllow {
		t.Error("another node can read it, too")
	}
	c.put("storage.k8s.io", "volumeattachments", &storage.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: "va"}, Spec: storage.VolumeAttachmentSpec{NodeName: "n1"},
	})
	attachment := authorizer.AttributesRecord{User: kubelet("n1"), Verb: "get", APIGroup: "storage.k8s.io", Resource: "volumeattachments", Name: "va"}
	if decision, reason := c.ask(attachment); decision != authorizer.DecisionAllow {
		t.Errorf("a volume attachment: %v %q", decision, reason)
	}
	c.remove("storage.k8s.io", "volumeattachments", "", "va")
	if decision, _ := c.ask(attachment); decision == authorizer.DecisionAllow {
		t.Error("a volume attachment that is gone")
	}
	c.put("resource.k8s.io", "resourceslices", &resource.ResourceSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "slice"}, Spec: resource.ResourceSliceSpec{NodeName: &name},
	})
	slice := authorizer.AttributesRecord{User: kubelet("n1"), Verb: "delete", APIGroup: "resource.k8s.io", Resource: "resourceslices", Name: "slice"}
	if decision, reason := c.ask(slice); decision != authorizer.DecisionAllow {
		t.Errorf("a resource slice: %v %q", decision, reason)
	}
}

// TestOwnPods: a node lists its own pods only, which is seen from the selector, and reads itself.
func TestOwnPods(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	list := func(selector string) authorizer.Decision {
		parsed, err := fields.ParseSelector(selector)
		if err != nil {
			t.Fatal(err)
		}
		decision, _ := c.ask(authorizer.AttributesRecord{
			User: kubelet("n1"), Verb: "list", Resource: "pods", FieldSelectorRequirements: parsed.Requirements(),
		})
		return decision
	}
	for selector, want := range map[string]authorizer.Decision{
		"spec.nodeName=n1": authorizer.DecisionAllow, "spec.nodeName=n2": authorizer.DecisionNoOpinion, "": authorizer.DecisionNoOpinion,
	} {
		if got := list(selector); got != want {
			t.Errorf("list pods with %q: %v", selector, got)
		}
	}
	for name, want := range map[string]authorizer.Decision{"n1": authorizer.DecisionAllow, "n2": authorizer.DecisionNoOpinion} {
		if got, _ := c.ask(authorizer.AttributesRecord{User: kubelet("n1"), Verb: "get", Resource: "nodes", Name: name}); got != want {
			t.Errorf("n1 gets node %s: %v", name, got)
		}
	}
	if _, _, incomplete, err := c.node.RulesFor(t.Context(), kubelet("n1"), "a"); !incomplete || err == nil {
		t.Errorf("RulesFor a node: %v, %v", incomplete, err)
	}
}
