package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/kayak-k8s/kayak"
	"github.com/kayak-k8s/kayak/internal/upstreamflags"
	"github.com/kayak-k8s/kayak/internal/version"
)

// newAPIServerCommand returns the command that takes the place of kube-apiserver: its flags, its defaults, its help.
func newAPIServerCommand() *cobra.Command {
	o := &serveOptions{
		config: kayak.Config{
			RuntimeConfig: map[string]string{}, BindAddress: "0.0.0.0", Serving: kayak.ServingConfig{CertDir: "/var/run/kubernetes"},
			Controllers:   []string{}, // those are kube-controller-manager's
			Authorization: kayak.AuthorizationConfig{Modes: []string{"AlwaysAllow"}},
		},
		upstream: true,
	}
	command := o.command()
	command.Use = apiserverName
	command.Short = "kube-apiserver, as kayak does it"
	command.Long = `kayak in the place of kube-apiserver: a Kubernetes API server with kube-apiserver's flags and defaults. Flags that it has no
use for are accepted, with a warning. Without --etcd-servers, --data-dir makes it keep its objects itself.`
	command.SilenceUsage, command.SilenceErrors = true, true
	v := &versionFlag{}
	command.Flags().VarPF(v, "version", "", "--version, --version=raw prints version information and quits").NoOptDefVal = "true"
	run := command.RunE
	command.RunE = func(command *cobra.Command, args []string) error {
		if v.asked != "" {
			_, err := fmt.Fprintln(command.OutOrStdout(), v.text())
			return err
		}
		return run(command, args)
	}
	command.InitDefaultHelpFlag()
	cliflag.SetUsageAndHelpFunc(command, upstreamflags.Sections(command.Flags(), "kayak"), 0)
	return command
}

// versionFlag is --version as kube-apiserver has it (component-base/version/verflag).
type versionFlag struct{ asked string }

func (v *versionFlag) Type() string     { return "version" }
func (v *versionFlag) String() string   { return v.asked }
func (v *versionFlag) IsBoolFlag() bool { return true }

func (v *versionFlag) Set(value string) error {
	if value == "raw" || strings.HasPrefix(value, "v") {
		v.asked = value
		return nil
	}
	yes, err := strconv.ParseBool(value)
	v.asked = ""
	if yes {
		v.asked = "true"
	}
	return err
}

func (v *versionFlag) text() string {
	switch v.asked {
	case "raw":
		return fmt.Sprintf("%#v", version.Info())
	case "true":
		return "Kubernetes " + version.Kubernetes
	}
	return "Kubernetes " + v.asked
}

// servingFlags are the flags of the secure port that are not fields of the configuration as they are.
type servingFlags struct {
	minVersion string
	suites     []string
}

func (s *servingFlags) add(flags *pflag.FlagSet, c *kayak.ServingConfig) {
	flags.StringVar(&c.CertDir, "cert-dir", c.CertDir, "The directory where the TLS certs are located. If --tls-cert-file and "+
		"--tls-private-key-file are provided, this flag will be ignored. Without it they are in the data directory.")
	flags.StringVar(&c.CertFile, "tls-cert-file", "", "File containing the default x509 Certificate for HTTPS. (CA cert, if any, "+
		"concatenated after server cert). Without it, the certificate in --cert-dir is used, and made there when it is missing.")
	flags.StringVar(&c.KeyFile, "tls-private-key-file", "", "File containing the default x509 private key matching --tls-cert-file.")
	flags.StringVar(&s.minVersion, "tls-min-version", "", "Minimum TLS version supported. Possible values: "+
		strings.Join(cliflag.TLSPossibleVersions(), ", "))
	flags.StringSliceVar(&s.suites, "tls-cipher-suites", nil, "Comma-separated list of cipher suites for the server. If omitted, the "+
		"default Go cipher suites will be used.")
	flags.BoolVar(&c.NoHTTP2, "disable-http2-serving", false, "If true, HTTP2 serving will be disabled.")
	flags.IntVar(&c.MaxStreamsPerConnection, "http2-max-streams-per-connection", 0, "The limit that the server gives to clients for "+
		"the maximum number of streams in an HTTP/2 connection. Zero means 100.")
}

func (s *servingFlags) apply(c *kayak.ServingConfig) (err error) {
	if c.MinTLSVersion, err = cliflag.TLSVersion(s.minVersion); err != nil {
		return err
	}
	c.CipherSuites, err = cliflag.TLSCipherSuites(s.suites)
	return err
}

// featureGates are those of the kinds, which upstream's code asks for in one place for the whole process.
type featureGates struct{ settings []string }

func (g *featureGates) Type() string   { return "colonSeparatedMultimapStringString" }
func (g *featureGates) String() string { return strings.Join(g.settings, ",") }

func (g *featureGates) Set(value string) error {
	for setting := range strings.SplitSeq(value, ",") {
		setting = strings.TrimSpace(setting)
		component, gate, named := strings.Cut(setting, ":")
		if named && component != "kube" {
			return fmt.Errorf("component not registered: %s", component)
		}
		if !named {
			gate = setting
		}
		if gate != "" {
			g.settings = append(g.settings, gate)
		}
	}
	return nil
}

func (g *featureGates) apply() error {
	if len(g.settings) == 0 {
		return nil
	}
	return utilfeature.DefaultMutableFeatureGate.Set(g.String())
}
