package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc/grpclog"
	"k8s.io/apimachinery/pkg/api/resource"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/klog/v2"

	"github.com/kayak-k8s/kayak"
	"github.com/kayak-k8s/kayak/internal/bootstrap"
	"github.com/kayak-k8s/kayak/internal/memory"
	"github.com/kayak-k8s/kayak/internal/trim"
	"github.com/kayak-k8s/kayak/internal/upstreamflags"
)

// serveOptions are the flags of kayak serve. Names are kube-apiserver's, or etcd's, wherever one of them has the flag.
type serveOptions struct {
	config        kayak.Config
	kubeconfigOut string
	verbosity     int
	encodingCache resource.QuantityValue
	history       resource.QuantityValue
	logFile       string
	logsHandler   bool
	serving       servingFlags
	gates         featureGates
	audit         auditFlags
	// rest are flags of kube-apiserver that have no effect.
	rest *upstreamflags.Rest
	// upstream says that the program is to be a kube-apiserver.
	upstream bool
}

// newServeCommand returns the command that runs a server; what no flag says is as in defaults.
func newServeCommand(defaults kayak.Config) *cobra.Command {
	defaults.RuntimeConfig = map[string]string{}
	return (&serveOptions{config: defaults}).command()
}

func (o *serveOptions) command() *cobra.Command {
	command := &cobra.Command{
		Use:   "serve",
		Short: "Run a Kubernetes API server",
		Long: `Run a Kubernetes API server.

On its first start it creates a data directory with certificates, keys, a kubeconfig for the administrator, and an embedded
etcd; later starts reuse all of it. With --etcd-servers the objects are kept in that etcd cluster instead.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return o.run(command.Context(), command.OutOrStdout(), command.ErrOrStderr())
		},
	}
	o.addFlags(command.Flags())
	return command
}

func (o *serveOptions) addFlags(flags *pflag.FlagSet) {
	c := &o.config
	flags.StringVar(&c.DataDir, "data-dir", "", "Directory of certificates, keys, the kubeconfig and the embedded etcd. "+
		"(default $XDG_DATA_HOME/kayak, /var/lib/kayak as root)")
	flags.StringVar(&o.kubeconfigOut, "kubeconfig-out", "", "File to write the administrator's kubeconfig to as well. "+
		"What is in it already is kept, the way kubectl config would.")
	flags.StringVar(&c.BindAddress, "bind-address", cmp.Or(c.BindAddress, "127.0.0.1"), "The IP address on which to listen for the --secure-port port.")
	flags.IntVar(&c.Port, "secure-port", 6443, "The port on which to serve HTTPS; 0 takes a free one.")

	flags.StringVar(&c.AdvertiseAddress, "advertise-address", "", "The IP address on which to advertise the apiserver to members "+
		"of the cluster. This address must be reachable by the rest of the cluster. If blank, the --bind-address will be used. "+
		"If --bind-address is unspecified, the host's default interface will be used.")
	flags.IntVar(&c.KubernetesServiceNodePort, "kubernetes-service-node-port", 0, "If non-zero, the Kubernetes master service "+
		"(which apiserver creates/maintains) will be of type NodePort, using this as the value of the port. If zero, the "+
		"Kubernetes master service will be of type ClusterIP.")
	flags.StringVar(&c.EndpointReconcilerType, "endpoint-reconciler-type", "lease", "Use an endpoint reconciler (lease, none).")

	flags.StringSliceVar(&c.Etcd.Servers, "etcd-servers", nil, "List of etcd servers to connect with (scheme://ip:port), "+
		"comma separated. Without it an embedded etcd is used.")
	flags.StringVar(&c.Etcd.Prefix, "etcd-prefix", "/registry", "The prefix to prepend to all resource paths in etcd.")
	flags.StringVar(&c.Etcd.CAFile, "etcd-cafile", "", "SSL Certificate Authority file used to secure etcd communication.")
	flags.StringVar(&c.Etcd.CertFile, "etcd-certfile", "", "SSL certification file used to secure etcd communication.")
	flags.StringVar(&c.Etcd.KeyFile, "etcd-keyfile", "", "SSL key file used to secure etcd communication.")
	flags.DurationVar(&c.CompactionInterval, "etcd-compaction-interval", 5*time.Minute, "The interval of compaction requests. "+
		"If 0, the compaction request from apiserver is disabled.")
	flags.Int64Var(&c.QuotaBytes, "quota-backend-bytes", 0, "The size at which the embedded etcd refuses writes; 0 means 8 GiB.")

	flags.Var((*prefixes)(&c.ServiceClusterIPRange), "service-cluster-ip-range", "A CIDR notation IP range from which to assign "+
		"service cluster IPs. This must not overlap with any IP ranges assigned to nodes or pods. Max of two dual-stack CIDRs is "+
		"allowed. (default 10.0.0.0/24)")
	c.ServiceNodePortRange = utilnet.PortRange{Base: 30000, Size: 2768}
	flags.Var(&c.ServiceNodePortRange, "service-node-port-range", "A port range to reserve for services with NodePort visibility. "+
		"This must not overlap with the ephemeral port range on nodes. Example: '30000-32767'. Inclusive at both ends of the range.")
	o.serving.add(flags, &c.Serving)
	addAuthenticationFlags(flags, &c.Authentication)
	addAdmissionFlags(flags, &c.Admission)
	addAuthorizationFlags(flags, &c.Authorization)
	o.audit.add(flags, &c.Audit)
	if !o.upstream { // whose controllers are kube-controller-manager's
		flags.StringSliceVar(&c.Controllers, "controllers", []string{"*"}, controllersUsage())
	}
	k := &c.Kubelet
	flags.StringVar(&k.CertFile, "kubelet-client-certificate", "", "Path to a client cert file for TLS.")
	flags.StringVar(&k.KeyFile, "kubelet-client-key", "", "Path to a client key file for TLS.")
	flags.StringVar(&k.CAFile, "kubelet-certificate-authority", "", "Path to a cert file for the certificate authority.")
	flags.StringSliceVar(&k.AddressTypes, "kubelet-preferred-address-types", []string{"Hostname", "InternalDNS", "InternalIP",
		"ExternalDNS", "ExternalIP"}, "List of the preferred NodeAddressTypes to use for kubelet connections.")
	flags.IntVar(&k.Port, "kubelet-port", 10250, "The port of kubelets whose nodes name none.")
	flags.BoolVar(&k.AllowLoopback, "kubelet-allow-loopback", false, "Connect to loopback addresses that nodes name, for kubelets "+
		"on this machine. Whoever may write the status of nodes can then reach what listens there.")
	flags.Var((*cliflag.ConfigurationMap)(&c.RuntimeConfig), "runtime-config", "A set of key=value pairs that enable or disable "+
		"built-in APIs. Supported options are:\nv1=true|false for the core API group\n"+
		"<group>/<version>=true|false for a specific API group and version (e.g. apps/v1=true)\n"+
		"<group>/<version>/<resource>=true|false for a specific resource (e.g. networking.k8s.io/v1/ingresses=false)\n"+
		"api/all=true|false controls all API versions\napi/ga=true|false controls all API versions of the form v[0-9]+\n"+
		"api/beta=true|false controls all API versions of the form v[0-9]+beta[0-9]+\n"+
		"api/alpha=true|false controls all API versions of the form v[0-9]+alpha[0-9]+")
	flags.DurationVar(&c.EventTTL, "event-ttl", time.Hour, "Amount of time to retain events.")
	flags.IntVar(&c.MaxRequestsInflight, "max-requests-inflight", 400, "The maximum number of non-mutating requests in flight "+
		"at a given time; 0 for no limit.")
	flags.IntVar(&c.MaxMutatingRequestsInflight, "max-mutating-requests-inflight", 200, "The maximum number of mutating requests "+
		"in flight at a given time; 0 for no limit.")
	flags.DurationVar(&c.RequestTimeout, "request-timeout", time.Minute, "The duration a handler must keep a request open before "+
		"timing it out. Long-running requests are not affected.")
	flags.Var(&o.encodingCache, "encoding-cache-size", "How much memory encoded objects and lists may take that are kept to be sent "+
		"again, as a quantity such as 256Mi. (default a sixteenth of the memory the process may use, from 32Mi to 256Mi)")
	flags.Var(&o.history, "history-size", "How much memory past changes may take that are kept for watches that come back and for "+
		"further pages of lists, as a quantity such as 512Mi. (default 128Mi: some 25,000 changes of Pods)")
	minimum := flags.Int("min-request-timeout", 1800, "The minimum number of seconds a watch must be kept open before timing it out.")
	flags.IntVar(&c.DeleteCollectionWorkers, "delete-collection-workers", 1, "Number of workers spawned for DeleteCollection call.")
	flags.BoolVar(&c.Profiling, "profiling", true, "Enable profiling via web interface host:port/debug/pprof/.")
	flags.StringVar(&o.logFile, "log-file", "", "File to write the log to as well; it is appended to.")
	flags.BoolVar(&o.logsHandler, "enable-logs-handler", false, "If true, serve the directory of --log-file at /logs/.")
	flags.IntVarP(&o.verbosity, "v", "v", 0, "Number for the log level verbosity: 0 warnings and errors, 2 information, 4 and more debugging.")
	flags.Var(&o.gates, "feature-gates", "Comma-separated list of component:key=value pairs that describe feature gates for "+
		"alpha/experimental features of the kinds, as kube-apiserver has them. If the component is not specified, defaults to \"kube\".")
	o.rest = upstreamflags.AddRest(flags)
	flags.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	cobra.OnInitialize(func() { c.MinRequestTimeout = time.Duration(*minimum) * time.Second })
}

func (o *serveOptions) run(ctx context.Context, out, errOut io.Writer) error {
	if err := o.complete(errOut); err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	server, err := kayak.New(o.config)
	if err != nil {
		return err
	}
	began := time.Now()
	started := make(chan error, 1)
	go func() { started <- server.Start(ctx) }()
	select {
	case err := <-started:
		if err != nil {
			return err
		}
	case <-signals:
		cancel()
		<-started
		return errors.New("stopped while starting")
	}
	if err := o.greet(out, server, time.Since(began)); err != nil {
		return errors.Join(err, stop(server))
	}
	trim.Program()
	server.Unmap()
	trim.WhenIdle(server.Unmap)
	defer memory.Floor(heapFloor)()
	select {
	case <-signals:
	case err := <-server.Failed():
		return errors.Join(err, stop(server))
	}
	go func() {
		<-signals
		os.Exit(1) // whoever asks twice does not want to wait
	}()
	return stop(server)
}

// heapFloor is what the garbage collector is told that the heap has in any case. It saves a good part of a write's CPU time.
const heapFloor = 24 << 20

// stopTimeout is how long requests under way have to finish.
const stopTimeout = 800 * time.Millisecond

func stop(server *kayak.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := server.Stop(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // a request took longer; its client sees a broken connection, and what was acknowledged is stored
	}
	return err
}

func (o *serveOptions) complete(errOut io.Writer) error {
	c := &o.config
	if o.upstream && c.DataDir == "" && len(c.Etcd.Servers) == 0 {
		return errors.New("--etcd-servers must be specified")
	}
	if c.DataDir == "" && !o.upstream {
		dir, err := bootstrap.DefaultDataDir()
		if err != nil {
			return err
		}
		c.DataDir = dir
	}
	for _, path := range []*string{&c.DataDir, &o.kubeconfigOut} { // the greeting must be right in every directory
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = abs
	}
	if o.encodingCache.Sign() < 0 {
		return errors.New("--encoding-cache-size must not be negative")
	}
	if c.EncodingCacheBytes = o.encodingCache.Value(); c.EncodingCacheBytes == 0 {
		c.EncodingCacheBytes = min(max(memory.Limit()/16, 32<<20), 256<<20)
	}
	if o.history.Sign() < 0 {
		return errors.New("--history-size must not be negative")
	}
	c.HistoryBytes = o.history.Value()
	none(&c.CompactionInterval)
	none(&c.Authentication.Webhook.CacheTTL)
	none(&c.Authorization.Webhook.CacheAuthorizedTTL)
	none(&c.Authorization.Webhook.CacheUnauthorizedTTL)
	none(&c.MaxRequestsInflight)
	none(&c.MaxMutatingRequestsInflight)
	o.audit.apply(&c.Audit)
	level := slog.LevelWarn
	switch {
	case o.verbosity >= 4:
		level = slog.LevelDebug
	case o.verbosity >= 2:
		level = slog.LevelInfo
	}
	if err := o.openLog(&errOut); err != nil {
		return err
	}
	if err := errors.Join(o.serving.apply(&c.Serving), o.gates.apply()); err != nil {
		return err
	}
	c.Logger = slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: level}))
	useLogger(c.Logger)
	for _, name := range o.rest.Given() {
		if name == "encryption-provider-config" { // to go on would be to store in the clear what is meant to be secret
			return errors.New("--encryption-provider-config: encryption at rest is not supported")
		}
		c.Logger.Warn("a flag of kube-apiserver that has no effect here", "flag", "--"+name)
	}
	return nil
}

// openLog adds the log file to where the log goes. The file stays open until the process ends.
func (o *serveOptions) openLog(errOut *io.Writer) error {
	if o.logFile == "" {
		if o.logsHandler {
			return errors.New("--enable-logs-handler needs a --log-file, whose directory it serves")
		}
		return nil
	}
	file, err := os.OpenFile(o.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("cannot open the log file: %w", err)
	}
	*errOut = io.MultiWriter(*errOut, file)
	if o.logsHandler {
		o.config.LogDirectory = filepath.Dir(o.logFile)
	}
	return nil
}

// useLogger gives the logger to the libraries that have one for the whole process, which here is the server's own. What gRPC
// has to say about connections to etcd, the store says as well, once.
func useLogger(logger *slog.Logger) {
	klog.SetSlogLogger(logger)
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
}

// prefixes is a flag with a list of ranges of addresses, separated by commas.
type prefixes []netip.Prefix

func (p *prefixes) Type() string { return "strings" }

func (p *prefixes) String() string {
	var texts []string
	for _, prefix := range *p {
		texts = append(texts, prefix.String())
	}
	return strings.Join(texts, ",")
}

func (p *prefixes) Set(value string) error {
	*p = nil
	if value == "" {
		return nil // the default
	}
	for i, text := range strings.Split(value, ",") {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return fmt.Errorf("service-cluster-ip-range[%d] is not a valid cidr", i)
		}
		*p = append(*p, prefix.Masked())
	}
	return nil
}

// none turns the flag value that means "none" into the Config value that does.
func none[T int | time.Duration](value *T) {
	if *value == 0 {
		*value = -1
	}
}

// greet tells a person what to do next.
func (o *serveOptions) greet(out io.Writer, server *kayak.Server, took time.Duration) error {
	if o.upstream && o.config.DataDir == "" && o.kubeconfigOut == "" {
		_, err := fmt.Fprintf(out, "kayak is ready at %s (took %d ms).\n", server.URL(), took.Milliseconds())
		return err
	}
	path := server.KubeconfigPath()
	if o.kubeconfigOut != "" {
		if err := bootstrap.MergeKubeconfig(o.kubeconfigOut, server.Kubeconfig()); err != nil {
			return err
		}
		path = o.kubeconfigOut
	}
	fmt.Fprintf(out, "kayak is ready at %s (took %d ms).\n\n", server.URL(), took.Milliseconds())
	fmt.Fprintf(out, "    export KUBECONFIG=%s\n    kubectl get namespaces\n\n", shellQuoted(path))
	kept := o.config.DataDir
	if kept == "" {
		kept = strings.Join(o.config.Etcd.Servers, ",")
	}
	fmt.Fprintf(out, "Stop it with Ctrl-C; it keeps its data in %s.\n", kept)
	return nil
}

// shellQuoted quotes a path if a shell would take it apart.
func shellQuoted(path string) string {
	if !strings.ContainsAny(path, " \t\n\"'`$&|;()<>*?[]#~\\!{}") {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
