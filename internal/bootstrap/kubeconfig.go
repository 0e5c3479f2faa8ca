package bootstrap

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// The names in the kubeconfigs. kubeadm calls the user just "kubernetes-admin"; in a file that several clusters share, that
// would take the place of another cluster's administrator.
const (
	ClusterName = "kayak"
	UserName    = "kubernetes-admin@kayak"
	ContextName = "kubernetes-admin@kayak"
)

// Kubeconfig returns a kubeconfig for the admin user of the server at the given URL. Certificates and key are inside, so it
// can be copied to another machine; it grants everything, and must be kept as safe as the key.
func (m *Material) Kubeconfig(server string) *clientcmdapi.Config {
	c := clientcmdapi.NewConfig()
	c.Clusters[ClusterName] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: m.Authorities()}
	c.AuthInfos[UserName] = &clientcmdapi.AuthInfo{ClientCertificateData: m.Admin.CertPEM, ClientKeyData: m.Admin.KeyPEM}
	c.Contexts[ContextName] = &clientcmdapi.Context{Cluster: ClusterName, AuthInfo: UserName}
	c.CurrentContext = ContextName
	return c
}

// Authorities returns, in PEM, what a client has to trust in order to trust the server.
func (m *Material) Authorities() []byte { return bytes.Join([][]byte{m.CA.CertPEM, m.Trust}, nil) }

// kubeconfig plans to write admin.kubeconfig unless what is there already says the same.
func (p *plan) kubeconfig(ours *clientcmdapi.Config) error {
	old, ok := p.have[kubeconfigFile]
	why := "it was missing"
	if ok {
		why = "the address, the CA or the certificate has changed"
	}
	config, err := clientcmd.Load(old)
	if err != nil {
		return p.refuse(kubeconfigFile, "is not a kubeconfig", "remove it to have it made anew")
	}
	before, err := clientcmd.Write(*config)
	if err != nil {
		return p.refuse(kubeconfigFile, "is not a kubeconfig", "remove it to have it made anew")
	}
	current := config.CurrentContext
	merge(config, ours)
	if current != "" {
		config.CurrentContext = current // who chose another context in this file keeps it
	}
	after, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("cannot encode %s: %w", kubeconfigFile, err)
	}
	if !ok || !bytes.Equal(before, after) {
		p.rest = append(p.rest, write{kubeconfigFile, after, why})
	}
	return nil
}

// merge puts the clusters, users and contexts of ours into config and makes its current context the current one. A context
// that is there keeps its namespace and extensions, as with kubectl config set-context; a cluster or user is replaced as a
// whole, since what is left of another one (a token, insecure-skip-tls-verify) would contradict ours.
func merge(config, ours *clientcmdapi.Config) {
	for name, cluster := range ours.Clusters {
		set(&config.Clusters, name, cluster.DeepCopy())
	}
	for name, user := range ours.AuthInfos {
		set(&config.AuthInfos, name, user.DeepCopy())
	}
	for name, context := range ours.Contexts {
		context = context.DeepCopy()
		if old := config.Contexts[name]; old != nil {
			if context.Namespace == "" {
				context.Namespace = old.Namespace
			}
			if len(context.Extensions) == 0 {
				context.Extensions = old.Extensions
			}
		}
		set(&config.Contexts, name, context)
	}
	config.CurrentContext = ours.CurrentContext
}

func set[V any](m *map[string]V, key string, value V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = value
}

// MergeKubeconfig writes config into the kubeconfig at path: the clusters, users and contexts that are there under other names
// stay, and the current context becomes that of config. The file gets mode 0600 and is replaced atomically; a symbolic link
// stays one, and what it points to is replaced. A missing file is made, and missing directories with mode 0700.
//
// While it works it holds the lock that kubectl config takes (path + ".lock"), for which it waits up to 2 seconds.
func MergeKubeconfig(path string, config *clientcmdapi.Config) error {
	return mergeKubeconfig(path, config, 2*time.Second)
}

func mergeKubeconfig(path string, ours *clientcmdapi.Config, patience time.Duration) error {
	path, err := followLink(path)
	if err != nil {
		return err
	}
	if err := makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	unlock, err := lockKubeconfig(path+".lock", patience)
	if err != nil {
		return err
	}
	defer unlock()

	var old []byte
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		if old, _, err = readFile(path); err != nil {
			return err
		}
	}
	merged, err := clientcmd.Load(old)
	if err != nil {
		// The parser's words are left out: they can quote the file, and with it somebody's token.
		return fmt.Errorf("%s: is not a kubeconfig; correct it, or name another file", path)
	}
	merge(merged, ours)
	data, err := clientcmd.Write(*merged)
	if err != nil {
		return fmt.Errorf("%s: cannot be encoded: %w", path, err)
	}
	if err := writeFile(path, data, 0o600); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%s: cannot be synced: %w", filepath.Dir(path), reason(err))
	}
	return nil
}

// followLink returns the absolute path of the file that path names, through symbolic links: renaming a file onto a link would
// replace the link.
func followLink(path string) (string, error) {
	if path == "" {
		return "", errors.New("the kubeconfig file has no name")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if _, err := os.Lstat(path); err != nil {
		return path, nil // makeDir or writeFile will say what is wrong, if anything is
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("%s: is a link that leads nowhere: %w; remove or correct it", path, reason(err))
	}
	return target, nil
}

// lockKubeconfig makes the file that keeps kubectl config from writing at the same time (lockFile in
// k8s.io/client-go/tools/clientcmd/loader.go). The lock is the existence of the file, so there is nothing to wait on but time.
func lockKubeconfig(path string, patience time.Duration) (unlock func(), err error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0)
		if err == nil {
			f.Close()
			return func() { os.Remove(path) }, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("%s: cannot be made: %w", path, reason(err))
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%s: another program is changing the kubeconfig; remove this file if none is", path)
		}
	}
}
