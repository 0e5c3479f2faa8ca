package kayak

import (
	"context"
	"path/filepath"

	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/embedded"
	"github.com/kayak-k8s/kayak/internal/store/etcd"
	"github.com/kayak-k8s/kayak/internal/store/memory"
)

// openStore opens the store that the configuration asks for: an etcd cluster, an embedded etcd, or memory.
func (s *Server) openStore(ctx context.Context) error {
	switch {
	case len(s.config.Etcd.Servers) > 0:
		e := s.config.Etcd
		opened, err := etcd.Open(ctx, etcd.Options{
			Servers: e.Servers, CAFile: e.CAFile, CertFile: e.CertFile, KeyFile: e.KeyFile, Logger: s.log,
		})
		return s.useStore(opened, err)
	case s.config.DataDir != "":
		opened, err := embedded.Open(ctx, embedded.Options{
			Dir: filepath.Join(s.config.DataDir, "etcd"), QuotaBytes: s.config.QuotaBytes, Logger: s.log,
		})
		return s.useStore(opened, err)
	}
	if snapshot := s.config.Snapshot; snapshot != nil {
		return s.useStore(memory.From(snapshot.objects, snapshot.revision), nil)
	}
	return s.useStore(memory.New(), nil)
}

func (s *Server) useStore(opened store.Store, err error) error {
	if err == nil {
		s.store = opened
	}
	return err
}

// Unmap lets go of what the server has mapped of its database, if that is in its own process. It is meant for a server that has
// become idle: the memory comes back when it is needed, from the system's page cache.
func (s *Server) Unmap() {
	if mapping, ok := s.store.(*embedded.Store); ok {
		mapping.Unmap()
	}
}
