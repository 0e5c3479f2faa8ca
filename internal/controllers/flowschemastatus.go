package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/flowcontrol"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// The condition Dangling of flow schemas is set by the consumer of the configuration in upstream
// (k8s.io/apiserver/pkg/util/flowcontrol/apf_controller.go, presyncFlowSchemaStatus).

const (
	flowSchemaStatusManager = "api-priority-and-fairness-config-consumer-v1"

	// settleTime lets changes that come together be looked at together.
	settleTime = 100 * time.Millisecond
	// statusWritesPerMinute bounds the writes of one flow schema's status, so that two servers of different opinions (of
	// different versions) do not keep each other busy. Upstream's bound.
	statusWritesPerMinute = 6
)

// Run ensures everything each minute, and the statuses whenever a flow schema or a priority level changes, until ctx ends.
func (c *FlowControl) Run(ctx context.Context) {
	if c.FlowSchemas == nil || c.PriorityLevels == nil {
		return
	}
	ticker := time.NewTicker(flowControlEvery)
	defer ticker.Stop()
	for {
		work := c.Ensure
		if c.waitForChange(ctx, ticker.C) {
			pause(ctx, settleTime)
			work = c.syncStatuses
		}
		if ctx.Err() != nil {
			return
		}
		if err := work(verb.AsServer(ctx)); err != nil && ctx.Err() == nil {
			c.Logger.Warn("cannot keep the flow control configuration, will retry later", "error", err)
		}
	}
}

// waitForChange waits until something has changed since the statuses were last looked at, and returns true, or until it is time
// or ctx ends.
func (c *FlowControl) waitForChange(ctx context.Context, tick <-chan time.Time) bool {
	changes := [2]<-chan struct{}{}
	for i, r := range []*kind.Resource{c.FlowSchemas, c.PriorityLevels} {
		cursor, err := c.API.State.Watch(state.Filter{Prefix: r.KeyPrefix(c.API.Root, "")}, c.seen)
		if err != nil {
			return true // too long ago: look again
		}
		defer cursor.Close()
		changes[i] = cursor.Wait()
	}
	select {
	case <-changes[0]:
		return true
	case <-changes[1]:
		return true
	case <-tick:
	case <-ctx.Done():
	}
	return false
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// syncStatuses says of every flow schema whether its priority level exists.
func (c *FlowControl) syncStatuses(ctx context.Context) error {
	snapshot, err := c.API.State.Consistent(ctx)
	if err != nil {
		return err
	}
	levels := names(snapshot, c.API.Root, c.PriorityLevels)
	var due []statusWrite
	snapshot.Ascend(c.FlowSchemas.KeyPrefix(c.API.Root, ""), "", func(record *state.Record) bool {
		var obj runtime.Object
		if obj, err = c.FlowSchemas.Decode(record.Value(), record.Revision); err != nil {
			return false
		}
		schema := obj.(*flowcontrol.FlowSchema)
		condition := dangling(schema, levels)
		if !hasCondition(schema, condition) && c.mayWrite(schema.Name) {
			due = append(due, statusWrite{schema.Name, condition})
		}
		return true
	})
	if err != nil {
		return err
	}
	c.seen = snapshot.Revision()
	return together(due, func(w statusWrite) error { return c.writeStatus(ctx, w) })
}

type statusWrite struct {
	name      string
	condition flowcontrol.FlowSchemaCondition
}

// dangling is the condition that a flow schema should have.
func dangling(schema *flowcontrol.FlowSchema, levels map[string]bool) flowcontrol.FlowSchemaCondition {
	level := schema.Spec.PriorityLevelConfiguration.Name
	condition := flowcontrol.FlowSchemaCondition{
		Type: flowcontrol.FlowSchemaConditionDangling, Status: flowcontrol.ConditionFalse, Reason: "Found",
		Message: fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q and it exists", level),
	}
	if !levels[level] {
		condition.Status, condition.Reason = flowcontrol.ConditionTrue, "NotFound"
		condition.Message = fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q but "+
			"there is no such object", level)
	}
	return condition
}

func hasCondition(schema *flowcontrol.FlowSchema, want flowcontrol.FlowSchemaCondition) bool {
	return slices.ContainsFunc(schema.Status.Conditions, func(have flowcontrol.FlowSchemaCondition) bool {
		have.LastTransitionTime = want.LastTransitionTime
		return have == want
	})
}

// mayWrite counts a write of a status, unless there were too many; then the next minute's look will do.
func (c *FlowControl) mayWrite(name string) bool {
	now := time.Now()
	recent := slices.DeleteFunc(c.statusWrites[name], func(t time.Time) bool { return now.Sub(t) > time.Minute })
	allowed := len(recent) < statusWritesPerMinute
	if allowed {
		recent = append(recent, now)
	}
	if c.statusWrites == nil {
		c.statusWrites = map[string][]time.Time{}
	}
	c.statusWrites[name] = recent
	return allowed
}

// forgetWrites drops the names that were not written in the last minute.
func (c *FlowControl) forgetWrites() {
	for name, times := range c.statusWrites {
		if len(times) == 0 || time.Since(times[len(times)-1]) > time.Minute {
			delete(c.statusWrites, name)
		}
	}
}

func (c *FlowControl) writeStatus(ctx context.Context, w statusWrite) error {
	w.condition.LastTransitionTime = metav1.Now()
	options := &metav1.UpdateOptions{FieldManager: flowSchemaStatusManager}
	_, err := c.API.UpdateObject(ctx, c.FlowSchemas, "status", "", w.name, options,
		func(obj runtime.Object) (runtime.Object, error) {
			conditions := &obj.(*flowcontrol.FlowSchema).Status.Conditions
			i := slices.IndexFunc(*conditions, func(have flowcontrol.FlowSchemaCondition) bool { return have.Type == w.condition.Type })
			if i < 0 {
				*conditions = append(*conditions, w.condition)
			} else {
				(*conditions)[i] = w.condition
			}
			return obj, nil
		})
	if apierrors.IsNotFound(err) {
		return nil // it has just been deleted
	}
	return err
}
