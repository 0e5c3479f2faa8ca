// Package services gives Services what they need besides a key of their own: cluster IPs, node ports and health check node
// ports. An [Allocator] is the hooks that kind.Kind has for it; [Repair] mends what a crash has left behind; [DefaultCIDR]
// keeps the ServiceCIDR object that stands for --service-cluster-ip-range.
//
// What is asked of a Service, what it is given and what is refused, in which words, is kube-apiserver's
// (pkg/registry/core/service/storage in k8s.io/kubernetes). testdata/recorded.json holds what a real one did, and a test
// does it again here.
//
// # Where it is kept
//
// A cluster IP is taken by creating the IPAddress object of its name, and free when there is none. That a name can be created
// only once is what keeps two Services, on one server or on several, from having the same IP. Which IPs there are say the
// ServiceCIDR objects. Node ports are bits of one number, in the object under /registry/ranges/servicenodeports, which is
// replaced by compare-and-swap. Both are as kube-apiserver keeps them, so that it can go on from here, or run beside.
//
// # Taking and giving back
//
// BeginCreate and BeginUpdate take what is new at once, before the Service is written, and remember what is no longer needed.
// The Finish they return then gives back the one or the other: what was taken if the Service was not written, what is not
// needed any more if it was. What should be free and is not is a leak, and mended later; what should be taken and is not lets
// two Services share it. So when it is not known whether the Service was written, Finish is not called, everything stays taken,
// and Repair decides.
//
// # Differences to upstream
//
// All are on the side of not losing anything. Of two addresses of which the second cannot be had, the first is given back
// (upstream leaks it). An IPAddress is deleted only for the Service that it names, and only as it was read. A repair waits 60
// seconds before it takes an IPAddress for leaked, for an existing Service, too (upstream: 5, and in the second in which the
// Service was created not at all, so that it can take away what an update has just taken). A port that leaks a second time is
// given as many rounds as it was the first time (upstream: none).
package services

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/networking"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/store"
)

// Objects is what this package needs of the server around it. Objects are of the hub version; those that are returned belong
// to the caller. Everything is done as the server itself, without authorization, and whatever user the context has. Errors
// are those a client would get (k8s.io/apimachinery/pkg/api/errors). All methods may be called concurrently.
type Objects interface {
	// ListServiceCIDRs returns all ServiceCIDRs. They may be a moment behind the store.
	ListServiceCIDRs(ctx context.Context) ([]*networking.ServiceCIDR, error)
	// HasIPAddress reports whether there is an IPAddress of that name. The answer may be a moment behind the store: it only
	// saves attempts that would fail.
	HasIPAddress(name string) bool
	// GetIPAddress reads an IPAddress from the store itself.
	GetIPAddress(ctx context.Context, name string) (*networking.IPAddress, error)
	// CreateIPAddress creates an IPAddress, and fails with AlreadyExists when there is one of the name.
	CreateIPAddress(ctx context.Context, obj *networking.IPAddress) error
	// DeleteIPAddress deletes an IPAddress that was read, provided that its uid and resourceVersion are still the same.
	DeleteIPAddress(ctx context.Context, obj *networking.IPAddress) error
	// Snapshot returns everything as it was at one revision, which the store reached when the call began or later.
	Snapshot(ctx context.Context) (*Snapshot, error)
	// CreateServiceCIDR, UpdateServiceCIDR and UpdateServiceCIDRStatus write a ServiceCIDR. An update fails with a Conflict when
	// the resourceVersion has changed.
	CreateServiceCIDR(ctx context.Context, obj *networking.ServiceCIDR) (*networking.ServiceCIDR, error)
	UpdateServiceCIDR(ctx context.Context, obj *networking.ServiceCIDR) error
	UpdateServiceCIDRStatus(ctx context.Context, obj *networking.ServiceCIDR) error
}

// Snapshot is what Repair compares.
type Snapshot struct {
	Services     []*api.Service
	IPAddresses  []*networking.IPAddress
	ServiceCIDRs []*networking.ServiceCIDR
}

// DefaultNodePorts is the default of --service-node-port-range.
var DefaultNodePorts = utilnet.PortRange{Base: 30000, Size: 2768}

// Options say how a cluster is set up. All fields are required.
type Options struct {
	Objects Objects
	Store   store.Store
	// Root is the prefix of all keys, with slashes at both ends: "/registry/".
	Root string
	// Ranges are --service-cluster-ip-range: one, or two of different families, of which the first is the default. They only say
	// which families the cluster has; which addresses there are say the ServiceCIDRs.
	Ranges []netip.Prefix
	// NodePorts is --service-node-port-range.
	NodePorts utilnet.PortRange
	Logger    *slog.Logger
}

// Allocator gives Services their cluster IPs and node ports. Its methods are the hooks of kind.Kind; they may be called
// concurrently, and by several servers on one store.
type Allocator struct {
	objects Objects
	ports   *portRange
	// families are those of the cluster, the default first.
	families []api.IPFamily
	logger   *slog.Logger
}

// New makes an Allocator. It fails when the ranges are not one, or two of different families.
func New(o Options) (*Allocator, error) {
	a := &Allocator{objects: o.Objects, ports: newPortRange(o.Store, o.Root, o.NodePorts), logger: o.Logger}
	for _, prefix := range o.Ranges {
		a.families = append(a.families, familyOf(prefix.Addr()))
	}
	if n := len(a.families); n < 1 || n > 2 || n == 2 && a.families[0] == a.families[1] {
		return nil, errors.New("services: one range of cluster IPs is needed, or two of different IP families")
	}
	return a, nil
}

// Hook makes the Allocator that of the kind of Services, which must be among kinds, and not part of a table yet.
func (a *Allocator) Hook(kinds ...*kind.Kind) {
	for _, k := range kinds {
		if k.GroupResource() == api.Resource("services") {
			k.BeginCreate, k.BeginUpdate, k.AfterDelete = a.BeginCreate, a.BeginUpdate, a.AfterDelete
		}
	}
}

// BeginCreate takes cluster IPs and node ports for a new Service, and fills them in.
func (a *Allocator) BeginCreate(ctx context.Context, obj runtime.Object, options *metav1.CreateOptions) (kind.Finish, error) {
	svc := obj.(*api.Service)
	pluralizeNew(svc)
	return a.begin(ctx, svc, nil, len(options.DryRun) > 0)
}

// BeginUpdate keeps what the existing Service has and the new one does not mention, takes what the new one needs besides, and
// gives back, once it is written, what it no longer needs. It is for updates of the Service itself, not of its status. existing
// is complete, as the kind's OnRead makes it.
func (a *Allocator) BeginUpdate(ctx context.Context, obj, existing runtime.Object, options *metav1.UpdateOptions) (kind.Finish, error) {
	svc, old := obj.(*api.Service), existing.(*api.Service)
	keepAllocated(svc, old)
	pluralizeUpdated(svc, old)
	return a.begin(ctx, svc, old, len(options.DryRun) > 0)
}

// releaseTimeout bounds the giving back of what a Service had; what is left is for Repair.
const releaseTimeout = 30 * time.Second

// AfterDelete gives back all that a deleted Service had. It is for every way in which a Service can go, an update that takes
// the last finalizer off included, of the status, too.
func (a *Allocator) AfterDelete(obj runtime.Object, options *metav1.DeleteOptions) {
	if len(options.DryRun) > 0 {
		return
	}
	svc := obj.(*api.Service)
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	for _, ip := range clusterIPs(svc) {
		a.release(ctx, svc, ip)
	}
	ports := a.ports.allocator(ctx)
	for _, port := range heldPorts(svc) {
		if err := ports.Release(port); err != nil {
			a.logger.Warn("cannot release a node port", "service", svc.Namespace+"/"+svc.Name, "port", port, "error", err)
		}
	}
}

// begin takes what svc needs. old is nil when it is created.
func (a *Allocator) begin(ctx context.Context, svc, old *api.Service, dryRun bool) (kind.Finish, error) {
	if err := a.setFamilies(svc, old); err != nil {
		return nil, err
	}
	w := a.newWrite(ctx, svc, dryRun)
	err := w.clusterIPs(ctx, old)
	if err == nil {
		err = w.nodePorts(old)
	}
	if err != nil {
		w.finish(ctx, false)
		return nil, err
	}
	return w.finish, nil
}
