package controllers

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/utils/ptr"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// KubernetesService keeps the Service default/kubernetes, by which pods reach the API servers, and its Endpoints and
// EndpointSlice in step with the servers that live: see masterLeases
// (k8s.io/kubernetes/pkg/controlplane/{controller/kubernetesservice,reconcilers}).
//
// The Service is created when it is missing and never changed. Make one with NewKubernetesService.
type KubernetesService struct {
	KubernetesServiceOptions
	// turn holds one token: whoever has it may look and write.
	turn chan struct{}
	// joined says that there may be a lease of this server, leaving that Close was called. They belong to who has the turn.
	joined, leaving bool
}

// KubernetesServiceOptions say what the Service is to be.
type KubernetesServiceOptions struct {
	API *verb.API
	// Services, Endpoints and EndpointSlices are core/v1 and discovery.k8s.io/v1. Without Services nothing is done, without
	// one of the others there are no endpoints.
	Services, Endpoints, EndpointSlices *kind.Resource
	// Address is the Service's: the first of the service range.
	Address netip.Addr
	// Advertise is the address at which this server can be reached from the cluster. The zero Addr leaves the endpoints to
	// others (--endpoint-reconciler-type=none, or a machine that has no such address).
	Advertise netip.Addr
	// Port is the server's, and all servers of a cluster have the same. NodePort makes it a Service of that type, when it is
	// not 0.
	Port, NodePort int
	Logger         *slog.Logger
}

const (
	kubernetesServiceName  = "kubernetes"
	kubernetesServicePort  = 443
	kubernetesServiceEvery = 10 * time.Second
)

// NewKubernetesService returns one that has done nothing yet.
func NewKubernetesService(options KubernetesServiceOptions) *KubernetesService {
	c := &KubernetesService{KubernetesServiceOptions: options, turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	return c
}

// Name is what errors call it.
func (c *KubernetesService) Name() string { return "kubernetes service" }

// Ensure creates what is missing and adds this server. What goes wrong is told, and tried again by Run: as in upstream, no
// server stays down for it, since it may well be another server's doing.
//
// Upstream first removes what it has left behind when it was killed, until it is ready; here that is a moment later.
func (c *KubernetesService) Ensure(ctx context.Context) error {
	c.pass(ctx, true)
	return ctx.Err()
}

// Run looks after it until ctx ends or Close is called.
func (c *KubernetesService) Run(ctx context.Context) {
	every(ctx, kubernetesServiceEvery, func() { c.pass(ctx, false) })
}

// Close takes this server out of the endpoints, so that nobody is sent to it any more. Call it before the server stops
// serving, and while its state still follows the store. Further calls do nothing. It takes no longer than ctx lets it: if it
// fails, the lease ends by itself.
func (c *KubernetesService) Close(ctx context.Context) {
	ctx = verb.AsServer(ctx)
	if !c.keepsEndpoints() || !c.take(ctx) {
		return
	}
	defer c.give()
	if c.leaving {
		return
	}
	c.leaving = true
	if !c.joined {
		return // what there is of its address is somebody else's
	}
	if err := c.leave(ctx); err != nil {
		c.Logger.Warn("cannot remove this server from the endpoints of the kubernetes service", "error", err)
	}
}

// take waits for the turn; false when ctx ends first.
func (c *KubernetesService) take(ctx context.Context) bool {
	select {
	case <-c.turn:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *KubernetesService) give() { c.turn <- struct{}{} }

func (c *KubernetesService) keepsEndpoints() bool {
	return c.Services != nil && c.Endpoints != nil && c.EndpointSlices != nil && c.Advertise.IsValid()
}

// pass does everything once. ports says whether the endpoints' ports are looked at: at the start, by the only server, which may
// have another port than the one that was killed before it. What several servers have is nobody's to decide.
func (c *KubernetesService) pass(ctx context.Context, ports bool) {
	ctx = verb.AsServer(ctx)
	if c.Services == nil || !c.take(ctx) {
		return
	}
	defer c.give()
	if c.leaving {
		return
	}
	err := c.ensureService(ctx)
	if err == nil && c.keepsEndpoints() {
		err = c.stay(ctx, ports)
	}
	switch {
	case err == nil || ctx.Err() != nil:
	case apierrors.IsConflict(err):
		c.Logger.Info("somebody else writes the endpoints of the kubernetes service; looking again later", "error", err)
	default:
		c.Logger.Warn("unable to sync the kubernetes service", "error", err)
	}
}

func (c *KubernetesService) ensureService(ctx context.Context) error {
	snapshot, err := c.API.State.Consistent(ctx)
	if err != nil {
		return err
	}
	if snapshot.Get(c.Services.Key(c.API.Root, metav1.NamespaceDefault, kubernetesServiceName)) != nil {
		return nil
	}
	options := &metav1.CreateOptions{FieldManager: asKubeAPIServer}
	_, err = c.API.CreateObjectWith(ctx, c.Services, metav1.NamespaceDefault, c.service(), options)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (c *KubernetesService) service() *api.Service {
	family := api.IPv4Protocol
	if c.Address.Is6() {
		family = api.IPv6Protocol
	}
	kind := api.ServiceTypeClusterIP
	if c.NodePort > 0 {
		kind = api.ServiceTypeNodePort
	}
	service := &api.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: kubernetesServiceName, Namespace: metav1.NamespaceDefault,
			Labels: map[string]string{"provider": "kubernetes", "component": "apiserver"},
		},
		Spec: api.ServiceSpec{
			Type:            kind,
			ClusterIP:       c.Address.String(),
			ClusterIPs:      []string{c.Address.String()},
			IPFamilies:      []api.IPFamily{family},
			IPFamilyPolicy:  ptr.To(api.IPFamilyPolicySingleStack),
			SessionAffinity: api.ServiceAffinityNone,
			// A default of core/v1, which an object of the hub version does not get.
			InternalTrafficPolicy: ptr.To(api.ServiceInternalTrafficPolicyCluster),
			Ports: []api.ServicePort{{
				Name: "https", Protocol: api.ProtocolTCP, Port: kubernetesServicePort,
				TargetPort: intstr.FromInt32(int32(c.Port)), NodePort: int32(c.NodePort),
			}},
		},
	}
	if kind == api.ServiceTypeNodePort {
		service.Spec.ExternalTrafficPolicy = api.ServiceExternalTrafficPolicyCluster // likewise
	}
	return service
}

// stay renews this server's lease and puts the endpoints in step.
func (c *KubernetesService) stay(ctx context.Context, ports bool) error {
	c.joined = true
	revision, err := c.leases().renew(ctx, c.Advertise)
	if err != nil {
		return err
	}
	return c.syncEndpointsAt(ctx, revision, ports)
}

// leave gives the lease up and puts the endpoints in step, which now may have no addresses at all.
func (c *KubernetesService) leave(ctx context.Context) error {
	revision, err := c.leases().remove(ctx, c.Advertise)
	if err != nil {
		return err
	}
	return c.syncEndpointsAt(ctx, revision, false)
}

func (c *KubernetesService) leases() masterLeases { return masterLeases{c.API, c.Endpoints} }

func (c *KubernetesService) syncEndpointsAt(ctx context.Context, revision int64, ports bool) error {
	snapshot, err := c.API.State.AtLeast(ctx, revision)
	if err != nil {
		return err
	}
	return c.syncEndpoints(ctx, snapshot, ports)
}

// object reads one of the objects of the Service's name.
func (c *KubernetesService) object(snapshot *state.Snapshot, r *kind.Resource) (any, error) {
	obj, err := stored(snapshot, c.API.Root, r, metav1.NamespaceDefault, kubernetesServiceName)
	if obj == nil || err != nil {
		return nil, err
	}
	return obj, nil
}
