package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/tools/txtar"
	"k8s.io/client-go/tools/clientcmd"
)

// A transcript is what somebody saw who typed kubectl commands against kube-apiserver: lines that begin with "$ " are commands,
// what follows is what they said, stdout first and stderr after it, and "[exit N]" if they failed. What differs from one run to
// the next is masked. The commands run in a new namespace with the script's name. Before "kubectl" a command may set variables of
// its environment; arguments may be in single quotes.
//
// To record one again, start a kube-apiserver on an empty etcd, without admission plugins (--disable-admission-plugins with the
// list that its --help gives as enabled by default), and run:
//
//	go test ./cmd/kayak -run 'TestScripts/^NAME$' -record-transcript KUBECONFIG
var recordTranscript = flag.String("record-transcript", "", "record transcripts with the server of this kubeconfig")

// cmdTranscript runs the commands of a transcript and compares.
func cmdTranscript(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: transcript FILE")
	}
	if err := transcriptNamespace(ts); err != nil {
		return err
	}
	want := ts.ReadFile(args[0])
	var got bytes.Buffer
	for line := range strings.Lines(want) {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			got.WriteString(line)
			if err := transcribe(ts, strings.TrimSpace(command), &got); err != nil {
				return err
			}
		}
	}
	if *recordTranscript != "" {
		return replaceTranscript(ts.Name(), args[0], got.Bytes())
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got.String(), "\n")); diff != "" {
		return fmt.Errorf("%s (-kube-apiserver +kayak):\n%s", args[0], diff)
	}
	return nil
}

// transcriptNamespace makes the namespace, and a kubeconfig that is in it, for the script's first transcript.
func transcriptNamespace(ts *testscript.TestScript) error {
	kubeconfig := ts.MkAbs("transcript.kubeconfig")
	if ts.Getenv("KUBECONFIG") == kubeconfig {
		return nil
	}
	if *recordTranscript != "" {
		ts.Setenv("KUBECONFIG", *recordTranscript)
	}
	if err := ts.Exec("kubectl", "create", "namespace", ts.Name()); err != nil {
		return err
	}
	config, err := clientcmd.LoadFromFile(ts.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	config.Contexts[config.CurrentContext].Namespace = ts.Name()
	ts.Setenv("KUBECONFIG", kubeconfig)
	return clientcmd.WriteToFile(*config, kubeconfig)
}

// transcribe runs one command and writes what it says.
func transcribe(ts *testscript.TestScript, line string, to *bytes.Buffer) error {
	words := splitCommand(line)
	env := append(os.Environ(), "HOME="+ts.Getenv("HOME"), "KUBECONFIG="+ts.Getenv("KUBECONFIG"), "PATH="+ts.Getenv("PATH"), "TZ=UTC")
	for len(words) > 0 && words[0] != "kubectl" {
		env = append(env, words[0])
		words = words[1:]
	}
	if len(words) == 0 {
		return fmt.Errorf("%q is no kubectl command", line)
	}
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kubectl", words[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), env, &stdout, &stderr
	err := cmd.Run()
	for _, said := range []*bytes.Buffer{&stdout, &stderr} {
		if said.Len() > 0 {
			to.WriteString(strings.TrimRight(maskTranscript(said.String()), "\n") + "\n")
		}
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		fmt.Fprintf(to, "[exit %d]\n", exit.ExitCode())
	case err != nil:
		return err
	}
	return nil
}

// splitCommand splits at spaces outside of single quotes, which it takes away.
func splitCommand(line string) []string {
	var words []string
	var word strings.Builder
	quoted, begun := false, false
	for _, r := range line {
		switch {
		case r == '\'':
			quoted, begun = !quoted, true
		case r == ' ' && !quoted:
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words
}

var transcriptMasks = []struct {
	of   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \+0000`), "TIME"}, // of diff
	{regexp.MustCompile(`(resourceVersion\\*"?: ?\\*")\d+`), "${1}VERSION"},
	{regexp.MustCompile(`(Expected resource version to be 1, was )\d+`), "${1}VERSION"},
	{regexp.MustCompile(`\b10\.\d+\.\d+\.\d+`), "CLUSTERIP"},
	{regexp.MustCompile(`(odePort"?: )3\d{4}\b`), "${1}NODEPORT"},
	{regexp.MustCompile(`/[^ "]*/(LIVE|MERGED)-\d+/`), "${1}/"},
	{regexp.MustCompile(`/[^ "]*/kubectl-edit-\d+`), "kubectl-edit-N"},
}

func maskTranscript(text string) string {
	for _, mask := range transcriptMasks {
		text = mask.of.ReplaceAllString(text, mask.with)
	}
	return text
}

// replaceTranscript puts a new transcript into its script.
func replaceTranscript(script, name string, content []byte) error {
	path := filepath.Join("testdata", script+".txtar")
	archive, err := txtar.ParseFile(path)
	if err != nil {
		return err
	}
	for i := range archive.Files {
		if archive.Files[i].Name == name {
			archive.Files[i].Data = content
		}
	}
	return os.WriteFile(path, txtar.Format(archive), 0o644)
}
