package services

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/service/portallocator"

	"github.com/kayak-k8s/kayak/internal/store"
)

const (
	// roundsBeforeCleanup is in how many rounds a port must seem to have leaked before it is given back.
	roundsBeforeCleanup = 3
	// portRepairAttempts bounds how often a round starts over because ports were taken or given back meanwhile.
	portRepairAttempts = 10
)

// repairPorts counts anew which ports Services have, and stores that.
func (r *Repair) repairPorts(ctx context.Context) error {
	var conflict *store.Conflict
	err := r.tryRepairPorts(ctx)
	for attempt := 1; attempt < portRepairAttempts && errors.As(err, &conflict); attempt++ {
		err = r.tryRepairPorts(ctx)
	}
	return err
}

func (r *Repair) tryRepairPorts(ctx context.Context) error {
	ports := r.Allocator.ports
	// First the ports, then the Services: what is written meanwhile is then a conflict, or a Service with a port too many.
	stored, err := ports.read(ctx)
	if err != nil {
		return fmt.Errorf("unable to refresh the port allocations: %w", err)
	}
	object, err := ports.decodeOrEmpty(stored)
	if err != nil {
		return fmt.Errorf("unable to refresh the port allocations: %w", err)
	}
	snapshot, err := r.Objects.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("unable to refresh the port block: %w", err)
	}
	unused, err := unusedPorts(object)
	if err != nil {
		return fmt.Errorf("unable to rebuild allocator from snapshot: %w", err)
	}
	rebuilt, err := portallocator.NewInMemory(ports.ports)
	if err != nil {
		return fmt.Errorf("unable to create port allocator: %w", err)
	}
	for _, svc := range snapshot.Services {
		for _, port := range distinctPorts(svc) {
			r.countPort(ctx, svc, port, rebuilt, unused)
		}
	}
	leaks := r.keepLeaks(rebuilt, unused)
	var counted api.RangeAllocation
	if err := rebuilt.Snapshot(&counted); err != nil {
		return fmt.Errorf("unable to snapshot the updated port allocations: %w", err)
	}
	object.Range, object.Data = counted.Range, counted.Data
	if err := ports.replace(ctx, object, stored); err != nil {
		return fmt.Errorf("unable to persist the updated port allocations: %w", err)
	}
	r.leaks = leaks
	return nil
}

// decodeOrEmpty returns what is stored, and the range without any port when that is nothing.
func (r *portRange) decodeOrEmpty(kv *store.KV) (*corev1.RangeAllocation, error) {
	if kv == nil {
		return &corev1.RangeAllocation{Range: r.ports.String(), Data: []byte{}}, nil
	}
	return r.decode(kv)
}

// replace writes what has been counted in the place of what was stored then, if that is something else.
func (r *portRange) replace(ctx context.Context, object *corev1.RangeAllocation, stored *store.KV) error {
	var revision int64
	if stored != nil {
		old, err := r.decode(stored)
		if err == nil && old.Range == object.Range && bytes.Equal(old.Data, object.Data) {
			return nil
		}
		revision = stored.Revision
	}
	unlock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return r.write(ctx, object, revision)
}

// unusedPorts are the ports that are taken, in the range that they were taken in. Those that Services have are then taken out.
func unusedPorts(object *corev1.RangeAllocation) (*portallocator.PortAllocator, error) {
	ports, err := utilnet.ParsePortRange(object.Range)
	if err != nil {
		return nil, err
	}
	allocator, err := portallocator.NewInMemory(*ports)
	if err != nil {
		return nil, err
	}
	return allocator, allocator.Restore(*ports, object.Data)
}

// countPort takes a port for a Service that has it, and reports if it should not.
func (r *Repair) countPort(ctx context.Context, svc *api.Service, port int, rebuilt, unused *portallocator.PortAllocator) {
	const action = "PortAllocation"
	log := r.Logger.With("service", svc.Namespace+"/"+svc.Name)
	var notInRange *portallocator.ErrNotInRange
	switch err := rebuilt.Allocate(port); {
	case err == nil && unused.Has(port):
		_ = unused.Release(port) // in memory: does not fail
	case err == nil:
		r.event(ctx, svc, "PortNotAllocated", action, fmt.Sprintf("Port %d is not allocated; repairing", port))
		log.Error(fmt.Sprintf("the node port %d for service %s/%s is not allocated; repairing", port, svc.Name, svc.Namespace))
	case errors.Is(err, portallocator.ErrAllocated):
		r.event(ctx, svc, "PortAlreadyAllocated", action,
			fmt.Sprintf("Port %d was assigned to multiple services; please recreate service", port))
		log.Error(fmt.Sprintf("the node port %d for service %s/%s was assigned to multiple services; please recreate",
			port, svc.Name, svc.Namespace))
	case errors.As(err, &notInRange):
		ports := r.Allocator.ports.ports
		r.event(ctx, svc, "PortOutOfRange", action,
			fmt.Sprintf("Port %d is not within the port range %s; please recreate service", port, ports.String()))
		log.Error(fmt.Sprintf("the port %d for service %s/%s is not within the port range %s; please recreate",
			port, svc.Name, svc.Namespace, ports.String()))
	}
}

// keepLeaks keeps the ports that nobody has taken until that was so in enough rounds, and returns how many are left for each.
func (r *Repair) keepLeaks(rebuilt, unused *portallocator.PortAllocator) map[int]int {
	leaks := map[int]int{}
	unused.ForEach(func(port int) {
		left, known := r.leaks[port]
		if !known {
			r.Logger.Warn(fmt.Sprintf("the node port %d may have leaked: flagging for later clean up", port))
			left = roundsBeforeCleanup - 1
		}
		if left == 0 {
			r.Logger.Warn(fmt.Sprintf("the node port %d appears to have leaked: cleaning up", port))
			return
		}
		leaks[port] = left - 1
		if err := rebuilt.Allocate(port); err != nil {
			r.Logger.Warn(fmt.Sprintf("the node port %d may have leaked, but can not be allocated: %v", port, err))
		}
	})
	return leaks
}

// distinctPorts returns the ports that a Service holds. Those that it has twice for the same protocol are there twice, so that
// they are reported.
func distinctPorts(svc *api.Service) []int {
	type protocolPort struct {
		protocol api.Protocol
		port     int32
	}
	var ports []int
	seen := map[protocolPort]bool{}
	known := map[int32]bool{}
	add := func(protocol api.Protocol, port int32) {
		key := protocolPort{protocol, port}
		if port != 0 && (!known[port] || seen[key]) {
			ports = append(ports, int(port))
		}
		known[port], seen[key] = true, true
	}
	for _, port := range svc.Spec.Ports {
		add(port.Protocol, port.NodePort)
	}
	add(api.ProtocolTCP, svc.Spec.HealthCheckNodePort)
	return ports
}
