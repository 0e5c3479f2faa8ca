package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the scripts in testdata: what a person does with a server and real kubectl, and what they see. Each has a
// directory of its own, $WORK, which is also HOME and where the script begins, and runs beside the others. The format is that
// of testscript (go doc github.com/rogpeppe/go-internal/testscript), with these commands more:
//
//	kayak, kubectl ARGS...  the programs
//	serve [FLAGS...]        start "kayak serve" on a free port, with its data in $WORK/data unless FLAGS name a directory; or
//	                        kube-apiserver, when that is the first of FLAGS, without a data directory if they name an etcd.
//	                        Its greeting is stdout; KUBECONFIG becomes what the greeting says, URL the server's
//	                        address, and PORT its port
//	stop-server             end it with SIGTERM. That must succeed, and what the server said on stderr is stderr. The end of a
//	                        script does the same
//	kill-server             end it with SIGKILL
//	fetch URL               GET without credentials, trusting $WORK/data/ca.crt: the whole answer is stdout
//	curl ...                a little of the program of that name (curl_test.go)
//	bearer                  BEARER becomes the Authorization header with the token that is in stdout
//	decode FILE             write what is in stdout, in base64, to the file
//	await FILE REGEXP [VAR] wait until the file, which something in the background writes, matches; VAR becomes the first group
//	expand FILE OTHER       write the file to the other one with the values of the variables that it names, as in $WORK
//	transcript FILE         run the kubectl commands in the file, which must say what they said to kube-apiserver
//	modes PATH...           the modes of files and directories, as in "0600 data/ca.key", are stdout
//
// and the condition [root]: the tests are run by the superuser.
//
// A single script runs with: go test ./cmd/kayak -run 'TestScripts/^NAME$'
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_DATA_HOME", "")
			server := &scriptServer{}
			env.Values[scriptServer{}] = server
			env.Defer(func() { server.end(env.T().(testing.TB)) })
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":       positive(cmdServe),
			"stop-server": positive(cmdStopServer),
			"kill-server": positive(cmdKillServer),
			"curl":        cmdCurl,
			"bearer":      positive(cmdBearer),
			"decode":      positive(cmdDecode),
			"fetch":       positive(cmdFetch),
			"await":       positive(cmdAwait),
			"expand":      positive(cmdExpand),
			"modes":       positive(cmdModes),
			"transcript":  positive(cmdTranscript),
			"explain-all": positive(cmdExplainAll),
		},
	})
}

// scriptServer is the server that runs in a script. Its zero value is also the key under which the script keeps it.
type scriptServer struct {
	running *process // nil when none is
}

func serverOf(ts *testscript.TestScript) *scriptServer {
	return ts.Value(scriptServer{}).(*scriptServer)
}

// end stops the server that is still running at the end of its script.
func (s *scriptServer) end(t testing.TB) {
	if s.running == nil {
		return
	}
	if err := s.running.terminate(); err != nil {
		t.Errorf("the server ended with: %v", err)
	}
	if said := s.running.stderr.String(); said != "" {
		t.Logf("the server said:\n%s", said)
	}
}

// positive makes a command of a function that cannot be expected to fail.
func positive(run func(*testscript.TestScript, []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("this command takes no !")
		}
		ts.Check(run(ts, args))
	}
}

func cmdServe(ts *testscript.TestScript, args []string) error {
	s := serverOf(ts)
	if s.running != nil {
		return errors.New("a server is running")
	}
	name, first := "kayak", []string{"serve", "--secure-port", "0"}
	if len(args) > 0 && args[0] == apiserverName {
		name, first, args = apiserverName, first[1:], args[1:]
	}
	own := func(arg string) bool {
		return strings.HasPrefix(arg, "--data-dir") || name == apiserverName && strings.HasPrefix(arg, "--etcd-servers=")
	}
	if !slices.ContainsFunc(args, own) {
		args = append([]string{"--data-dir", ts.MkAbs("data")}, args...)
	}
	p := &process{Cmd: exec.Command(name, append(first, args...)...)}
	p.Dir = ts.MkAbs(".")
	p.Env = append(os.Environ(), "HOME="+ts.Getenv("HOME"), "XDG_DATA_HOME="+ts.Getenv("XDG_DATA_HOME"))
	if err := p.start(); err != nil {
		return err
	}
	s.running = p
	fmt.Fprint(ts.Stdout(), p.greeting)
	exported := regexp.MustCompile(`export KUBECONFIG=(.*)`).FindStringSubmatch(p.greeting)
	if exported == nil {
		return errors.New("the greeting names no kubeconfig")
	}
	ts.Setenv("KUBECONFIG", exported[1])
	ts.Setenv("URL", p.url)
	ts.Setenv("PORT", p.url[strings.LastIndex(p.url, ":")+1:])
	return nil
}

func cmdStopServer(ts *testscript.TestScript, _ []string) error {
	p, err := serverOf(ts).take()
	if err != nil {
		return err
	}
	err = p.terminate()
	fmt.Fprint(ts.Stderr(), p.stderr.String())
	return err
}

func cmdKillServer(ts *testscript.TestScript, _ []string) error {
	p, err := serverOf(ts).take()
	if err != nil {
		return err
	}
	err = p.Process.Kill()
	_ = p.Wait()
	return err
}

func (s *scriptServer) take() (*process, error) {
	if s.running == nil {
		return nil, errors.New("no server is running")
	}
	p := s.running
	s.running = nil
	return p, nil
}

func cmdFetch(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: fetch URL")
	}
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM([]byte(ts.ReadFile(ts.Getenv("WORK") + "/data/ca.crt")))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authorities}, DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: patience}
	response, err := client.Get(args[0])
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := httputil.DumpResponse(response, true)
	if err != nil {
		return err
	}
	_, err = ts.Stdout().Write(bytes.ReplaceAll(answer, []byte("\r\n"), []byte("\n")))
	return err
}

func cmdAwait(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 && len(args) != 3 {
		return errors.New("usage: await FILE REGEXP [VAR]")
	}
	pattern, err := regexp.Compile("(?m)" + args[1])
	if err != nil {
		return err
	}
	var content []byte
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		content, err = os.ReadFile(ts.MkAbs(args[0]))
		if match := pattern.FindSubmatch(content); err == nil && match != nil {
			if len(args) == 3 {
				ts.Setenv(args[2], string(match[1]))
			}
			return nil
		}
	}
	return fmt.Errorf("%s has no %#q: %s%v", args[0], args[1], content, err)
}

func cmdExpand(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: expand FILE OTHER")
	}
	return os.WriteFile(ts.MkAbs(args[1]), []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600)
}

// cmdExplainAll has kubectl explain every resource of a list.
func cmdExplainAll(ts *testscript.TestScript, args []string) error {
	names, err := os.ReadFile(ts.MkAbs(args[0]))
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(names)) {
		name, _, _ = strings.Cut(name, ".") // what follows a dot is a field to kubectl explain, not a group
		if err := ts.Exec("kubectl", "explain", name); err != nil {
			return fmt.Errorf("explain %s: %w", name, err)
		}
	}
	return nil
}

func cmdModes(ts *testscript.TestScript, args []string) error {
	for _, name := range args {
		matches, err := filepath.Glob(ts.MkAbs(name))
		if err != nil {
			return err
		}
		for _, path := range matches {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			relative, err := filepath.Rel(ts.MkAbs("."), path)
			if err != nil {
				return err
			}
			_, _ = io.WriteString(ts.Stdout(), fmt.Sprintf("%04o %s\n", info.Mode().Perm(), relative))
		}
	}
	return nil
}
