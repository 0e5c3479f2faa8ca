package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kayak-k8s/kayak/internal/version"
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of kayak and of the API that it serves",
		Args:  cobra.NoArgs,
		Run: func(command *cobra.Command, _ []string) {
			fmt.Fprintf(command.OutOrStdout(), "kayak %s\nKubernetes %s\n", version.Kayak(), version.Kubernetes)
		},
	}
}
