package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func newEnvtestAssetsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "envtest-assets DIR",
		Short: "Make kube-apiserver, etcd and kubectl out of kayak, for controller-runtime's envtest",
		Long: `Make a directory with kube-apiserver, etcd and kubectl, which all are links to this program, for controller-runtime's envtest
and whatever else starts the API server and etcd as programs:

    export KUBEBUILDER_ASSETS=$(kayak envtest-assets DIR)
    go test ./...

It prints the absolute path of the directory. What has these names there already is replaced. A program that go run has built,
and will remove, is copied.`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			dir, err := makeAssets(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(command.OutOrStdout(), dir)
			return err
		},
	}
}

// makeAssets fills a directory and returns its absolute path.
func makeAssets(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	program, err := os.Executable()
	if err == nil {
		program, err = filepath.EvalSymlinks(program)
	}
	if err != nil {
		return "", fmt.Errorf("cannot find this program: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if temporary(program) {
		kept := filepath.Join(dir, "kayak"+filepath.Ext(program))
		if err := copyProgram(program, kept); err != nil {
			return "", err
		}
		program = kept
	}
	for _, name := range []string{apiserverName, etcdName, kubectlName} {
		link := filepath.Join(dir, name)
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err := os.Symlink(program, link); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// temporary reports whether go run has built the program.
func temporary(program string) bool {
	return strings.Contains(filepath.ToSlash(program), "/go-build")
}

// copyProgram replaces a file by a copy of the program, at once: one that is running is not written to.
func copyProgram(program, path string) (err error) {
	from, err := os.Open(program)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.CreateTemp(filepath.Dir(path), ".kayak-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(to.Name())
		}
	}()
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Chmod(0o755), to.Close()); err != nil {
		return err
	}
	return os.Rename(to.Name(), path)
}
