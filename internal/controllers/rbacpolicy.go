package controllers

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync/atomic"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"k8s.io/component-helpers/auth/rbac/reconciliation"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"github.com/kayak-k8s/kayak/internal/authz/rbac"
	"github.com/kayak-k8s/kayak/internal/controllers/premade"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// RBACPolicy creates the roles and bindings that every cluster has, and gives those that are there what they lack, when a server
// starts. What somebody has added to them stays; the annotation rbac.authorization.kubernetes.io/autoupdate=false leaves one alone.
// Which they are, and what reconciling means, is upstream's (bootstrappolicy, component-helpers/auth/rbac/reconciliation,
// pkg/registry/rbac/rest).
//
// It is done when the server is to be ready, so it is done without detours where nothing stands in the way: what is premade is not
// made again, what is as it should be is found out by comparing, and what is missing is created with the managed fields, and where it
// is aggregated with the rules, that it would get in the end.
type RBACPolicy struct {
	API *verb.API
	// The four kinds of rbac.authorization.k8s.io/v1; without one of them nothing is done.
	Roles, ClusterRoles, RoleBindings, ClusterRoleBindings *kind.Resource
	// Premade are objects that need not be made, nil for none.
	Premade *premade.Set
	// Obey is called when all is written and the state has it.
	Obey   func()
	Logger *slog.Logger
}

// Name is upstream's name of the hook.
func (c *RBACPolicy) Name() string { return "rbac/bootstrap-roles" }

// Run has nothing to do.
func (c *RBACPolicy) Run(context.Context) {}

// Ensure reconciles all of them.
func (c *RBACPolicy) Ensure(ctx context.Context) error {
	if c.Roles == nil || c.ClusterRoles == nil || c.RoleBindings == nil || c.ClusterRoleBindings == nil {
		return nil
	}
	ctx = rbac.ObeyLater(verb.AsServer(ctx))
	snapshot, err := c.API.State.Consistent(ctx)
	if err != nil {
		return err
	}
	if err := c.migrate(ctx, snapshot); err != nil {
		return err
	}
	if !ready(ctx, c.API, c.Premade, snapshot, c.Roles, c.ClusterRoles, c.RoleBindings, c.ClusterRoleBindings) {
		if err := c.reconcile(ctx); err != nil {
			return err
		}
	}
	if _, err = c.API.State.Consistent(ctx); err == nil {
		c.Obey()
	}
	return err
}

func (c *RBACPolicy) reconcile(ctx context.Context) error {
	snapshot, err := c.API.State.Consistent(ctx)
	if err != nil {
		return err
	}
	work, err := c.roles(ctx, snapshot)
	if err != nil {
		return err
	}
	work = append(work, c.bindings(ctx, snapshot)...)
	return together(work, func(do func() error) error { return retry.OnError(retry.DefaultBackoff, again, do) })
}

// again says of which errors upstream tries again.
func again(err error) bool { return apierrors.IsConflict(err) || apierrors.IsServiceUnavailable(err) }

// roles is what there is to do for roles.
func (c *RBACPolicy) roles(ctx context.Context, snapshot *state.Snapshot) (work []func() error, err error) {
	clusterRoles := map[string]*rbacv1.ClusterRole{}
	for _, role := range append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...) {
		clusterRoles[role.Name] = &role
	}
	due, err := aggregate(clusterRoles)
	if err != nil {
		return nil, err
	}
	complete := maps.Clone(clusterRoles)
	for _, role := range due {
		complete[role.Name] = role
	}
	for name, role := range clusterRoles {
		wanted := reconciliation.ClusterRoleRuleOwner{ClusterRole: role}
		work = append(work, c.role(ctx, snapshot, c.ClusterRoles, wanted, complete[name]))
	}
	for namespace, roles := range bootstrappolicy.NamespaceRoles() {
		for _, role := range roles {
			role.Namespace = namespace
			work = append(work, c.role(ctx, snapshot, c.Roles, reconciliation.RoleRuleOwner{Role: &role}, &role))
		}
	}
	return work, nil
}

// role returns how to see to a role; complete is what it is when there is nothing to reconcile it with.
func (c *RBACPolicy) role(ctx context.Context, snapshot *state.Snapshot, r *kind.Resource, wanted reconciliation.RuleOwner,
	complete metav1.Object) func() error {
	objects := &policyObjects{ctx: ctx, api: c.API, resource: r, snapshot: snapshot}
	return func() error {
		if missing, err := objects.createMissing(complete); missing {
			return err
		}
		if obj, err := objects.known(wanted.GetNamespace(), wanted.GetName()); err == nil && hasRules(ruleOwner(obj), wanted) {
			return nil
		}
		options := reconciliation.ReconcileRoleOptions{Role: wanted, Client: roleObjects{objects}, Confirm: true}
		result, err := options.Run()
		if err == nil && result.Operation != reconciliation.ReconcileNone {
			c.report(r, wanted.GetNamespace(), wanted.GetName(), result.Operation, result.Protected)
		}
		return err
	}
}

func (c *RBACPolicy) report(r *kind.Resource, namespace, name string, operation reconciliation.ReconcileOperation, protected bool) {
	if protected {
		c.Logger.Warn("an object of RBAC lacks something, and says that it must not be reconciled", "kind", r.Name,
			"namespace", namespace, "name", name)
		return
	}
	c.Logger.Info("reconciled an object of RBAC", "kind", r.Name, "namespace", namespace, "name", name, "operation", operation)
}

// bindings is what there is to do for bindings.
func (c *RBACPolicy) bindings(ctx context.Context, snapshot *state.Snapshot) (work []func() error) {
	for _, binding := range append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...) {
		wanted := reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: &binding}
		work = append(work, c.binding(ctx, snapshot, c.ClusterRoleBindings, wanted))
	}
	for namespace, bindings := range bootstrappolicy.NamespaceRoleBindings() {
		for _, binding := range bindings {
			binding.Namespace = namespace
			work = append(work, c.binding(ctx, snapshot, c.RoleBindings, reconciliation.RoleBindingAdapter{RoleBinding: &binding}))
		}
	}
	return work
}

func (c *RBACPolicy) binding(ctx context.Context, snapshot *state.Snapshot, r *kind.Resource, wanted reconciliation.RoleBinding) func() error {
	objects := &policyObjects{ctx: ctx, api: c.API, resource: r, snapshot: snapshot}
	return func() error {
		if missing, err := objects.createMissing(wanted.GetObject().(metav1.Object)); missing {
			return err
		}
		if obj, err := objects.known(wanted.GetNamespace(), wanted.GetName()); err == nil && hasSubjects(roleBinding(obj), wanted) {
			return nil
		}
		options := reconciliation.ReconcileRoleBindingOptions{RoleBinding: wanted, Client: bindingObjects{objects}, Confirm: true}
		result, err := options.Run()
		if err == nil && result.Operation != reconciliation.ReconcileNone {
			c.report(r, wanted.GetNamespace(), wanted.GetName(), result.Operation, result.Protected)
		}
		return err
	}
}

// hasRules reports, of what is as it was made, that it lacks nothing. It may say no of what lacks nothing either.
func hasRules(existing, wanted reconciliation.RuleOwner) bool {
	return hasAll(existing.GetLabels(), wanted.GetLabels()) && hasAll(existing.GetAnnotations(), wanted.GetAnnotations()) &&
		equality.Semantic.DeepEqual(existing.GetAggregationRule(), wanted.GetAggregationRule()) &&
		(len(wanted.GetRules()) == 0 || equality.Semantic.DeepEqual(existing.GetRules(), wanted.GetRules()))
}

// hasSubjects is hasRules for bindings.
func hasSubjects(existing, wanted reconciliation.RoleBinding) bool {
	return hasAll(existing.GetLabels(), wanted.GetLabels()) && hasAll(existing.GetAnnotations(), wanted.GetAnnotations()) &&
		existing.GetRoleRef() == wanted.GetRoleRef() && slices.Equal(existing.GetSubjects(), wanted.GetSubjects())
}

func hasAll(existing, wanted map[string]string) bool {
	for key := range wanted {
		if _, ok := existing[key]; !ok {
			return false
		}
	}
	return true
}

// migrate copies what earlier versions of Kubernetes had under other names, where the new ones do not exist yet.
func (c *RBACPolicy) migrate(ctx context.Context, snapshot *state.Snapshot) error {
	roles := &policyObjects{ctx: ctx, api: c.API, resource: c.ClusterRoles, snapshot: snapshot}
	for before, after := range bootstrappolicy.ClusterRolesToAggregate() {
		old, err := copyable(roles, before, after)
		if err != nil {
			return err
		}
		if role, ok := old.(*rbacv1.ClusterRole); ok && role.AggregationRule == nil {
			role.ObjectMeta = metav1.ObjectMeta{Name: after, Labels: role.Labels, Annotations: role.Annotations}
			if _, err := roles.create(role); err != nil && !apierrors.IsAlreadyExists(err) {
				return err
			}
		}
	}
	bindings := &policyObjects{ctx: ctx, api: c.API, resource: c.ClusterRoleBindings, snapshot: snapshot}
	for before, after := range bootstrappolicy.ClusterRoleBindingsToSplit() {
		old, err := copyable(bindings, before, after.Name)
		if err != nil {
			return err
		}
		if binding, ok := old.(*rbacv1.ClusterRoleBinding); ok {
			split := after.DeepCopy()
			split.Subjects, split.Labels, split.Annotations = binding.Subjects, maps.Clone(binding.Labels), maps.Clone(binding.Annotations)
			if _, err := bindings.create(split); err != nil && !apierrors.IsAlreadyExists(err) {
				return err
			}
		}
	}
	return nil
}

// copyable returns the object before, nil if there is none or if there is one named after.
func copyable(objects *policyObjects, before, after string) (runtime.Object, error) {
	if objects.record("", after) != nil {
		return nil, nil
	}
	old, err := objects.known("", before)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return old, err
}

// policyObjects are objects of one kind, for one piece of work. Objects are of rbac.authorization.k8s.io/v1.
type policyObjects struct {
	ctx      context.Context
	api      *verb.API
	resource *kind.Resource
	snapshot *state.Snapshot
	// looked is set when the snapshot was asked; who asks again wants to know what has changed.
	looked atomic.Bool
}

func (o *policyObjects) record(namespace, name string) *state.Record {
	return o.snapshot.Get(o.resource.Key(o.api.Root, namespace, name))
}

// known reads an object from the snapshot.
func (o *policyObjects) known(namespace, name string) (runtime.Object, error) {
	record := o.record(namespace, name)
	if record == nil {
		return nil, apierrors.NewNotFound(o.resource.GroupResource(), name)
	}
	obj, err := o.resource.DecodeVersioned(record.Value())
	if err == nil {
		obj.(metav1.Object).SetResourceVersion(strconv.FormatInt(record.Revision, 10))
	}
	return obj, err
}

func (o *policyObjects) get(namespace, name string) (runtime.Object, error) {
	if !o.looked.Swap(true) {
		return o.known(namespace, name)
	}
	obj, err := o.api.GetObject(o.ctx, o.resource, namespace, name)
	if err != nil {
		return nil, err
	}
	return o.resource.Convert(obj)
}

// createMissing creates an object of which the snapshot has none. It reports whether that was all there is to do: it is not when
// somebody else has been faster.
func (o *policyObjects) createMissing(obj metav1.Object) (done bool, err error) {
	if o.record(obj.GetNamespace(), obj.GetName()) != nil {
		return false, nil
	}
	obj = obj.(runtime.Object).DeepCopyObject().(metav1.Object)
	untracked := *o.api
	if untracked.Fields != nil {
		obj.SetManagedFields(policyFields(obj, metav1.Now()))
		untracked.Fields = nil
	}
	internal, err := hub(o.resource, obj.(runtime.Object))
	if err != nil {
		return true, err
	}
	_, err = untracked.CreateObject(o.ctx, o.resource, obj.GetNamespace(), internal)
	if apierrors.IsAlreadyExists(err) {
		o.looked.Store(true) // the snapshot is out of date
		return false, nil
	}
	return true, err
}

func (o *policyObjects) create(obj runtime.Object) (runtime.Object, error) {
	internal, err := hub(o.resource, obj)
	if err != nil {
		return nil, err
	}
	created, err := o.api.CreateObjectWith(o.ctx, o.resource, obj.(metav1.Object).GetNamespace(), internal,
		&metav1.CreateOptions{FieldManager: asKubeAPIServer})
	if err != nil {
		return nil, err
	}
	return o.resource.Convert(created)
}

func (o *policyObjects) update(obj runtime.Object) (runtime.Object, error) {
	internal, err := hub(o.resource, obj)
	if err != nil {
		return nil, err
	}
	m := obj.(metav1.Object)
	updated, err := o.api.UpdateObject(o.ctx, o.resource, "", m.GetNamespace(), m.GetName(),
		&metav1.UpdateOptions{FieldManager: asKubeAPIServer},
		func(runtime.Object) (runtime.Object, error) { return internal.DeepCopyObject(), nil })
	if err != nil {
		return nil, err
	}
	return o.resource.Convert(updated)
}

// roleObjects implements reconciliation.RuleOwnerModifier.
type roleObjects struct{ *policyObjects }

func ruleOwner(obj runtime.Object) reconciliation.RuleOwner {
	if role, ok := obj.(*rbacv1.Role); ok {
		return reconciliation.RoleRuleOwner{Role: role}
	}
	return reconciliation.ClusterRoleRuleOwner{ClusterRole: obj.(*rbacv1.ClusterRole)}
}

func owned(obj runtime.Object, err error) (reconciliation.RuleOwner, error) {
	if err != nil {
		return nil, err
	}
	return ruleOwner(obj), nil
}

func (o roleObjects) Get(namespace, name string) (reconciliation.RuleOwner, error) {
	return owned(o.get(namespace, name))
}

func (o roleObjects) Create(role reconciliation.RuleOwner) (reconciliation.RuleOwner, error) {
	return owned(o.create(role.GetObject()))
}

func (o roleObjects) Update(role reconciliation.RuleOwner) (reconciliation.RuleOwner, error) {
	return owned(o.update(role.GetObject()))
}

// bindingObjects implements reconciliation.RoleBindingModifier.
type bindingObjects struct{ *policyObjects }

func roleBinding(obj runtime.Object) reconciliation.RoleBinding {
	if binding, ok := obj.(*rbacv1.RoleBinding); ok {
		return reconciliation.RoleBindingAdapter{RoleBinding: binding}
	}
	return reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: obj.(*rbacv1.ClusterRoleBinding)}
}

func bound(obj runtime.Object, err error) (reconciliation.RoleBinding, error) {
	if err != nil {
		return nil, err
	}
	return roleBinding(obj), nil
}

func (o bindingObjects) Get(namespace, name string) (reconciliation.RoleBinding, error) {
	return bound(o.get(namespace, name))
}

func (o bindingObjects) Create(binding reconciliation.RoleBinding) (reconciliation.RoleBinding, error) {
	return bound(o.create(binding.GetObject()))
}

func (o bindingObjects) Update(binding reconciliation.RoleBinding) (reconciliation.RoleBinding, error) {
	return bound(o.update(binding.GetObject()))
}

func (o bindingObjects) Delete(namespace, name string, uid types.UID) error {
	_, _, err := o.api.DeleteObject(o.ctx, o.resource, namespace, name, &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	return err
}
