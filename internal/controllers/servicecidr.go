package controllers

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/networking"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// DefaultServiceCIDR creates the ServiceCIDR "kubernetes", which stands for --service-cluster-ip-range, creates it again when
// it is gone, and says that it is ready. One that says something else than the flag is left alone, except that a second family
// is added: services have addresses of it (k8s.io/kubernetes/pkg/controlplane/controller/defaultservicecidr).
//
// What upstream writes into Events goes into the log.
type DefaultServiceCIDR struct {
	API *verb.API
	// Resource is networking.k8s.io/v1 servicecidrs; without it nothing is done.
	Resource *kind.Resource
	// Ranges are those of the flag, the first for the default family.
	Ranges []netip.Prefix
	Logger *slog.Logger

	// Each is told once, not every ten seconds. Ensure and Run are not called at the same time.
	mismatchTold, notReadyTold bool
}

const (
	defaultServiceCIDR        = "kubernetes"
	defaultServiceCIDREvery   = 10 * time.Second
	defaultServiceCIDRManager = "kubernetes-service-cidr-controller"
)

// Name is what errors call it.
func (c *DefaultServiceCIDR) Name() string { return "default ServiceCIDR" }

// Run looks after it until ctx ends.
func (c *DefaultServiceCIDR) Run(ctx context.Context) {
	every(ctx, defaultServiceCIDREvery, func() {
		if err := c.Ensure(ctx); err != nil && ctx.Err() == nil {
			c.Logger.Warn("cannot sync the default ServiceCIDR", "error", err)
		}
	})
}

// Ensure looks at it once.
func (c *DefaultServiceCIDR) Ensure(ctx context.Context) error {
	if c.Resource == nil {
		return nil
	}
	ctx = verb.AsServer(ctx)
	snapshot, err := c.API.State.Consistent(ctx)
	if err != nil {
		return err
	}
	obj, err := stored(snapshot, c.API.Root, c.Resource, "", defaultServiceCIDR)
	if err != nil {
		return err
	}
	cidrs := c.cidrs()
	if obj == nil {
		return c.create(ctx, cidrs)
	}
	existing := obj.(*networking.ServiceCIDR)
	if len(cidrs) == 2 && slices.Equal(existing.Spec.CIDRs, cidrs[:1]) {
		return c.upgrade(ctx, existing, cidrs)
	}
	return c.syncStatus(ctx, existing, cidrs)
}

func (c *DefaultServiceCIDR) cidrs() []string {
	var cidrs []string
	for _, prefix := range c.Ranges {
		cidrs = append(cidrs, prefix.Masked().String())
	}
	return cidrs
}

func (c *DefaultServiceCIDR) create(ctx context.Context, cidrs []string) error {
	c.Logger.Info("creating the default ServiceCIDR", "CIDRs", cidrs)
	created, err := c.API.CreateObjectWith(ctx, c.Resource, "", &networking.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: defaultServiceCIDR},
		Spec:       networking.ServiceCIDRSpec{CIDRs: cidrs},
	}, &metav1.CreateOptions{FieldManager: asKubeAPIServer})
	switch {
	case apierrors.IsAlreadyExists(err):
		return nil // by another server, which sees to the status, too
	case err != nil:
		return err
	}
	return c.syncStatus(ctx, created.(*networking.ServiceCIDR), cidrs)
}

// upgrade adds the second family. That it cannot be done keeps nothing else from working, so it is only told.
func (c *DefaultServiceCIDR) upgrade(ctx context.Context, existing *networking.ServiceCIDR, cidrs []string) error {
	c.Logger.Info("updating the default ServiceCIDR from single-stack to dual-stack", "from", existing.Spec.CIDRs, "to", cidrs)
	changed := existing.DeepCopy()
	changed.Spec.CIDRs = cidrs
	options := &metav1.UpdateOptions{FieldManager: asKubeAPIServer}
	_, err := c.API.UpdateObject(ctx, c.Resource, "", "", defaultServiceCIDR, options,
		func(runtime.Object) (runtime.Object, error) { return changed.DeepCopy(), nil })
	if err != nil {
		c.Logger.Warn("the default ServiceCIDR cannot be upgraded to dual stack", "from", existing.Spec.CIDRs, "to", cidrs,
			"error", err)
	}
	return nil
}

// syncStatus says that the range is ready, unless somebody else has said anything about that, or it is not this server's range.
func (c *DefaultServiceCIDR) syncStatus(ctx context.Context, existing *networking.ServiceCIDR, cidrs []string) error {
	if !existing.DeletionTimestamp.IsZero() {
		return nil // the controller manager sees to that
	}
	if !slices.Equal(existing.Spec.CIDRs, cidrs) {
		if !c.mismatchTold {
			c.Logger.Warn("the default ServiceCIDR does not match --service-cluster-ip-range",
				"ServiceCIDR", existing.Spec.CIDRs, "flag", cidrs)
		}
		c.mismatchTold = true
		return nil
	}
	ready := meta.FindStatusCondition(existing.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	switch {
	case ready == nil || ready.Status == metav1.ConditionUnknown:
		return c.setReady(ctx)
	case ready.Status == metav1.ConditionFalse && !c.notReadyTold:
		c.Logger.Warn("the default ServiceCIDR matches --service-cluster-ip-range, but it is not ready",
			"reason", ready.Reason, "message", ready.Message)
		c.notReadyTold = true
	}
	return nil
}

func (c *DefaultServiceCIDR) setReady(ctx context.Context) error {
	c.Logger.Info("setting the condition Ready of the default ServiceCIDR to True")
	options := &metav1.UpdateOptions{FieldManager: defaultServiceCIDRManager}
	_, err := c.API.UpdateObject(ctx, c.Resource, "status", "", defaultServiceCIDR, options,
		func(obj runtime.Object) (runtime.Object, error) {
			meta.SetStatusCondition(&obj.(*networking.ServiceCIDR).Status.Conditions, metav1.Condition{
				Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue,
				Message: "Kubernetes default Service CIDR is ready",
			})
			return obj, nil
		})
	if err != nil {
		c.Logger.Warn("the status of the default ServiceCIDR cannot be set to Ready=True", "error", err)
	}
	return nil
}
