package main

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// side is something to measure.
type side struct {
	name  string
	start func(ctx context.Context, dir string) (*server, error)
}

// server is a server that runs.
type server struct {
	config    *rest.Config
	processes processes // empty when they are not known
	began     time.Time
	ready     time.Duration // from the start to /readyz; 0 when it ran already
	readyCPU  time.Duration
	commands  []*exec.Cmd
	// profiles are where processes besides the API server tell where their CPU time goes; anybody may ask.
	profiles []string
}

// readyTimeout bounds a start, stopTimeout an orderly end: kube-apiserver may take a minute with clients connected.
const (
	readyTimeout = time.Minute
	stopTimeout  = 90 * time.Second
)

// startKayak starts kayak with its defaults, but without controllers: kube-apiserver has none, and one of kayak's, the garbage
// collector, would take away pods whose owner is not there.
func startKayak(ctx context.Context, binary, dir string) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &server{began: time.Now()}
	if err := s.run(dir, binary, "serve", "--data-dir", filepath.Join(dir, "data"), "--secure-port", port, "--controllers="); err != nil {
		return nil, err
	}
	return s.whenReady(ctx, func() (*rest.Config, error) {
		return clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "data", "admin.kubeconfig"))
	})
}

// startUpstream starts etcd and kube-apiserver with their defaults, and RBAC. etcd serves profiles on request only.
func startUpstream(ctx context.Context, apiserver, etcd, dir string, profiling bool) (*server, error) {
	ports := [3]string{}
	for i := range ports {
		var err error
		if ports[i], err = freePort(); err != nil {
			return nil, err
		}
	}
	ca, err := newAuthority(dir)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		ca.issue("server", pkix.Name{CommonName: "kube-apiserver"}),
		ca.issue("admin", pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}),
		ca.issue("accounts", pkix.Name{CommonName: "service-accounts"}))
	if err != nil {
		return nil, err
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	client, peer := "http://127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[1]
	s := &server{began: time.Now()}
	etcdArgs := []string{
		"--data-dir", file("etcd"), "--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer,
	}
	if profiling {
		etcdArgs = append(etcdArgs, "--enable-pprof")
		s.profiles = []string{client + profilePath}
	}
	if err := s.run(dir, etcd, etcdArgs...); err != nil {
		return nil, err
	}
	if err := s.run(dir, apiserver, "--etcd-servers", client, "--secure-port", ports[2], "--bind-address", "127.0.0.1",
		"--client-ca-file", file("ca.crt"), "--tls-cert-file", file("server.crt"), "--tls-private-key-file", file("server.key"),
		"--service-account-issuer", "https://kubernetes.default.svc.cluster.local", "--service-account-key-file", file("accounts.crt"),
		"--service-account-signing-key-file", file("accounts.key"), "--authorization-mode", "RBAC",
		"--service-cluster-ip-range", "10.0.0.0/24"); err != nil {
		return nil, errors.Join(err, s.kill())
	}
	return s.whenReady(ctx, func() (*rest.Config, error) {
		return &rest.Config{Host: "https://127.0.0.1:" + ports[2], TLSClientConfig: rest.TLSClientConfig{
			CAFile: file("ca.crt"), CertFile: file("admin.crt"), KeyFile: file("admin.key"),
		}}, nil
	})
}

// running returns a server that somebody else has started.
func running(kubeconfig, pids string) (*server, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	s := &server{config: config}
	if pids == "" {
		return s, nil
	}
	for _, word := range strings.Split(pids, ",") {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return nil, fmt.Errorf("--pids: %w", err)
		}
		s.processes = append(s.processes, pid)
	}
	return s, nil
}

// run starts a process, whose output goes to a file in dir that is named after the program.
func (s *server) run(dir, binary string, args ...string) error {
	log, err := os.Create(filepath.Join(dir, filepath.Base(binary)+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(binary, args...)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return err
	}
	s.commands = append(s.commands, command)
	s.processes = append(s.processes, command.Process.Pid)
	return nil
}

// whenReady waits until /readyz says ok. config may fail until the server has written what it needs, and until then tell of an
// earlier start.
func (s *server) whenReady(ctx context.Context, config func() (*rest.Config, error)) (*server, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	var last error
	for {
		if s.config, last = config(); last == nil {
			if last = isReady(ctx, s.config); last == nil {
				break
			}
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("not ready: %w", last), s.kill())
		case <-time.After(5 * time.Millisecond):
		}
	}
	s.ready = time.Since(s.began)
	var err error
	if s.readyCPU, err = s.processes.cpu(); err != nil {
		return nil, errors.Join(err, s.kill())
	}
	return s, nil
}

func isReady(ctx context.Context, config *rest.Config) error {
	c, err := newClient(config)
	if err != nil {
		return err
	}
	defer c.close()
	r, err := c.open(ctx, request{path: "/readyz"})
	if err != nil {
		return err
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return err
}

// stop tells the processes that were started to end, the last first, and waits for them.
func (s *server) stop() error { return s.end(syscall.SIGTERM) }

// kill ends them at once: their data is not needed any more, and kube-apiserver may take a minute.
func (s *server) kill() error { return s.end(syscall.SIGKILL) }

func (s *server) end(how syscall.Signal) error {
	var errs []error
	for i := len(s.commands) - 1; i >= 0; i-- {
		errs = append(errs, end(s.commands[i], how))
	}
	s.commands = nil
	return errors.Join(errs...)
}

func end(command *exec.Cmd, how syscall.Signal) error {
	if err := command.Process.Signal(how); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	kill := time.AfterFunc(stopTimeout, func() { _ = command.Process.Kill() })
	defer kill.Stop()
	err := command.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil // how a server exits when it is told to is not measured
	}
	return err
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}
