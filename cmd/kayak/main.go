// Command kayak is a Kubernetes API server in one binary.
//
//	kayak serve       run a server
//	kayak kubectl     real kubectl, for the server on this machine unless told otherwise
//	kayak kubeconfig  issue credentials for the server on this machine
//	kayak version     print the versions
//
// Each command explains itself with --help. Under the name kube-apiserver, of a copy or a link, it is kayak serve with
// kube-apiserver's defaults: beta APIs are off.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kayak-k8s/kayak"
)

func main() {
	if err := newCommand(filepath.Base(os.Args[0])).Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

// apiserverName is the name under which the program behaves as upstream's.
const apiserverName = "kube-apiserver"

// newCommand returns the command for the name that the program was started under.
func newCommand(name string) *cobra.Command {
	if name == apiserverName {
		command := newServeCommand(kayak.Config{Controllers: []string{}}) // those are kube-controller-manager's
		command.Use = apiserverName
		command.SilenceUsage, command.SilenceErrors = true, true
		return command
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
	root.AddCommand(newServeCommand(kayak.Config{BetaAPIs: true}), newKubectlCommand(), newKubeconfigCommand(), newVersionCommand())
	return root
}
