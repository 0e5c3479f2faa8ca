package controllers

import (
	"context"
	"log/slog"

	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	scheduling "k8s.io/kubernetes/pkg/apis/scheduling/v1"

	"github.com/kayak-k8s/kayak/internal/controllers/premade"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// PriorityClasses creates the two priority classes that the pods of the system use. As upstream it does so when a server
// starts, and only then: one that is deleted is back after the next start (k8s.io/kubernetes/pkg/registry/scheduling/rest).
type PriorityClasses struct {
	API *verb.API
	// Resource is scheduling.k8s.io/v1 priorityclasses; without it nothing is done.
	Resource *kind.Resource
	// Premade are objects that need not be made, nil for none.
	Premade *premade.Set
	Logger  *slog.Logger
}

// Name is what errors call it.
func (c *PriorityClasses) Name() string { return "system priority classes" }

// Ensure creates those that are missing.
func (c *PriorityClasses) Ensure(ctx context.Context) error {
	if c.Resource == nil {
		return nil
	}
	ctx = verb.AsServer(ctx)
	snapshot, err := c.API.State.Consistent(ctx)
	if err != nil {
		return err
	}
	if ready(ctx, c.API, c.Premade, snapshot, c.Resource) {
		return nil
	}
	return together(scheduling.SystemPriorityClasses(), func(class *schedulingv1.PriorityClass) error {
		if snapshot.Get(c.Resource.Key(c.API.Root, "", class.Name)) != nil {
			return nil
		}
		obj, err := hub(c.Resource, class)
		if err != nil {
			return err
		}
		options := &metav1.CreateOptions{FieldManager: asKubeAPIServer}
		if _, err := c.API.CreateObjectWith(ctx, c.Resource, "", obj, options); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		c.Logger.Info("created a PriorityClass", "name", class.Name, "value", class.Value)
		return nil
	})
}

// Run has nothing to do.
func (c *PriorityClasses) Run(context.Context) {}
