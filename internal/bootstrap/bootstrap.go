// Package bootstrap makes what a server needs before it can serve: the data directory, a certificate authority, the
// certificates and keys, and the kubeconfig of the first user.
//
// [Prepare] keeps all of it in a data directory, flat:
//
//	kayak.lock        held while a server uses the directory (see Lock)
//	ca.key, ca.crt    the certificate authority: signs the two below, verifies client certificates; valid for 10 years
//	apiserver.key/crt the serving certificate; valid for 1 year
//	admin.key/crt     the client certificate of the first user: CN=kubernetes-admin, O=system:masters; valid for 1 year
//	sa.key, sa.pub    the key that signs service account tokens, and its public half
//	admin.kubeconfig  a kubeconfig with the admin certificate, for kubectl
//
// Directories are made with mode 0700, keys and kubeconfigs with 0600, certificates and public keys with 0644. Names of files
// and subjects of certificates are those of kubeadm. [Generate] makes the same in memory, without any file, for tests.
//
// # What a second start does
//
// It reuses everything. It issues a certificate anew, for the same key, when the certificate is missing, expires within 30
// days, was not signed by ca.crt, or (apiserver.crt) does not cover a name or an address it has to, and it says so through the
// logger. It corrects admin.kubeconfig when the address, the CA or the admin certificate has changed, and keeps whatever else
// somebody put there.
//
// Keys and ca.crt are never made anew in silence. A file that cannot be read, does not parse, or does not belong to its other
// half is an error of one line that names the file and says what to do; so is a certificate whose key is missing.
// An error found while reading leaves the directory as it was.
//
// # Crashes
//
// Each file is written to a temporary file, synced and renamed, so it is either not there or whole. All keys are durable
// before the first certificate is written, and a renewal replaces the certificate only, so no crash leaves a pair that does
// not match: at worst a certificate is missing, and the next start issues it for the key that is there.
//
// # Concurrency
//
// The functions keep no state and may be called from any number of goroutines, but two Prepares on one directory at the same
// time can overwrite each other's keys. A server holds [Lock] from before Prepare until it ends.
package bootstrap

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Options say where the material is kept and for which addresses it is made.
type Options struct {
	// Dir is the data directory; it is made when it is missing. Generate ignores it.
	Dir string
	// Server is the URL at which clients on this machine reach the server, such as "https://127.0.0.1:6443". It goes into
	// admin.kubeconfig, and its host into the serving certificate. When it is empty no kubeconfig is written.
	Server string
	// ServiceIPs are the first address of each service range: the address of the Service "kubernetes".
	ServiceIPs []netip.Addr
	// Hosts are more names and addresses for the serving certificate, such as the bind and the advertise address. The
	// unspecified addresses 0.0.0.0 and :: are left out, since nobody connects to them.
	Hosts []string
	// Trust are certificates in PEM that clients need beside the CA's, for a serving certificate of other origin.
	Trust []byte
	// From, unless it is nil, is material that Generate takes over, as far as it suits the other options.
	From *Material
	// Logger hears which files were written and why, and of files that others can read. Nil means nobody listens.
	Logger *slog.Logger

	now      func() time.Time       // for tests; nil means time.Now
	hostname func() (string, error) // for tests; nil means os.Hostname
}

// Pair is a certificate with its private key.
type Pair struct {
	Cert    *x509.Certificate
	Key     crypto.Signer // an *ecdsa.PrivateKey or *rsa.PrivateKey
	CertPEM []byte
	KeyPEM  []byte
}

// TLS returns the pair in the form that a tls.Config wants.
func (p Pair) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key, Leaf: p.Cert}
}

// Material is everything Prepare or Generate made or found. It must not be changed.
type Material struct {
	// CA signs the other two and is what client certificates are verified against. CA.CertPEM is the whole of ca.crt, which
	// may hold further certificates to trust; CA.Cert is the first one.
	CA      Pair
	Serving Pair
	Admin   Pair

	// ServiceAccountKey signs service account tokens: an ECDSA P-256 key (ES256), unless somebody put an RSA key there.
	ServiceAccountKey       crypto.Signer
	ServiceAccountKeyPEM    []byte
	ServiceAccountPublicPEM []byte

	// Trust is what clients have to trust beside CA; see Options.
	Trust []byte

	// Dir is the absolute path of the data directory; empty when the material is in memory only.
	Dir string
}

// Path returns the absolute path of one of the files named in the package comment, such as "ca.crt"; "" when the material is
// in memory only.
func (m *Material) Path(name string) string {
	if m.Dir == "" {
		return ""
	}
	return filepath.Join(m.Dir, name)
}

// Prepare makes the data directory ready and returns what is in it. See the package comment for what is made, reused, renewed
// and refused. The caller holds Lock(opts.Dir).
func Prepare(opts Options) (*Material, error) {
	dir, err := absDir(opts.Dir)
	if err != nil {
		return nil, err
	}
	opts.Dir = dir
	p, err := newPlan(opts)
	if err != nil {
		return nil, err
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	if p.have, err = readFiles(dir, p.log); err != nil {
		return nil, err
	}
	m, err := p.material()
	if err != nil {
		return nil, err
	}
	if err := p.apply(); err != nil {
		return nil, err
	}
	return m, nil
}

// Generate makes new material in memory. It reads and writes no file.
func Generate(opts Options) (*Material, error) {
	opts.Dir = ""
	p, err := newPlan(opts)
	if err != nil {
		return nil, err
	}
	if m := opts.From; m != nil {
		p.have = map[string][]byte{
			authorityID.key: m.CA.KeyPEM, authorityID.public: m.CA.CertPEM,
			servingID.key: m.Serving.KeyPEM, servingID.public: m.Serving.CertPEM,
			adminID.key: m.Admin.KeyPEM, adminID.public: m.Admin.CertPEM,
			serviceAccountID.key: m.ServiceAccountKeyPEM, serviceAccountID.public: m.ServiceAccountPublicPEM,
		}
	}
	return p.material()
}

// plan works out, from the files that are there, what the material is and which files must be written. It touches no file
// until apply.
type plan struct {
	dir    string
	server string
	trust  []byte
	hosts  []string
	now    time.Time
	log    *slog.Logger

	have map[string][]byte // contents by file name
	keys []write           // durable before any of rest
	rest []write
}

type write struct {
	name string
	data []byte
	why  string
}

func newPlan(opts Options) (*plan, error) {
	p := &plan{dir: opts.Dir, server: opts.Server, trust: opts.Trust, now: time.Now(), log: opts.Logger}
	if opts.now != nil {
		p.now = opts.now()
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	extra := slices.Clone(opts.Hosts)
	if opts.Server != "" {
		u, err := url.Parse(opts.Server)
		if err != nil || u.Scheme != "https" || u.Hostname() == "" {
			return nil, fmt.Errorf("server address %q is not of the form https://HOST:PORT", opts.Server)
		}
		extra = append(extra, u.Hostname())
	}
	hostname := opts.hostname
	if hostname == nil {
		hostname = os.Hostname
	}
	name, err := hostname()
	if err != nil {
		p.log.Warn("the serving certificate will not name this host: its name is not known", "error", err)
	}
	if p.hosts, err = servingHosts(name, opts.ServiceIPs, extra); err != nil {
		return nil, err
	}
	return p, nil
}

// material reads or makes each part, in the order in which they need each other.
func (p *plan) material() (*Material, error) {
	m := &Material{Dir: p.dir, Trust: p.trust}
	var err error
	if m.CA, err = p.authority(); err != nil {
		return nil, err
	}
	if m.Serving, err = p.leaf(m.CA, servingID, servingTemplate(p.hosts), p.hosts); err != nil {
		return nil, err
	}
	if m.Admin, err = p.leaf(m.CA, adminID, adminTemplate(), nil); err != nil {
		return nil, err
	}
	if m.ServiceAccountKey, m.ServiceAccountKeyPEM, err = p.key(serviceAccountID); err != nil {
		return nil, err
	}
	if m.ServiceAccountPublicPEM, err = p.publicKey(serviceAccountID, m.ServiceAccountKey); err != nil {
		return nil, err
	}
	if p.server == "" {
		return m, nil
	}
	return m, p.kubeconfig(m.Kubeconfig(p.server))
}

// apply writes what material found missing or outdated. It also finds out when nothing had to be written that nothing can be.
func (p *plan) apply() error {
	if err := checkWritable(p.dir); err != nil {
		return err
	}
	if err := removeLeftovers(p.dir); err != nil {
		return err
	}
	level := slog.LevelInfo
	if len(p.have) == 0 {
		p.log.Info("making certificates and keys", "dir", p.dir)
		level = slog.LevelDebug // that every file is new needs no line for each
	}
	for _, batch := range [][]write{p.keys, p.rest} {
		for _, w := range batch {
			if err := writeFile(filepath.Join(p.dir, w.name), w.data, modeOf(w.name)); err != nil {
				return err
			}
			p.log.Log(context.Background(), level, "wrote "+w.name, "reason", w.why)
		}
		if len(batch) > 0 {
			if err := syncDir(p.dir); err != nil {
				return fmt.Errorf("%s: cannot be synced: %w", p.dir, reason(err))
			}
		}
	}
	return nil
}

// refuse is the error for a file that kayak will not overwrite.
func (p *plan) refuse(name, problem, advice string) error {
	return fmt.Errorf("%s: %s; %s", filepath.Join(p.dir, name), problem, advice)
}
