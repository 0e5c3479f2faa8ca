// Package node decides what kubelets may do: what they need for the pods that are bound to their node, and no more.
//
// The authorizer and its graph are upstream's (plugin/pkg/auth/authorizer/node). The graph, of pods and what they refer to, is fed
// from the state, without informers; and not before the first node asks, because a server without nodes has no use for it, and it
// costs a look at every change of a pod. Every decision is made with all that the state has by then.
package node

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/kubernetes/pkg/auth/nodeidentifier"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/node"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"github.com/kayak-k8s/kayak/internal/authz/follow"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
)

// Source is where the objects are that the graph is made of.
type Source struct {
	State *state.State
	// Root is the prefix of all keys: "/registry/".
	Root string
	// Kinds are pods, persistentvolumes, volumeattachments, resourceslices and podcertificaterequests, in v1; those that are nil
	// are not in the graph.
	Kinds  []*kind.Resource
	Logger *slog.Logger
}

// Authorizer decides; see the package comment. It may be called by any number of goroutines.
type Authorizer struct {
	nodes nodeidentifier.NodeIdentifier
	// plain has no graph: it knows who is a node.
	plain *node.NodeAuthorizer
	// life bounds what works in the background.
	life context.Context

	mu       sync.Mutex // guards source and the start
	source   *Source
	started  atomic.Bool
	follower *follow.Follower
	// current is upstream's, with the graph as it is being fed.
	current atomic.Pointer[graph]
}

// graph is upstream's, and its authorizer.
type graph struct {
	*node.Graph
	authorizer *node.NodeAuthorizer
}

var (
	_ authorizer.Authorizer   = (*Authorizer)(nil)
	_ authorizer.RuleResolver = (*Authorizer)(nil)
)

// New returns an authorizer that knows of no relationships until it has a source. What works in the background ends with life.
func New(life context.Context) *Authorizer {
	nodes := nodeidentifier.NewDefaultNodeIdentifier()
	return &Authorizer{nodes: nodes, plain: node.NewAuthorizer(node.NewGraph(), nodes, nil), life: life}
}

// Follow tells where the objects are. It must be called once at most.
func (a *Authorizer) Follow(s Source) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.source = &s
}

// start builds the graph, and keeps it true from then on.
func (a *Authorizer) start() bool {
	if a.started.Load() {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.source == nil || a.started.Load() {
		return a.source != nil
	}
	options := follow.Options{State: a.source.State, Reset: a.reset, Apply: a.apply, Logger: a.source.Logger}
	for _, k := range a.source.Kinds {
		if k != nil {
			options.Prefixes = append(options.Prefixes, k.KeyPrefix(a.source.Root, ""))
		}
	}
	a.follower = follow.New(options)
	a.follower.CatchUp()
	go a.follower.Run(a.life)
	a.started.Store(true)
	return true
}

// Authorize implements authorizer.Authorizer.
func (a *Authorizer) Authorize(ctx context.Context, attributes authorizer.Attributes) (authorizer.Decision, string, error) {
	if _, isNode := a.nodes.NodeIdentity(attributes.GetUser()); !isNode || !a.start() {
		return authorizer.DecisionNoOpinion, "", nil
	}
	a.follower.CatchUp()
	decision, reason, err := a.decide(ctx, attributes)
	if decision == authorizer.DecisionAllow {
		return decision, reason, err
	}
	// The pod that it is about may have been acknowledged, and not have come here yet.
	if _, behind := a.source.State.Consistent(ctx); behind != nil {
		return decision, reason, err
	}
	a.follower.CatchUp()
	return a.decide(ctx, attributes)
}

// decide asks the graph as it is.
func (a *Authorizer) decide(ctx context.Context, attributes authorizer.Attributes) (authorizer.Decision, string, error) {
	if g := a.current.Load(); g != nil {
		return g.authorizer.Authorize(ctx, attributes)
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// ConditionsAwareAuthorize implements authorizer.Authorizer: nothing here has conditions.
func (a *Authorizer) ConditionsAwareAuthorize(ctx context.Context, attributes authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(a.Authorize(ctx, attributes))
}

// EvaluateConditions implements authorizer.Authorizer.
func (a *Authorizer) EvaluateConditions(ctx context.Context, decision authorizer.ConditionsAwareDecision,
	data authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return a.plain.EvaluateConditions(ctx, decision, data)
}

// RulesFor implements authorizer.RuleResolver.
func (a *Authorizer) RulesFor(ctx context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo,
	[]authorizer.NonResourceRuleInfo, bool, error) {
	return a.plain.RulesFor(ctx, u, namespace)
}

func (a *Authorizer) reset(snapshot *state.Snapshot) {
	g := &graph{Graph: node.NewGraph()}
	g.authorizer = node.NewAuthorizer(g.Graph, a.nodes, bootstrappolicy.NodeRules())
	for _, k := range a.source.Kinds {
		if k == nil {
			continue
		}
		snapshot.Ascend(k.KeyPrefix(a.source.Root, ""), "", func(record *state.Record) bool {
			if obj := a.decode(k, record); obj != nil {
				g.add(obj)
			}
			return true
		})
	}
	a.current.Store(g)
}

func (a *Authorizer) apply(event *state.Event) {
	k := a.kindOf(event.Record.Key)
	obj := a.decode(k, event.Record) // of a deletion: what there was
	if obj == nil {
		return
	}
	g := a.current.Load()
	if event.Deleted {
		g.remove(obj)
		return
	}
	if pod, ok := obj.(*corev1.Pod); ok && event.Previous != nil && pod.Spec.NodeName != "" {
		if previous, ok := a.decode(k, event.Previous).(*corev1.Pod); ok && sameReferences(previous, pod) {
			return
		}
	}
	g.add(obj)
}

func (a *Authorizer) kindOf(key string) *kind.Resource {
	for _, k := range a.source.Kinds {
		if k != nil && strings.HasPrefix(key, k.KeyPrefix(a.source.Root, "")) {
			return k
		}
	}
	return nil
}

// decode returns nil for what cannot be read, which is then related to nothing new.
func (a *Authorizer) decode(k *kind.Resource, record *state.Record) runtime.Object {
	obj, err := k.DecodeVersioned(record.Value())
	if err != nil {
		a.source.Logger.Warn("cannot read an object for the graph of nodes", "key", record.Key, "error", err)
		return nil
	}
	return obj
}

// sameReferences reports whether a change of a pod is none to the graph: most are of its status
// (plugin/pkg/auth/authorizer/node/graph_populator.go).
func sameReferences(before, after *corev1.Pod) bool {
	return before.Spec.NodeName == after.Spec.NodeName && before.UID == after.UID &&
		len(after.Spec.EphemeralContainers) <= len(before.Spec.EphemeralContainers) &&
		resourceclaim.PodStatusEqual(before.Status.ResourceClaimStatuses, after.Status.ResourceClaimStatuses) &&
		resourceclaim.PodExtendedStatusEqual(before.Status.ExtendedResourceClaimStatus, after.Status.ExtendedResourceClaimStatus)
}

func (g *graph) add(obj runtime.Object) {
	switch obj := obj.(type) {
	case *corev1.Pod:
		if obj.Spec.NodeName != "" {
			g.AddPod(obj)
		}
	case *corev1.PersistentVolume:
		g.AddPV(obj)
	case *storagev1.VolumeAttachment:
		g.AddVolumeAttachment(obj.Name, obj.Spec.NodeName)
	case *resourcev1.ResourceSlice:
		node := ""
		if obj.Spec.NodeName != nil {
			node = *obj.Spec.NodeName
		}
		g.AddResourceSlice(obj.Name, node)
	case *certificatesv1.PodCertificateRequest:
		g.AddPodCertificateRequest(obj)
	}
}

func (g *graph) remove(obj runtime.Object) {
	switch obj := obj.(type) {
	case *corev1.Pod:
		g.DeletePod(obj.Name, obj.Namespace)
	case *corev1.PersistentVolume:
		g.DeletePV(obj.Name)
	case *storagev1.VolumeAttachment:
		g.DeleteVolumeAttachment(obj.Name)
	case *resourcev1.ResourceSlice:
		g.DeleteResourceSlice(obj.Name)
	case *certificatesv1.PodCertificateRequest:
		g.DeletePodCertificateRequest(obj)
	}
}
