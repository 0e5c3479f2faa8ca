package main

import (
	"os"
	"path/filepath"
	_ "unsafe" // for go:linkname

	"github.com/spf13/cobra"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // what kubeconfigs may name
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	componentversion "k8s.io/component-base/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"

	"github.com/kayak-k8s/kayak/internal/bootstrap"
	_ "github.com/kayak-k8s/kayak/internal/translations" // before kubectl asks for them
	"github.com/kayak-k8s/kayak/internal/version"
)

func newKubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl [ARGUMENTS]",
		Short:              "Run kubectl, for the server on this machine unless told otherwise",
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			useLocalServer()
			os.Args = append([]string{"kubectl"}, args...)
			runKubectl()
			return nil
		},
	}
}

// runKubectl is kubectl's main program: it works on os.Args, and ends the process when it fails.
func runKubectl() {
	nameVersion()
	_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args)) // so that -v counts before flags are parsed: kuberc, plugins
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}

// componentVersion and clientVersion are what the program was built from, as `kubectl version` and the User-Agent header tell
// it. Upstream's build sets them through the linker's -X flag. "go run" and "go build" set no such flags, and with the
// placeholders that are in the source "kubectl version" fails because it cannot parse them.
//
//go:linkname componentVersion k8s.io/component-base/version.gitVersion
var componentVersion string

//go:linkname clientVersion k8s.io/client-go/pkg/version.gitVersion
var clientVersion string

//go:linkname clientCommit k8s.io/client-go/pkg/version.gitCommit
var clientCommit string

// nameVersion makes kubectl say which version it is.
func nameVersion() {
	componentVersion = version.Kubernetes
	clientVersion = version.Kubernetes
	clientCommit = version.Info().GitCommit
	_ = componentversion.SetDynamicVersion(version.Kubernetes) // takes the new value over; it matches itself
}

// useLocalServer points kubectl at the server of the default data directory, unless the user has a kubeconfig in mind.
func useLocalServer() {
	if os.Getenv("KUBECONFIG") != "" {
		return
	}
	dir, err := bootstrap.DefaultDataDir()
	if err != nil {
		return
	}
	path := filepath.Join(dir, "admin.kubeconfig")
	if _, err := os.Stat(path); err == nil {
		_ = os.Setenv("KUBECONFIG", path)
	}
}
