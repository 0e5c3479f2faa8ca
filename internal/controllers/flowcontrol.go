package controllers

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/kubernetes/pkg/apis/flowcontrol"

	"github.com/kayak-k8s/kayak/internal/controllers/premade"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// FlowControl keeps the FlowSchemas and PriorityLevelConfigurations that every cluster has, and says in the status of every
// FlowSchema whether its priority level exists.
//
// Those that are mandatory are kept exactly as they are here. Those that are suggested are created when they are missing, and
// kept only while nobody wants them otherwise: the annotation apf.kubernetes.io/autoupdate-spec decides, and without it
// whether the spec was ever changed (KEP-1040; k8s.io/kubernetes/pkg/registry/flowcontrol/{rest,ensurer}).
type FlowControl struct {
	API *verb.API
	// FlowSchemas and PriorityLevels are those of flowcontrol.apiserver.k8s.io/v1; without them nothing is done.
	FlowSchemas, PriorityLevels *kind.Resource
	// Premade are objects that need not be made, nil for none.
	Premade *premade.Set
	Logger  *slog.Logger

	// seen is the revision at which the statuses were last looked at, statusWrites are the times of recent writes, by the name
	// of the flow schema. Ensure and Run are not called at the same time.
	seen         int64
	statusWrites map[string][]time.Time
}

const (
	flowControlEvery   = time.Minute
	flowControlManager = "api-priority-and-fairness-config-producer-v1"
)

// Name is what errors call it.
func (c *FlowControl) Name() string { return "flow control configuration" }

// Ensure creates, mends and removes what it should, then sees to the statuses.
func (c *FlowControl) Ensure(ctx context.Context) error {
	if c.FlowSchemas == nil || c.PriorityLevels == nil {
		return nil
	}
	ctx = verb.AsServer(ctx)
	c.forgetWrites()
	snapshot, err := c.API.State.Consistent(ctx)
	if err != nil {
		return err
	}
	made := ready(ctx, c.API, c.Premade, snapshot, c.FlowSchemas, c.PriorityLevels)
	if snapshot, err = c.API.State.Consistent(ctx); err != nil {
		return err
	}
	if made && c.countObjects(snapshot) == c.countPremade() { // statuses too: the levels that they tell of are all there
		c.seen = snapshot.Revision()
		return nil
	}
	wanted, err := c.wanted()
	if err != nil {
		return err
	}
	if err := together(wanted, func(w wantedObject) error { return c.maintain(ctx, snapshot, w) }); err != nil {
		return err
	}
	if err := c.removeUnwanted(ctx, snapshot, wanted); err != nil {
		return err
	}
	return c.syncStatuses(ctx)
}

func (c *FlowControl) countObjects(snapshot *state.Snapshot) (n int) {
	for _, r := range []*kind.Resource{c.FlowSchemas, c.PriorityLevels} {
		n += snapshot.Count(r.KeyPrefix(c.API.Root, ""), "")
	}
	return n
}

func (c *FlowControl) countPremade() (n int) {
	for _, r := range []*kind.Resource{c.FlowSchemas, c.PriorityLevels} {
		n += len(c.Premade.Under(r.KeyPrefix("", "")))
	}
	return n
}

// wantedObject is one that a cluster has.
type wantedObject struct {
	resource  *kind.Resource
	name      string
	obj       runtime.Object // of the hub version, with defaults
	mandatory bool
}

func (c *FlowControl) wanted() ([]wantedObject, error) {
	var list []wantedObject
	add := func(r *kind.Resource, versioned runtime.Object, mandatory bool) error {
		obj, err := hub(r, versioned)
		if err == nil {
			list = append(list, wantedObject{r, accessor(obj).GetName(), obj, mandatory})
		}
		return err
	}
	for mandatory, levels := range map[bool][]*flowcontrolv1.PriorityLevelConfiguration{
		true: bootstrap.MandatoryPriorityLevelConfigurations, false: bootstrap.SuggestedPriorityLevelConfigurations,
	} {
		for _, level := range levels {
			if err := add(c.PriorityLevels, level, mandatory); err != nil {
				return nil, err
			}
		}
	}
	for mandatory, schemas := range map[bool][]*flowcontrolv1.FlowSchema{
		true: bootstrap.MandatoryFlowSchemas, false: bootstrap.SuggestedFlowSchemas,
	} {
		for _, schema := range schemas {
			if err := add(c.FlowSchemas, schema, mandatory); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// accessor is for objects of these two types, which have metadata.
func accessor(obj runtime.Object) metav1.Object {
	return obj.(metav1.ObjectMetaAccessor).GetObjectMeta()
}

// maintain creates an object, or updates it if that is due. Who changes it at the same time is right until the next time.
func (c *FlowControl) maintain(ctx context.Context, snapshot *state.Snapshot, w wantedObject) error {
	current, err := stored(snapshot, c.API.Root, w.resource, "", w.name)
	if err != nil {
		return err
	}
	if current == nil {
		options := &metav1.CreateOptions{FieldManager: flowControlManager}
		_, err := c.API.CreateObjectWith(ctx, w.resource, "", w.obj, options)
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	}
	revised := revise(current, w)
	if revised == nil {
		return nil
	}
	c.Logger.Info("updating what every cluster has", "kind", w.resource.Name, "name", w.name, "mandatory", w.mandatory)
	options := &metav1.UpdateOptions{FieldManager: flowControlManager}
	_, err = c.API.UpdateObject(ctx, w.resource, "", "", w.name, options,
		func(runtime.Object) (runtime.Object, error) { return revised.DeepCopyObject(), nil })
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// revise returns what current should be, or nil if it is that already.
func revise(current runtime.Object, w wantedObject) runtime.Object {
	update := w.mandatory || mayUpdate(accessor(current))
	changeSpec := update && !sameSpec(w.obj, current)
	annotated, valid := autoUpdate(accessor(current))
	if !changeSpec && valid && annotated == update {
		return nil
	}
	revised := current.DeepCopyObject()
	if changeSpec {
		setSpec(revised, w.obj)
	}
	annotations := accessor(revised).GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	if !valid || annotated != update {
		annotations[flowcontrolv1.AutoUpdateAnnotationKey] = strconv.FormatBool(update)
	}
	accessor(revised).SetAnnotations(annotations)
	return revised
}

// autoUpdate reads the annotation; valid says whether it is there and says something.
func autoUpdate(obj metav1.Object) (value, valid bool) {
	value, err := strconv.ParseBool(obj.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey])
	return value, err == nil
}

// mayUpdate says whether the spec of a suggested object is the server's to change.
func mayUpdate(obj metav1.Object) bool {
	value, valid := autoUpdate(obj)
	return valid && value || !valid && obj.GetGeneration() == 1
}

// sameSpec compares specs, except for what operators may set of the exempt priority level.
func sameSpec(wanted, current runtime.Object) bool {
	switch current := current.(type) {
	case *flowcontrol.FlowSchema:
		return equality.Semantic.DeepEqual(wanted.(*flowcontrol.FlowSchema).Spec, current.Spec)
	case *flowcontrol.PriorityLevelConfiguration:
		spec := wanted.(*flowcontrol.PriorityLevelConfiguration).Spec.DeepCopy()
		if current.Name == flowcontrol.PriorityLevelConfigurationNameExempt {
			if current.Spec.Exempt == nil {
				return false
			}
			spec.Exempt.NominalConcurrencyShares = current.Spec.Exempt.NominalConcurrencyShares
			spec.Exempt.LendablePercent = current.Spec.Exempt.LendablePercent
		}
		return equality.Semantic.DeepEqual(*spec, current.Spec)
	}
	return true
}

func setSpec(into, from runtime.Object) {
	switch into := into.(type) {
	case *flowcontrol.FlowSchema:
		into.Spec = *from.(*flowcontrol.FlowSchema).Spec.DeepCopy()
	case *flowcontrol.PriorityLevelConfiguration:
		into.Spec = *from.(*flowcontrol.PriorityLevelConfiguration).Spec.DeepCopy()
	}
}

// removeUnwanted deletes what an earlier version of Kubernetes had and this one has not, as long as it is the server's: its
// annotation says so.
func (c *FlowControl) removeUnwanted(ctx context.Context, snapshot *state.Snapshot, wanted []wantedObject) error {
	keep := map[string]bool{}
	for _, w := range wanted {
		keep[w.resource.Key(c.API.Root, "", w.name)] = true
	}
	for _, r := range []*kind.Resource{c.FlowSchemas, c.PriorityLevels} {
		var err error
		snapshot.Ascend(r.KeyPrefix(c.API.Root, ""), "", func(record *state.Record) bool {
			if !keep[record.Key] {
				err = c.removeIfOurs(ctx, r, record)
			}
			return err == nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *FlowControl) removeIfOurs(ctx context.Context, r *kind.Resource, record *state.Record) error {
	obj, err := r.Decode(record.Value(), record.Revision)
	if err != nil {
		return err
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	if ours, valid := autoUpdate(m); !ours || !valid {
		return nil
	}
	c.Logger.Info("deleting what Kubernetes no longer has", "kind", r.Name, "name", m.GetName())
	// Upstream deletes whatever there is by now; what somebody has just made theirs is better left alone.
	uid, version := m.GetUID(), m.GetResourceVersion()
	options := &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}}
	_, _, err = c.API.DeleteObject(ctx, r, "", m.GetName(), options)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
