// Command kayak is a Kubernetes API server in one binary.
//
//	kayak serve       run a server
//	kayak kubectl     real kubectl, for the server on this machine unless told otherwise
//	kayak kubeconfig  issue credentials for the server on this machine
//	kayak version     print the versions
//	kayak envtest-assets  make kube-apiserver, etcd and kubectl out of kayak, for envtest
//
// Each command explains itself with --help. The name that it is started under, of a copy or a link, changes what it is:
// kube-apiserver takes kube-apiserver's flags, with its defaults; etcd is an etcd of one member; kubectl is real kubectl.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kayak-k8s/kayak"
)

func main() {
	name := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
	switch name {
	case etcdName:
		runEtcd()
		return
	case kubectlName:
		useLocalServer()
		runKubectl()
		return
	}
	if err := newCommand(name).Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

// The names under which the program behaves as others.
const (
	apiserverName = "kube-apiserver"
	etcdName      = "etcd"
	kubectlName   = "kubectl"
)

// newCommand returns the command for the name that the program was started under.
func newCommand(name string) *cobra.Command {
	if name == apiserverName {
		return newAPIServerCommand()
	}
	root := &cobra.Command{
		Use:           "kayak",
		Short:         "A Kubernetes API server in one binary",
		SilenceUsage:  true,
		SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{
			HiddenDefaultCmd: true,
		},
	}
	root.AddCommand(newServeCommand(kayak.Config{BetaAPIs: true}), newKubectlCommand(), newKubeconfigCommand(), newVersionCommand(),
		newEnvtestAssetsCommand())
	return root
}
