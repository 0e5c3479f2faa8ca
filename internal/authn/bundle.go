package authn

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	certutil "k8s.io/client-go/util/cert"
)

// bundleInterval is how long a bundle is used before its file is looked at again. The look is a stat, by whoever needs the
// bundle then, so an idle server does nothing.
const bundleInterval = time.Second

// bundle is a set of certificate authorities: some that never change, and those in a file, which is read again when it has
// changed. A file that cannot be used any more changes nothing, and the log says so.
type bundle struct {
	path   string // "" for none
	always []byte // PEM
	log    *slog.Logger

	current atomic.Pointer[x509.CertPool]
	next    atomic.Int64 // when to look again, in Unix nanoseconds

	mu   sync.Mutex // guards the following fields, held by the one that looks
	seen os.FileInfo
	data []byte
}

// newBundle reads the file; errors are those of upstream for a bundle without certificates.
func newBundle(path string, always []byte, log *slog.Logger) (*bundle, error) {
	b := &bundle{path: path, always: always, log: log}
	if err := b.load(); err != nil {
		return nil, err
	}
	b.next.Store(time.Now().Add(bundleInterval).UnixNano())
	return b, nil
}

// pool returns the authorities. It is another pool when they have changed, and the same when not.
func (b *bundle) pool() *x509.CertPool {
	now := time.Now()
	if next := b.next.Load(); b.path != "" && now.UnixNano() > next &&
		b.next.CompareAndSwap(next, now.Add(bundleInterval).UnixNano()) {
		if err := b.load(); err != nil {
			b.log.Error("cannot read certificate authorities again; the ones before stay", "file", b.path, "error", err)
		}
	}
	return b.current.Load()
}

func (b *bundle) load() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, changed, err := b.read()
	if err != nil || !changed {
		return err
	}
	pool := x509.NewCertPool()
	for _, pem := range [][]byte{b.always, data} {
		if pem == nil {
			continue
		}
		certs, err := certutil.ParseCertsPEM(pem)
		if err != nil {
			return fmt.Errorf("unable to load client CA file %q: %w", b.path, err)
		}
		for _, cert := range certs {
			pool.AddCert(cert)
		}
	}
	b.data = data
	b.current.Store(pool)
	return nil
}

// read returns what is in the file, and whether that is new.
func (b *bundle) read() (data []byte, changed bool, err error) {
	if b.path == "" {
		return nil, true, nil
	}
	info, err := os.Stat(b.path)
	if err != nil {
		return nil, false, err
	}
	if b.seen != nil && os.SameFile(b.seen, info) && b.seen.ModTime().Equal(info.ModTime()) && b.seen.Size() == info.Size() {
		return nil, false, nil
	}
	if data, err = os.ReadFile(b.path); err != nil {
		return nil, false, err
	}
	b.seen = info
	return data, b.current.Load() == nil || !bytes.Equal(data, b.data), nil
}
