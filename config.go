package kayak

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/kayak-k8s/kayak/internal/connect"
	"github.com/kayak-k8s/kayak/internal/services"
)

// Config says what a server is to be. The zero value is a server that keeps everything in memory, listens on a free port of
// 127.0.0.1 and leaves nothing behind.
type Config struct {
	// DataDir is where certificates, keys, the kubeconfig and the embedded etcd live. Empty means that there is none: then
	// the certificates are made in memory, and objects too are kept there unless EtcdServers says where else.
	DataDir string

	// BindAddress is the address to listen on; default 127.0.0.1.
	BindAddress string
	// Port is the port to listen on; 0 takes a free one.
	Port int

	// AdvertiseAddress is where the rest of the cluster reaches this server: the endpoint of the Service "kubernetes". Default:
	// the bind address, or when that is all addresses or loopback, the machine's own, if it has one of the family of Services.
	AdvertiseAddress string
	// KubernetesServiceNodePort makes the Service "kubernetes" one of type NodePort, with this port, unless it is 0.
	KubernetesServiceNodePort int
	// EndpointReconcilerType says who keeps the endpoints of the Service "kubernetes": "lease", the default, lets all servers
	// of the cluster do it together, "none" leaves it to others.
	EndpointReconcilerType string

	// Etcd, when it names servers, is the cluster that keeps the objects, in place of the embedded one.
	Etcd EtcdConfig
	// CompactionInterval is how often history older than the interval is dropped; default 5 minutes, negative for never.
	CompactionInterval time.Duration
	// QuotaBytes is the size at which the embedded etcd refuses writes; 0 means 8 GiB.
	QuotaBytes int64
	// HistoryBytes bounds what is kept in memory for watchers that come back and for pages of lists; 0 means 128 MiB.
	HistoryBytes int64
	// EncodingCacheBytes bounds what is kept of encoded objects; 0 means 64 MiB.
	EncodingCacheBytes int64

	// RuntimeConfig switches APIs on and off, as kube-apiserver's --runtime-config: "api/alpha": "true",
	// "networking.k8s.io/v1/ingresses": "false". What it does not name is on if it is stable and off if it is alpha.
	RuntimeConfig map[string]string
	// BetaAPIs serves beta versions of APIs too, unless RuntimeConfig says otherwise. kayak serve does, kube-apiserver does not.
	BetaAPIs bool

	// ServiceClusterIPRange has the addresses of Services: one range, or one of each family, of which the first is the default.
	// Default 10.0.0.0/24. It is what a new cluster begins with; after that, ServiceCIDR objects say.
	ServiceClusterIPRange []netip.Prefix
	// ServiceNodePortRange has the node ports of Services; default 30000-32767.
	ServiceNodePortRange utilnet.PortRange
	// Serving says how the server presents itself to clients.
	Serving ServingConfig
	// Authentication says who is believed to be whom.
	Authentication AuthenticationConfig
	// Admission says which plugins may change and refuse writes; default: those that kube-apiserver has by default.
	Admission AdmissionConfig
	// Authorization says who may do what.
	Authorization AuthorizationConfig
	// Audit says what is told of requests, and where.
	Audit AuditConfig
	// Kubelet says how kubelets are spoken to, for logs, exec and the like.
	Kubelet KubeletConfig
	// Controllers says which of kube-controller-manager's controllers run in this server, in the syntax of its --controllers: names,
	// "-name", and "*" for those that are on by default. nil is "*"; an empty list is none.
	Controllers []string

	// EventTTL is how long events are kept; default 1 hour.
	EventTTL time.Duration
	// MaxRequestsInflight and MaxMutatingRequestsInflight bound the requests served at a time; default 400 and 200, negative
	// for no bound.
	MaxRequestsInflight, MaxMutatingRequestsInflight int
	// RequestTimeout bounds a request that is not long-running; default 1 minute.
	RequestTimeout time.Duration
	// MinRequestTimeout is the shortest time after which a watch ends that names no timeout; default 30 minutes.
	MinRequestTimeout time.Duration
	// DeleteCollectionWorkers is how many objects of a collection are deleted at a time; default 1.
	DeleteCollectionWorkers int
	// Profiling serves the profiles of the process, in pprof's format, at /debug/pprof/ to those who may.
	Profiling bool
	// LogDirectory is served at /logs/ to those who may; empty for none. It must neither hold DataDir nor be in it: there are keys.
	LogDirectory string

	// Middleware, unless it is nil, is put around what answers requests: those that were let through, by authentication, flow
	// control and authorization. Who asks is in a request's context (UserFrom of k8s.io/apiserver/pkg/endpoints/request), and so
	// is what is asked for (RequestInfoFrom). The handler may answer itself, put something around the writer, or hand the request
	// on, with its context or one made from it.
	Middleware func(http.Handler) http.Handler
	// Snapshot, unless it is nil, is what a server in memory begins with: objects with their UIDs and resource versions, and the
	// certificates and keys of the server that it was taken from. Many servers can begin with the same one.
	Snapshot *Snapshot

	// Logger hears what happens; nil means nobody does.
	Logger *slog.Logger
}

// EtcdConfig says how to reach an etcd cluster.
type EtcdConfig struct {
	// Servers are URLs: http://, https:// or unix://.
	Servers []string
	// CAFile verifies the servers; CertFile and KeyFile are the client's certificate.
	CAFile, CertFile, KeyFile string
	// Prefix is put before every key; default /registry.
	Prefix string
}

// KubeletConfig says how kubelets are spoken to.
type KubeletConfig struct {
	// CertFile and KeyFile are the client certificate for them. They are read again when they have changed.
	CertFile, KeyFile string
	// CAFile has the authorities of their certificates; without it these are not verified, as in kube-apiserver.
	CAFile string
	// AddressTypes are the types of node addresses to use, the preferred first; default Hostname, InternalDNS, InternalIP,
	// ExternalDNS, ExternalIP.
	AddressTypes []string
	// Port is used for nodes that name none; default 10250.
	Port int
	// AllowLoopback lets the server connect to loopback addresses that nodes and services name, for kubelets on this machine.
	// Whoever may write the status of nodes can then reach all that listens there.
	AllowLoopback bool
}

func (k KubeletConfig) options() connect.Kubelet {
	return connect.Kubelet{CertFile: k.CertFile, KeyFile: k.KeyFile, CAFile: k.CAFile, AddressTypes: k.AddressTypes, Port: k.Port}
}

// serviceIP is the first address for services, which is that of the Service "kubernetes".
func (c *Config) serviceIP() netip.Addr { return c.ServiceClusterIPRange[0].Masked().Addr().Next() }

// minServiceIPs is the smallest number of addresses for services that upstream takes, in bits.
const minServiceIPs = 3

// checkServiceIPs checks the ranges of addresses (kubernetes/cmd/kube-apiserver/app/options/validation.go).
func (c *Config) checkServiceIPs() error {
	ranges := c.ServiceClusterIPRange
	if len(ranges) > 2 {
		return errors.New("--service-cluster-ip-range must not contain more than two entries")
	}
	for _, r := range ranges {
		if r.Addr().BitLen()-r.Bits() < minServiceIPs {
			return fmt.Errorf("the service cluster IP range must be at least %d IP addresses", 1<<minServiceIPs)
		}
	}
	if len(ranges) == 2 && ranges[0].Addr().Is4() == ranges[1].Addr().Is4() {
		return errors.New("--service-cluster-ip-range[0] and --service-cluster-ip-range[1] must be of different IP family")
	}
	return nil
}

func (c Config) withDefaults() Config {
	def(&c.BindAddress, "127.0.0.1")
	def(&c.EndpointReconcilerType, "lease")
	def(&c.Etcd.Prefix, "/registry")
	def(&c.CompactionInterval, 5*time.Minute)
	if len(c.ServiceClusterIPRange) == 0 {
		c.ServiceClusterIPRange = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}
	}
	def(&c.ServiceNodePortRange, services.DefaultNodePorts)
	c.Authentication = c.Authentication.WithDefaults()
	c.Authorization = c.Authorization.WithDefaults()
	def(&c.EventTTL, time.Hour)
	def(&c.MaxRequestsInflight, 400)
	def(&c.MaxMutatingRequestsInflight, 200)
	def(&c.RequestTimeout, time.Minute)
	def(&c.MinRequestTimeout, 30*time.Minute)
	def(&c.DeleteCollectionWorkers, 1)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.withoutAnonymous()
	return c
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
