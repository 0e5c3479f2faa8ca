package authn

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	other := newAuthority(t, "other")
	h := newHarness(t, Config{})
	a := h.expect("a user", "jane", h.client(h.ca.leaf("jane", []string{"dev", "ops"}, func(c *x509.Certificate) {
		c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}, Value: "u-1"}}
	})))
	if a != nil && (!slices.Equal(a.User.Groups, []string{"dev", "ops", "system:authenticated"}) || a.User.UID != "u-1") {
		t.Errorf("a user: %+v", a.User)
	}
	if id := a.User.Extra["authentication.kubernetes.io/credential-id"]; len(id) != 1 || len(id[0]) != len("X509SHA256=")+64 {
		t.Errorf("credential id %q", id)
	}
	for name, pair := range map[string]tls.Certificate{
		"expired":         h.ca.leaf("jane", nil, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
		"not yet valid":   h.ca.leaf("jane", nil, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) }),
		"for a server":    h.ca.leaf("jane", nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
		"of another's CA": other.leaf("jane", nil, nil),
		"self-signed":     selfSigned(t),
		"two UIDs": h.ca.leaf("jane", nil, func(c *x509.Certificate) {
			uid := pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}, Value: "u"}
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{uid, uid}
		}),
	} {
		h.expect(name, "", h.client(pair))
	}
	// Who has no name presents nothing, as upstream.
	h.expect("an empty common name", "system:anonymous", h.client(h.ca.leaf("", []string{"system:masters"}, nil)))
}

func selfSigned(t *testing.T) tls.Certificate {
	a := newAuthority(t, "jane")
	return tls.Certificate{Certificate: [][]byte{a.cert.Raw}, PrivateKey: a.key}
}

// TestBundleIsReadAgain: a new authority is trusted, and one that is gone is not, on connections that are open too. A file that
// makes no sense changes nothing.
func TestBundleIsReadAgain(t *testing.T) {
	t.Parallel()
	first, second := newAuthority(t, "first"), newAuthority(t, "second")
	path := file(t, "ca.crt", string(first.pem()))
	h := newHarness(t, Config{ClientCAFile: path})
	before, after := h.client(first.leaf("before", nil, nil)), h.client(second.leaf("after", nil, nil))
	h.expect("the first authority", "before", before)
	h.expect("an authority that is not there yet", "", after)
	h.expect("the server's own", "admin", h.client(h.ca.leaf("admin", nil, nil)))
	write := func(data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write([]byte("nonsense"))
	eventually(t, "the log says that the file is of no use", func() bool {
		h.expect("the first authority still", "before", before)
		return strings.Contains(h.log.String(), "cannot read certificate authorities again")
	})
	write(second.pem())
	eventually(t, "the second authority is trusted", func() bool { return h.ask(after) != nil })
	h.expect("the first authority is not any more", "", before)
}
