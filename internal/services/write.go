package services

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/service/portallocator"
)

// write is what one write of a Service holds until it is known whether it happened.
type write struct {
	*Allocator
	svc    *api.Service
	dryRun bool
	// taken are the addresses that were taken for it, unneeded those to give back when it has happened.
	taken, unneeded []string
	// ports does the same for ports; its context is that of the operation that is going on.
	ports   *portallocator.PortAllocationOperation
	portCtx *portContext
}

func (a *Allocator) newWrite(ctx context.Context, svc *api.Service, dryRun bool) *write {
	portCtx := &portContext{portRange: a.ports, ctx: ctx}
	return &write{
		Allocator: a, svc: svc, dryRun: dryRun,
		ports: portallocator.StartOperation(portCtx.allocator(), dryRun), portCtx: portCtx,
	}
}

// finish is the kind.Finish of a write. It goes on when the request is gone.
func (w *write) finish(ctx context.Context, written bool) {
	if w.dryRun {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	w.portCtx.ctx = ctx
	ips, endPorts := w.taken, w.ports.Rollback
	if written {
		ips, endPorts = w.unneeded, w.ports.Commit
	}
	for _, ip := range ips {
		w.release(ctx, w.svc, ip)
	}
	for _, err := range endPorts() {
		w.logger.Warn("cannot release a node port", "service", w.svc.Namespace+"/"+w.svc.Name, "error", err)
	}
}

// invalid is the error of a Service that cannot be as it asks to be.
func invalid(svc *api.Service, errs ...*field.Error) error {
	return apierrors.NewInvalid(api.Kind("Service"), svc.Name, errs)
}
