package bootstrap

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 365 * 24 * time.Hour
	renewBefore   = 30 * 24 * time.Hour
	// backdate makes a new certificate acceptable to machines whose clocks are a little behind (kubeadm does the same).
	backdate = 5 * time.Minute
)

// identity names the two files that belong together: a private key, and what holds its public half.
type identity struct {
	key, public string
	// cost says what happens when somebody removes both files to have new ones made.
	cost string
}

var (
	authorityID      = identity{"ca.key", "ca.crt", "a new CA, so that every client needs a new kubeconfig"}
	servingID        = identity{"apiserver.key", "apiserver.crt", "new ones"}
	adminID          = identity{"admin.key", "admin.crt", "new ones"}
	serviceAccountID = identity{"sa.key", "sa.pub", "a new key, so that issued service account tokens become invalid"}
)

func (id identity) advice() string {
	return fmt.Sprintf("restore it, or remove %s and %s to get %s", id.key, id.public, id.cost)
}

// key returns the private key of id, new when neither the key nor its other half is there.
func (p *plan) key(id identity) (crypto.Signer, []byte, error) {
	data, ok := p.have[id.key]
	if !ok {
		if _, orphan := p.have[id.public]; orphan {
			return nil, nil, p.refuse(id.key, "is missing, although "+id.public+" is there", id.advice())
		}
		key, data, err := newKey()
		if err != nil {
			return nil, nil, err
		}
		p.keys = append(p.keys, write{id.key, data, "it was missing"})
		return key, data, nil
	}
	parsed, err := keyutil.ParsePrivateKeyPEM(data)
	if err != nil {
		return nil, nil, p.refuse(id.key, "is not a private key in PEM", id.advice())
	}
	switch key := parsed.(type) {
	case *ecdsa.PrivateKey:
		return key, data, nil
	case *rsa.PrivateKey:
		return key, data, nil
	}
	return nil, nil, p.refuse(id.key, "is neither an RSA nor an ECDSA key", id.advice())
}

// newKey makes an ECDSA P-256 key: it takes microseconds, where RSA takes long enough to be felt in the start of a server.
func newKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a private key: %w", err)
	}
	data, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot encode a private key: %w", err)
	}
	return key, data, nil
}

// publicKey returns the PEM of key's public half, checked against the file of id when that is there.
func (p *plan) publicKey(id identity, key crypto.Signer) ([]byte, error) {
	data, ok := p.have[id.public]
	if !ok {
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			return nil, fmt.Errorf("cannot encode the public key of %s: %w", id.key, err)
		}
		data = pem.EncodeToMemory(&pem.Block{Type: keyutil.PublicKeyBlockType, Bytes: der})
		p.rest = append(p.rest, write{id.public, data, "it was missing"})
		return data, nil
	}
	keys, err := keyutil.ParsePublicKeysPEM(data)
	if err != nil {
		return nil, p.refuse(id.public, "is not a public key in PEM", "remove it to have it made from "+id.key)
	}
	if !slices.ContainsFunc(keys, func(k any) bool { return samePublic(k, key) }) {
		return nil, p.refuse(id.public, "does not belong to "+id.key, id.advice())
	}
	return data, nil
}

func samePublic(public any, key crypto.Signer) bool {
	k, ok := public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(key.Public())
}

// certificate returns the first certificate in the file of id, or nil when there is no such file.
func (p *plan) certificate(id identity, key crypto.Signer) (*x509.Certificate, error) {
	data, ok := p.have[id.public]
	if !ok {
		return nil, nil
	}
	certs, err := certutil.ParseCertsPEM(data)
	if err != nil {
		return nil, p.refuse(id.public, "is not a certificate in PEM", id.advice())
	}
	if !samePublic(certs[0].PublicKey, key) {
		return nil, p.refuse(id.public, "does not belong to "+id.key, id.advice())
	}
	return certs[0], nil
}

// authority returns the CA. A ca.key without ca.crt is what a crash during the first start leaves: since nothing but the key
// tells one certificate of a CA from another, what the key signed stays valid under a new ca.crt.
func (p *plan) authority() (Pair, error) {
	key, keyPEM, err := p.key(authorityID)
	if err != nil {
		return Pair{}, err
	}
	cert, err := p.certificate(authorityID, key)
	if err != nil {
		return Pair{}, err
	}
	if cert == nil {
		self := Pair{Cert: authorityTemplate(p.now), Key: key}
		return p.issue(self, self.Cert, authorityID, key, keyPEM, "it was missing")
	}
	if !cert.BasicConstraintsValid || !cert.IsCA {
		return Pair{}, p.refuse(authorityID.public, "is not the certificate of a CA", authorityID.advice())
	}
	if !p.now.Before(cert.NotAfter) {
		problem := "expired on " + cert.NotAfter.UTC().Format(time.DateOnly)
		return Pair{}, p.refuse(authorityID.public, problem, authorityID.advice())
	}
	if cert.NotAfter.Sub(p.now) < renewBefore {
		p.log.Warn("the CA expires soon and is not renewed by itself", "file", authorityID.public, "expires", cert.NotAfter)
	}
	return Pair{Cert: cert, Key: key, CertPEM: p.have[authorityID.public], KeyPEM: keyPEM}, nil
}

// leaf returns the certificate of id, issued anew from template when the one that is there will not do.
func (p *plan) leaf(ca Pair, id identity, template *x509.Certificate, hosts []string) (Pair, error) {
	key, keyPEM, err := p.key(id)
	if err != nil {
		return Pair{}, err
	}
	cert, err := p.certificate(id, key)
	if err != nil {
		return Pair{}, err
	}
	why := p.outdated(cert, ca.Cert, template, hosts)
	if why == "" {
		return Pair{Cert: cert, Key: key, CertPEM: p.have[id.public], KeyPEM: keyPEM}, nil
	}
	template.NotBefore = p.now.Add(-backdate)
	template.NotAfter = p.now.Add(leafLife)
	if ca.Cert.NotAfter.Before(template.NotAfter) {
		template.NotAfter = ca.Cert.NotAfter // longer would be a promise that verification does not keep
	}
	return p.issue(ca, template, id, key, keyPEM, why)
}

// outdated says why cert must be issued anew, or "" when it need not be.
func (p *plan) outdated(cert, ca, template *x509.Certificate, hosts []string) string {
	if cert == nil {
		return "it was missing"
	}
	if !bytes.Equal(cert.RawIssuer, ca.RawSubject) || cert.CheckSignatureFrom(ca) != nil {
		return "it was not signed by " + authorityID.public
	}
	// When it lasts as long as the CA does, another one would not last longer.
	if cert.NotAfter.Sub(p.now) < renewBefore && cert.NotAfter.Before(ca.NotAfter) {
		return "it expires on " + cert.NotAfter.UTC().Format(time.DateOnly)
	}
	if got, want := cert.Subject.String(), template.Subject.String(); got != want {
		return fmt.Sprintf("its subject is %q and must be %q", got, want)
	}
	if !slices.Contains(cert.ExtKeyUsage, template.ExtKeyUsage[0]) {
		return "it is not for this use"
	}
	for _, host := range hosts {
		if cert.VerifyHostname(host) != nil {
			return "it does not cover " + host
		}
	}
	return ""
}

// issue signs template for key and plans to write the certificate.
func (p *plan) issue(
	ca Pair, template *x509.Certificate, id identity, key crypto.Signer, keyPEM []byte, why string,
) (Pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Cert, key.Public(), ca.Key)
	if err != nil {
		return Pair{}, fmt.Errorf("cannot issue %s: %w", id.public, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Pair{}, fmt.Errorf("cannot issue %s: %w", id.public, err)
	}
	data := pem.EncodeToMemory(&pem.Block{Type: certutil.CertificateBlockType, Bytes: der})
	p.rest = append(p.rest, write{id.public, data, why})
	return Pair{Cert: cert, Key: key, CertPEM: data, KeyPEM: keyPEM}, nil
}

func authorityTemplate(now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: "kayak-ca"},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
}

func adminTemplate() *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kubernetes-admin", Organization: []string{"system:masters"}},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

func servingTemplate(hosts []string) *x509.Certificate {
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, host)
		}
	}
	return t
}

// servingHosts returns the names and addresses that the serving certificate has to cover, each once. A host name that cannot
// stand in a certificate is left out: it was not asked for, and nobody can connect by it.
func servingHosts(hostname string, serviceIPs []netip.Addr, extra []string) ([]string, error) {
	hosts := []string{
		"localhost", "127.0.0.1", "::1",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	}
	for _, ip := range serviceIPs {
		if ip.IsValid() {
			hosts = append(hosts, ip.Unmap().String())
		}
	}
	if name := canonicalName(hostname); validName(name) {
		hosts = append(hosts, name)
	}
	for _, host := range extra {
		if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
			if ip = ip.Unmap().WithZone(""); !ip.IsUnspecified() {
				hosts = append(hosts, ip.String())
			}
			continue
		}
		name := canonicalName(host)
		if !validName(name) {
			return nil, fmt.Errorf("%q is neither an IP address nor a DNS name, so no certificate can be issued for it", host)
		}
		hosts = append(hosts, name)
	}
	var unique []string
	for _, host := range hosts {
		if !slices.Contains(unique, host) {
			unique = append(unique, host)
		}
	}
	return unique, nil
}

func canonicalName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// validName is RFC 1123 plus the underscore, which machines do have in their names and crypto/x509 matches.
func validName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
