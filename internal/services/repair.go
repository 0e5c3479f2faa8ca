package services

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
)

// RepairInterval is how often kube-apiserver looks for what is out of order.
const RepairInterval = 3 * time.Minute

// Repair compares the Services with the IPAddresses and the node ports that are taken, and mends what does not fit: what a
// Service has is taken for it, and what nobody has is given back, after a while, because what is taken for a Service is taken
// before the Service is there (upstream's pkg/registry/core/service/ipallocator/controller/repairip.go and
// portallocator/controller/repair.go). Several servers may do this at the same time. A Repair itself is used by one goroutine.
type Repair struct {
	Allocator *Allocator
	Objects   Objects
	Logger    *slog.Logger
	// Event, when set, records an event of type Warning about an object, a *core.Service or a *networking.IPAddress.
	Event func(ctx context.Context, regarding runtime.Object, reason, action, note string)
	// Now is time.Now unless a test sets it.
	Now func() time.Time

	// leaks counts for how many more rounds a port that nobody seems to have stays taken.
	leaks map[int]int
}

// Name is what an error says of it.
func (r *Repair) Name() string { return "repair of what services have" }

// Ensure looks once. A server does this before it is ready: the first time, it makes the object that node ports are kept in.
func (r *Repair) Ensure(ctx context.Context) error {
	return errors.Join(r.repairAddresses(ctx), r.repairPorts(ctx))
}

// Run looks again and again, until ctx ends.
func (r *Repair) Run(ctx context.Context) {
	ticker := time.NewTicker(RepairInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if err := r.Ensure(ctx); err != nil && ctx.Err() == nil {
			r.Logger.Warn("cannot repair what services have", "error", err)
		}
	}
}

func (r *Repair) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

func (r *Repair) event(ctx context.Context, regarding runtime.Object, reason, action, note string) {
	if r.Event != nil {
		r.Event(ctx, regarding, reason, action, note)
	}
}
