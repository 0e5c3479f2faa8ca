package bootstrap

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	certutil "k8s.io/client-go/util/cert"
)

// Local is what a data directory has for those who issue credentials from it.
type Local struct {
	// CA signs client certificates.
	CA Pair
	// Admin is admin.kubeconfig.
	Admin *clientcmdapi.Config
	// Server is the address in it.
	Server string
}

// Open reads the authority and the administrator's kubeconfig of a data directory that a server has made. It changes nothing,
// so it may be called while a server uses the directory.
func Open(dir string) (*Local, error) {
	dir, err := absDir(dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("data directory %s: is missing; kayak serve makes it", dir)
	}
	p := &plan{dir: dir, now: time.Now(), log: slog.New(slog.DiscardHandler)}
	if p.have, err = readFiles(dir, p.log); err != nil {
		return nil, err
	}
	for _, name := range []string{authorityID.key, authorityID.public, kubeconfigFile} {
		if p.have[name] == nil {
			return nil, fmt.Errorf("%s: is missing; kayak serve makes it", filepath.Join(dir, name))
		}
	}
	local := &Local{}
	if local.CA, err = p.authority(); err != nil {
		return nil, err
	}
	if local.Admin, err = clientcmd.Load(p.have[kubeconfigFile]); err != nil {
		return nil, p.refuse(kubeconfigFile, "is not a kubeconfig", "remove it to have it made anew")
	}
	cluster := local.Admin.Clusters[ClusterName]
	if cluster == nil || local.Admin.AuthInfos[UserName] == nil {
		return nil, p.refuse(kubeconfigFile, "does not name the server", "remove it to have it made anew")
	}
	local.Server = cluster.Server
	return local, nil
}

// ClientCertificate issues a client certificate, with a new key, for a user in groups. It is valid for life, and not longer than
// the authority.
func (p Pair) ClientCertificate(user string, groups []string, life time.Duration) (Pair, error) {
	now := time.Now()
	switch {
	case user == "":
		return Pair{}, errors.New("a user needs a name")
	case life <= 0:
		return Pair{}, errors.New("credentials must be valid for some time")
	case now.Add(life).After(p.Cert.NotAfter):
		return Pair{}, fmt.Errorf("the authority itself is valid until %s only", p.Cert.NotAfter.UTC().Format(time.DateOnly))
	}
	key, keyPEM, err := newKey()
	if err != nil {
		return Pair{}, err
	}
	template := &x509.Certificate{

		Subject:   pkix.Name{CommonName: user, Organization: groups},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, p.Cert, key.Public(), p.Key)
	if err != nil {
		return Pair{}, fmt.Errorf("cannot issue a client certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Pair{}, fmt.Errorf("cannot issue a client certificate: %w", err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: certutil.CertificateBlockType, Bytes: der})
	return Pair{Cert: cert, Key: key, CertPEM: certPEM, KeyPEM: keyPEM}, nil
}

// Kubeconfig returns a kubeconfig for another user of the server, with nothing in it from the administrator's.
func (l *Local) Kubeconfig(name, namespace string, user *clientcmdapi.AuthInfo) ([]byte, error) {
	context := name + "@" + ClusterName
	c := clientcmdapi.NewConfig()
	c.Clusters[ClusterName] = &clientcmdapi.Cluster{Server: l.Server, CertificateAuthorityData: bytes.Clone(l.CA.CertPEM)}
	c.AuthInfos[context] = user
	c.Contexts[context] = &clientcmdapi.Context{Cluster: ClusterName, AuthInfo: context, Namespace: namespace}
	c.CurrentContext = context
	return clientcmd.Write(*c)
}
