package services

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
	"k8s.io/kubernetes/pkg/apis/networking"
)

// DefaultCIDRName is the name of the ServiceCIDR that stands for --service-cluster-ip-range.
const DefaultCIDRName = "kubernetes"

// DefaultCIDR creates the ServiceCIDR of --service-cluster-ip-range, again when somebody has deleted it, and says that it is
// ready. One that is different it leaves alone, except that a second family is added
// (k8s.io/kubernetes/pkg/controlplane/controller/defaultservicecidr).
type DefaultCIDR struct {
	Objects Objects
	Ranges  []netip.Prefix
	Logger  *slog.Logger

	mismatchReported, notReadyReported bool
}

// defaultCIDREvery is how often it is looked at (upstream's interval).
const defaultCIDREvery = 10 * time.Second

// Name is what an error says of it.
func (d *DefaultCIDR) Name() string { return "default ServiceCIDR" }

// Ensure does it once. A server does this before it repairs, and before it is ready.
func (d *DefaultCIDR) Ensure(ctx context.Context) error {
	var ranges []string
	for _, prefix := range d.Ranges {
		ranges = append(ranges, prefix.Masked().String())
	}
	objects, err := d.Objects.ListServiceCIDRs(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(objects, func(o *networking.ServiceCIDR) bool { return o.Name == DefaultCIDRName })
	if i < 0 {
		return d.create(ctx, ranges)
	}
	object := objects[i]
	if len(ranges) == 2 && slices.Equal(object.Spec.CIDRs, ranges[:1]) {
		d.Logger.Info("Updating default ServiceCIDR from single-stack to dual-stack", "from", object.Spec.CIDRs, "to", ranges)
		object.Spec.CIDRs = ranges
		return ignoreConflict(d.Objects.UpdateServiceCIDR(ctx, object))
	}
	return d.setReady(ctx, object, ranges)
}

func (d *DefaultCIDR) create(ctx context.Context, ranges []string) error {
	d.Logger.Info("Creating default ServiceCIDR", "CIDRs", ranges)
	object, err := d.Objects.CreateServiceCIDR(ctx, &networking.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: DefaultCIDRName},
		Spec:       networking.ServiceCIDRSpec{CIDRs: ranges},
	})
	if apierrors.IsAlreadyExists(err) {
		return nil // another server has just done it
	}
	if err != nil {
		return err
	}
	return d.setReady(ctx, object, ranges)
}

// setReady sets the condition, unless somebody has, or the object is not about these ranges, or it is being deleted: that is
// for the controller manager to end.
func (d *DefaultCIDR) setReady(ctx context.Context, object *networking.ServiceCIDR, ranges []string) error {
	if !object.DeletionTimestamp.IsZero() {
		return nil
	}
	if !slices.Equal(object.Spec.CIDRs, ranges) {
		if !d.mismatchReported {
			d.Logger.Warn("Inconsistent ServiceCIDR status", "controllerCIDRs", ranges, "serviceCIDRs", object.Spec.CIDRs)
		}
		d.mismatchReported = true
		return nil
	}
	condition := meta.FindStatusCondition(object.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	switch {
	case condition == nil || condition.Status == metav1.ConditionUnknown:
	case condition.Status == metav1.ConditionFalse && !d.notReadyReported:
		d.Logger.Warn("Default ServiceCIDR condition Ready is False, but controller configuration matches. "+
			"Please validate your cluster's network configuration.", "reason", condition.Reason, "message", condition.Message)
		d.notReadyReported = true
		return nil
	default:
		return nil
	}
	meta.SetStatusCondition(&object.Status.Conditions, metav1.Condition{
		Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Message: "Kubernetes default Service CIDR is ready",
	})
	return ignoreConflict(d.Objects.UpdateServiceCIDRStatus(ctx, object))
}

// ignoreConflict leaves what another server has just changed for the next time.
func ignoreConflict(err error) error {
	if apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// Run ensures it again and again, until ctx ends.
func (d *DefaultCIDR) Run(ctx context.Context) {
	ticker := time.NewTicker(defaultCIDREvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if err := d.Ensure(ctx); err != nil && ctx.Err() == nil {
			d.Logger.Warn("cannot keep the default ServiceCIDR", "error", err)
		}
	}
}
