package bootstrap

import (
	"bytes"
	"fmt"
	"path/filepath"

	certutil "k8s.io/client-go/util/cert"
)

// ServingFiles returns the files of the serving certificate in a directory, as kube-apiserver keeps it in its --cert-dir:
// apiserver.crt and apiserver.key. What is there stays; where both are missing, the certificate of m is written, with its
// authority behind it, so that clients can trust the file.
func (m *Material) ServingFiles(dir string) (certFile, keyFile string, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return "", "", err
	}
	certFile, keyFile = filepath.Join(dir, servingID.public), filepath.Join(dir, servingID.key)
	there, err := certutil.CanReadCertAndKey(certFile, keyFile)
	if there || err != nil {
		return certFile, keyFile, err
	}
	if err := makeDir(dir); err != nil {
		return "", "", err
	}
	chain := bytes.Join([][]byte{m.Serving.CertPEM, m.CA.CertPEM}, nil)
	for _, w := range []write{{name: servingID.key, data: m.Serving.KeyPEM}, {name: servingID.public, data: chain}} {
		if err := writeFile(filepath.Join(dir, w.name), w.data, modeOf(w.name)); err != nil {
			return "", "", fmt.Errorf("cannot write the serving certificate: %w", err)
		}
	}
	return certFile, keyFile, nil
}
