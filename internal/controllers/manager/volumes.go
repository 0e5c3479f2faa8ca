package manager

import (
	"context"

	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/volume/pvcprotection"
	"k8s.io/kubernetes/pkg/controller/volume/pvprotection"
)

// Admission gives every volume and every claim a finalizer, as in any cluster. These two controllers take it away again when what is
// to be deleted is not in use; without them neither a claim nor its namespace would ever end.

func newClaimProtection(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := coreClient(e.config("pvc-protection-controller"))
	if err != nil {
		return nil, err
	}
	core := e.factory.Core().V1()
	c, err := pvcprotection.NewPVCProtectionController(klog.FromContext(ctx), core.PersistentVolumeClaims(), core.Pods(), client)
	return func(ctx context.Context) { c.Run(ctx, 1) }, err
}

func newVolumeProtection(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := coreClient(e.config("pv-protection-controller"))
	if err != nil {
		return nil, err
	}
	c, err := pvprotection.NewPVProtectionController(klog.FromContext(ctx), e.factory.Core().V1().PersistentVolumes(), client)
	return func(ctx context.Context) { c.Run(ctx, 1) }, err
}
