package kayak

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// ServingConfig says how the server presents itself; its fields are named after kube-apiserver's flags. The zero value is a
// certificate of the server's own authority.
type ServingConfig struct {
	// CertFile and KeyFile are the certificate, with what is between it and its authority behind it, and its key. They are read
	// again when they have changed.
	CertFile, KeyFile string
	// CertDir, unless the files are given, is a directory where they are named apiserver.crt and apiserver.key. They are made
	// there when they are missing.
	CertDir string
	// MinTLSVersion is the oldest version of TLS that is spoken, such as tls.VersionTLS13; default TLS 1.2.
	MinTLSVersion uint16
	// CipherSuites are those that may be used with TLS 1.2; none means Go's choice.
	CipherSuites []uint16
	// NoHTTP2 serves HTTP/1.1 only.
	NoHTTP2 bool
	// MaxStreamsPerConnection bounds the requests at a time on an HTTP/2 connection; default 100.
	MaxStreamsPerConnection int
}

func (c *ServingConfig) check() error {
	if (c.CertFile == "") != (c.KeyFile == "") {
		return errors.New("the serving certificate needs a file and a key file")
	}
	return nil
}

// trust is what a client needs beside the server's own authority in order to trust the serving certificate: the certificate
// itself where it comes from a file.
func (c *ServingConfig) trust() ([]byte, error) {
	file := c.CertFile
	if file == "" && c.CertDir != "" {
		file = filepath.Join(c.CertDir, "apiserver.crt")
	}
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && c.CertFile == "" {
		return nil, nil // it will be made
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the serving certificate: %w", err)
	}
	return data, nil
}

// tlsConfig is how the server speaks TLS.
func (s *Server) tlsConfig() (*tls.Config, error) {
	c := &s.config.Serving
	config := &tls.Config{
		Certificates: []tls.Certificate{s.material.Serving.TLS()},
		MinVersion:   max(c.MinTLSVersion, tls.VersionTLS12), CipherSuites: c.CipherSuites,
	}
	if c.MinTLSVersion != 0 {
		config.MinVersion = c.MinTLSVersion
	}
	files := &certificateFiles{certFile: c.CertFile, keyFile: c.KeyFile, log: s.log}
	if c.CertFile == "" && c.CertDir != "" {
		var err error
		if files.certFile, files.keyFile, err = s.material.ServingFiles(c.CertDir); err != nil {
			return nil, err
		}
	}
	if files.certFile != "" {
		if _, err := files.load(); err != nil {
			return nil, err
		}
		config.Certificates, config.GetCertificate = nil, files.get
	}
	return config, nil
}

// certificateFiles are a certificate in files, which may change.
type certificateFiles struct {
	certFile, keyFile string
	log               *slog.Logger

	mu          sync.Mutex // guards the following fields
	certificate *tls.Certificate
	stamp       [2]fileStamp
	looked      time.Time
}

// fileStamp tells one content of a file from another.
type fileStamp struct {
	modified time.Time
	size     int64
}

// lookInterval is how long files are not looked at again.
const lookInterval = time.Second

// get fits tls.Config.GetCertificate. Files that cannot be used leave the certificate as it was.
func (f *certificateFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	current, fresh := f.certificate, time.Since(f.looked) < lookInterval
	f.mu.Unlock()
	if fresh {
		return current, nil
	}
	certificate, err := f.load()
	if err != nil {
		f.log.Warn("the serving certificate cannot be read again", "error", err)
		return current, nil
	}
	return certificate, nil
}

// load reads the files if they have changed.
func (f *certificateFiles) load() (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked = time.Now()
	var stamp [2]fileStamp
	for i, name := range []string{f.certFile, f.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		stamp[i] = fileStamp{info.ModTime(), info.Size()}
	}
	if f.certificate != nil && slices.Equal(stamp[:], f.stamp[:]) {
		return f.certificate, nil
	}
	certificate, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		return nil, fmt.Errorf("the serving certificate %s with the key %s: %w", f.certFile, f.keyFile, err)
	}
	f.certificate, f.stamp = &certificate, stamp
	return f.certificate, nil
}

// serverName is the name by which clients on this machine verify the serving certificate, where it is not made out to the
// address that they use; else empty.
func (s *Server) serverName(host string) string {
	config := s.tls
	if config == nil || config.GetCertificate == nil {
		return ""
	}
	certificate, err := config.GetCertificate(nil)
	if err != nil || certificate == nil || certificate.Leaf == nil || certificate.Leaf.VerifyHostname(host) == nil {
		return ""
	}
	if names := certificate.Leaf.DNSNames; len(names) > 0 {
		return names[0]
	}
	if ips := certificate.Leaf.IPAddresses; len(ips) > 0 {
		return ips[0].String()
	}
	return ""
}
