package kayak

import (
	"context"
	"os"
	"time"

	"github.com/kayak-k8s/kayak/internal/controllers/manager"
	"github.com/kayak-k8s/kayak/internal/kind"
)

// controllersTime bounds the wait for the end of controllers. What they leave undone, the next start finds.
const controllersTime = 300 * time.Millisecond

// startControllers starts the controllers of kube-controller-manager that are switched on. The server is ready without them.
func (s *Server) startControllers(life context.Context, p *parts) error {
	options := manager.Options{
		Controllers: s.config.Controllers, State: s.state, Root: p.root, Kinds: p.servedKinds, Handler: s.http, Elect: s.elected(),
		RootCA: s.material.CA.CertPEM, Tokens: p.authn.keys.Signing, Logger: s.log,
	}
	if s.config.DataDir != "" {
		options.SigningCert, options.SigningKey = s.material.Path("ca.crt"), s.material.Path("ca.key")
	}
	options.SigningPEM.Cert, options.SigningPEM.Key = s.material.CA.CertPEM, s.material.CA.KeyPEM
	m, err := manager.New(options)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(life)
	done := make(chan struct{})
	s.goRun(func() {
		defer close(done)
		m.Run(ctx)
	})
	s.stopControllers = func() {
		cancel()
		select {
		case <-done:
		case <-time.After(controllersTime):
		}
	}
	return nil
}

// elected is the name of this server among those that share its store, empty when it has the store for itself. It is the same after
// a restart, so that a server that was killed need not wait for the end of its own lease.
func (s *Server) elected() string {
	if len(s.config.Etcd.Servers) == 0 {
		return ""
	}
	host, _ := os.Hostname() // addresses alone may be the same on several machines
	return host + "_" + s.externalAddress()
}

// servedKinds are the kinds that clients can reach, and a channel that is closed when there are others.
func (p *parts) servedKinds() (*kind.Table, <-chan struct{}) { return p.custom.Tables() }
