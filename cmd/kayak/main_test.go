package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// TestMain makes the test binary behave as kayak and as kubectl when it is started under these names, which testscript puts
// into PATH. So tests run both as processes of their own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"kayak":          main,
		"kube-apiserver": main,
		"etcd":           main,
		"kubectl":        main,
	})
}

// process is a running "kayak serve".
type process struct {
	*exec.Cmd
	dataDir  string
	greeting string
	url      string
	stderr   bytes.Buffer
}

// serve starts a server on a free port and waits for its greeting.
func serve(t testing.TB, dataDir string, args ...string) *process {
	t.Helper()
	args = append([]string{"serve", "--data-dir", dataDir, "--secure-port", "0"}, args...)
	p := &process{Cmd: exec.Command("kayak", args...), dataDir: dataDir}
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	return p
}

// patience is how long anything is waited for before it counts as failed, and quick how long a process may take to end after
// SIGTERM. Both are many times what it takes; quick is less than what an open watch or an idle connection would last.
const (
	patience = 20 * time.Second
	quick    = 10 * time.Second
)

// start starts the process and waits until it has said its greeting. When it does not get that far, it has ended, and the
// error is what it said instead.
func (p *process) start() error {
	p.Stderr = &p.stderr
	stdout, err := p.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.Start(); err != nil {
		return err
	}
	late := time.AfterFunc(patience, func() { _ = p.Process.Kill() })
	defer late.Stop()
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		p.greeting += lines.Text() + "\n"
		if rest, ok := strings.CutPrefix(lines.Text(), "kayak is ready at "); ok {
			p.url, _, _ = strings.Cut(rest, " ")
		}
		if strings.HasPrefix(lines.Text(), "Stop it with") {
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			return nil
		}
	}
	return fmt.Errorf("the server did not start: %v: %s", p.Wait(), p.stderr.String())
}

// client returns a client for the administrator, from the kubeconfig that the server has written.
func (p *process) client(t testing.TB) kubernetes.Interface {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(p.dataDir, "admin.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// kill ends the process the hard way.
func (p *process) kill(t testing.TB) {
	t.Helper()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
}

// terminate asks the process to end, and returns how it did. One that is not quick is killed, which is an error.
func (p *process) terminate() error {
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	late := time.AfterFunc(quick, func() { _ = p.Process.Kill() })
	defer late.Stop()
	return p.Wait()
}

// BenchmarkColdStart is the time from starting the process, with an empty data directory, until /readyz says ok, and what the
// process occupies when it has been idle for a while. RSS counts the pages of the program that are mapped; anonymous memory
// is what it has allocated.
func BenchmarkColdStart(b *testing.B) {
	anonymous := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	var rss, anon int64
	for b.Loop() {
		p := serve(b, b.TempDir())
		response, err := anonymous.Get(p.url + "/readyz")
		if err != nil {
			b.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			b.Fatalf("/readyz: %s", response.Status)
		}
		b.StopTimer()
		time.Sleep(2 * time.Second) // idle memory is what this measures
		rss += statusKB(b, p.Process.Pid, "VmRSS")
		anon += statusKB(b, p.Process.Pid, "RssAnon")
		if err := p.terminate(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(rss)/float64(b.N)/1024, "idle-RSS-MB")
	b.ReportMetric(float64(anon)/float64(b.N)/1024, "idle-anonymous-MB")
}

// statusKB reads a line of /proc/PID/status.
func statusKB(b *testing.B, pid int, name string) int64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip("needs Linux: ", err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb
		}
	}
	b.Fatalf("no %s in /proc/%d/status", name, pid)
	return 0
}

// deadline bounds what must happen, generously.
func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
