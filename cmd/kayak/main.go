// Command kayak is a Kubernetes API server in one binary.
//
//	kayak serve       run a server
//	kayak kubectl     real kubectl, for the server on this machine unless told otherwise
//	kayak version     print the versions
//
// Each command explains itself with --help.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	if err := newCommand().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "kayak",
		Short:         "A Kubernetes API server in one binary",
		SilenceUsage:  true,
		SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{
			HiddenDefaultCmd: true,
		},
	}
	root.AddCommand(newServeCommand(), newKubectlCommand(), newVersionCommand())
	return root
}
