package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kayak-k8s/kayak/internal/bootstrap"
)

// kubeconfigOptions are the flags of kayak kubeconfig.
type kubeconfigOptions struct {
	dataDir        string
	user           string
	groups         []string
	serviceAccount string
	life           time.Duration
}

// askTime bounds how long the server may take to issue a token.
const askTime = 10 * time.Second

func newKubeconfigCommand() *cobra.Command {
	o := &kubeconfigOptions{}
	command := &cobra.Command{
		Use:   "kubeconfig (--user NAME [--group NAME]... | --serviceaccount NAMESPACE/NAME) [--for DURATION]",
		Short: "Issue credentials for the server of a data directory",
		Long: `Issue credentials for the server of a data directory, and print a kubeconfig with them.

--user issues a client certificate, signed by the authority in the data directory, whether the server runs or not.
--serviceaccount has the running server issue a token. Neither can be taken back before it expires, except a token by
deleting its service account. What a user may do is a matter of authorization: a new one may do next to nothing.

The kubeconfig is a secret, and a shell makes files that others may read. So, for example:

    (umask 077; kayak kubeconfig --user jane --group dev > jane.kubeconfig)`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			kubeconfig, err := o.issue(command.Context())
			if err != nil {
				return err
			}
			_, err = command.OutOrStdout().Write(kubeconfig)
			return err
		},
	}
	flags := command.Flags()
	flags.StringVar(&o.dataDir, "data-dir", "", "The server's data directory. (default $XDG_DATA_HOME/kayak, /var/lib/kayak as root)")
	flags.StringVar(&o.user, "user", "", "Name of the user to issue a client certificate for.")
	flags.StringSliceVar(&o.groups, "group", nil, "Group that the user is in; may be repeated.")
	flags.StringVar(&o.serviceAccount, "serviceaccount", "", "Service account to issue a token for, as NAMESPACE/NAME.")
	flags.DurationVar(&o.life, "for", 24*time.Hour, "How long the credentials are valid.")
	return command
}

func (o *kubeconfigOptions) issue(ctx context.Context) ([]byte, error) {
	switch {
	case (o.user == "") == (o.serviceAccount == ""):
		return nil, errors.New("name either a --user or a --serviceaccount")
	case o.serviceAccount != "" && len(o.groups) > 0:
		return nil, errors.New("--group goes with --user: the groups of a service account follow from its namespace")
	}
	if o.dataDir == "" {
		dir, err := bootstrap.DefaultDataDir()
		if err != nil {
			return nil, err
		}
		o.dataDir = dir
	}
	local, err := bootstrap.Open(o.dataDir)
	if err != nil {
		return nil, err
	}
	if o.user != "" {
		return o.forUser(local)
	}
	return o.forServiceAccount(ctx, local)
}

func (o *kubeconfigOptions) forUser(local *bootstrap.Local) ([]byte, error) {
	pair, err := local.CA.ClientCertificate(o.user, o.groups, o.life)
	if err != nil {
		return nil, err
	}
	return local.Kubeconfig(o.user, "", &clientcmdapi.AuthInfo{ClientCertificateData: pair.CertPEM, ClientKeyData: pair.KeyPEM})
}

func (o *kubeconfigOptions) forServiceAccount(ctx context.Context, local *bootstrap.Local) ([]byte, error) {
	namespace, name, ok := strings.Cut(o.serviceAccount, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return nil, fmt.Errorf("--serviceaccount %q is not of the form NAMESPACE/NAME", o.serviceAccount)
	}
	overrides := &clientcmd.ConfigOverrides{Context: clientcmdapi.Context{Cluster: bootstrap.ClusterName, AuthInfo: bootstrap.UserName}}
	config, err := clientcmd.NewDefaultClientConfig(*local.Admin, overrides).ClientConfig()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	seconds := int64(o.life.Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	request, err = client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if utilnet.IsConnectionRefused(err) {
		return nil, fmt.Errorf("the server at %s does not run, and only it can issue tokens; start it with kayak serve", local.Server)
	}
	if err != nil {
		return nil, err
	}
	return local.Kubeconfig("system:serviceaccount:"+namespace+":"+name, namespace, &clientcmdapi.AuthInfo{Token: request.Status.Token})
}
