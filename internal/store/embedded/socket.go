package embedded

import (
	"net"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"google.golang.org/grpc"
)

// SocketName is the name of the unix socket in the data directory.
const SocketName = "etcd.sock"

// socket serves etcd's gRPC API to the owner of the data directory. Nil is one that could not be opened.
type socket struct {
	server *grpc.Server
	served chan struct{}
}

// listen opens the socket. It is a help for people, so the store works without it, too.
func listen(opts Options, server *etcdserver.EtcdServer) *socket {
	path := filepath.Join(opts.Dir, SocketName)
	// A process that was killed leaves its socket behind. The directory's lock says that nobody serves it any more.
	_ = os.Remove(path)
	listener, err := net.Listen("unix", path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		if listener != nil {
			listener.Close()
		}
		opts.Logger.Warn("etcdctl cannot reach the embedded etcd", "socket", path, "error", err)
		return nil
	}
	s := &socket{server: v3rpc.Server(server, nil, nil), served: make(chan struct{})}
	go func() {
		defer close(s.served)
		_ = s.server.Serve(listener) // ends when the server is stopped
	}()
	return s
}

func (s *socket) close() {
	if s == nil {
		return
	}
	s.server.Stop()
	<-s.served
}
