package bootstrap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/keyutil"
)

func testOptions(dir string) Options {
	return Options{
		Dir:        dir,
		Server:     "https://127.0.0.1:6443",
		ServiceIPs: []netip.Addr{netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("fd00::1")},
		Hosts:      []string{"0.0.0.0", "192.0.2.7", "API.example.com."},
		hostname:   func() (string, error) { return "build-7", nil },
	}
}

func mustPrepare(t *testing.T, opts Options) *Material {
	t.Helper()
	m, err := Prepare(opts)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// contents returns the files of dir, by name.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(data)
	}
	return files
}

func fill(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// changed returns the names whose contents differ, sorted.
func changed(before, after map[string]string) []string {
	var names []string
	for name := range after {
		if before[name] != after[name] {
			names = append(names, name)
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestFirstStart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "deep", "kayak")
	var log bytes.Buffer
	opts := testOptions(dir)
	opts.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	m := mustPrepare(t, opts)

	// The order is what TestCrashAtEveryStep stands on: keys first.
	var written []string
	for _, found := range regexp.MustCompile(`msg="wrote (\S+)"`).FindAllStringSubmatch(log.String(), -1) {
		written = append(written, found[1])
	}
	if diff := cmp.Diff(fileNames(), written); diff != "" {
		t.Errorf("order of writing (-want +got):\n%s", diff)
	}

	modes := map[string]fs.FileMode{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		modes[e.Name()] = info.Mode()
	}
	want := map[string]fs.FileMode{
		"ca.key": 0o600, "apiserver.key": 0o600, "admin.key": 0o600, "sa.key": 0o600, "admin.kubeconfig": 0o600,
		"ca.crt": 0o644, "apiserver.crt": 0o644, "admin.crt": 0o644, "sa.pub": 0o644,
	}
	if diff := cmp.Diff(want, modes); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		info, err := os.Stat(d)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v, want 0700", d, info.Mode())
		}
	}
	if got, want := m.Path("ca.crt"), filepath.Join(dir, "ca.crt"); got != want {
		t.Errorf("Path = %q, want %q", got, want)
	}
	for name, pem := range map[string][]byte{
		"ca.crt": m.CA.CertPEM, "ca.key": m.CA.KeyPEM, "apiserver.crt": m.Serving.CertPEM, "apiserver.key": m.Serving.KeyPEM,
		"admin.crt": m.Admin.CertPEM, "admin.key": m.Admin.KeyPEM,
		"sa.key": m.ServiceAccountKeyPEM, "sa.pub": m.ServiceAccountPublicPEM,
	} {
		if data, err := os.ReadFile(m.Path(name)); err != nil || !bytes.Equal(data, pem) {
			t.Errorf("%s is not what was returned (%v)", name, err)
		}
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	m, err := Generate(testOptions(""))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Admin.Cert.Subject.String(); got != "CN=kubernetes-admin,O=system:masters" {
		t.Errorf("admin's subject is %s", got)
	}
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		cert *x509.Certificate
		life time.Duration
	}{"CA": {m.CA.Cert, 3650 * day}, "serving": {m.Serving.Cert, 365 * day}, "admin": {m.Admin.Cert, 365 * day}} {
		if got := time.Until(c.cert.NotAfter); got > c.life || got < c.life-day {
			t.Errorf("%s is valid for %v, want %v", name, got, c.life)
		}
	}
	serials := map[string]bool{}
	for _, c := range []*x509.Certificate{m.CA.Cert, m.Serving.Cert, m.Admin.Cert} {
		serials[c.SerialNumber.String()] = true
	}
	if len(serials) != 3 {
		t.Error("serial numbers are not unique")
	}
	if _, err := m.Admin.Cert.Verify(x509.VerifyOptions{Roots: pool(m)}); err == nil {
		t.Error("the admin certificate can be used as a server's")
	}
	if m.Dir != "" || m.Path("ca.crt") != "" {
		t.Error("material in memory has a path")
	}
}

func pool(m *Material) *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(m.CA.CertPEM)
	return p
}

// TestHandshake connects by every name the server must answer to, with the credentials of the kubeconfig.
func TestHandshake(t *testing.T) {
	t.Parallel()
	m, err := Generate(testOptions(""))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{m.Serving.TLS()}, ClientCAs: pool(m), ClientAuth: tls.RequireAndVerifyClientCert,
	})
	if err != nil {
		t.Fatal(err)
	}
	users, done := make(chan string, 100), make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			user := "refused"
			if tc := c.(*tls.Conn); tc.Handshake() == nil {
				user = tc.ConnectionState().PeerCertificates[0].Subject.CommonName
			}
			users <- user
			c.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })

	config := m.Kubeconfig("https://" + ln.Addr().String())
	rc, err := clientcmd.NewDefaultClientConfig(*config, nil).ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	base, err := rest.TLSConfigFor(rc)
	if err != nil {
		t.Fatal(err)
	}
	dial := func(name string) error {
		tlsConfig := base.Clone()
		tlsConfig.ServerName = name
		c, err := tls.Dial("tcp", ln.Addr().String(), tlsConfig)
		if err != nil {
			<-users
			return err
		}
		defer c.Close()
		if user := <-users; user != "kubernetes-admin" {
			return fmt.Errorf("the server saw user %q", user)
		}
		return nil
	}
	for _, name := range []string{
		"", "localhost", "127.0.0.1", "::1", "build-7", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local", "10.96.0.1", "fd00::1", "192.0.2.7", "api.example.com",
	} {
		if err := dial(name); err != nil {
			t.Errorf("by name %q: %v", name, err)
		}
	}
	for _, name := range []string{"example.com", "0.0.0.0", "10.96.0.2"} {
		if dial(name) == nil {
			t.Errorf("by name %q: accepted", name)
		}
	}
}

func TestSecondStartChangesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log bytes.Buffer
	opts := testOptions(dir)
	opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	first := mustPrepare(t, opts)
	before := contents(t, dir)
	log.Reset()
	second := mustPrepare(t, opts)
	if diff := changed(before, contents(t, dir)); diff != nil {
		t.Errorf("changed: %v", diff)
	}
	if log.Len() > 0 {
		t.Errorf("logged: %s", &log)
	}
	if !second.Serving.Cert.Equal(first.Serving.Cert) || !samePublic(first.ServiceAccountKey.Public(), second.ServiceAccountKey) {
		t.Error("the second start returned other material")
	}
}

// TestCrashAtEveryStep leaves what a crash after each step of a first start can leave, and a piece of the next file.
func TestCrashAtEveryStep(t *testing.T) {
	t.Parallel()
	whole := t.TempDir()
	mustPrepare(t, testOptions(whole))
	all := contents(t, whole)
	order := fileNames()
	for n := range len(order) {
		dir := t.TempDir()
		survived := map[string]string{}
		for _, name := range order[:n] {
			survived[name] = all[name]
		}
		fill(t, dir, survived)
		piece := leftover(order[n]) + "123456"
		fill(t, dir, map[string]string{piece: all[order[n]][:10], ".other.tmp-1": "not ours"})

		m := mustPrepare(t, testOptions(dir))
		after := contents(t, dir)
		for name, data := range survived {
			if after[name] != data {
				t.Errorf("after %d files: %s was changed", n, name)
			}
		}
		if _, ok := after[piece]; ok {
			t.Errorf("after %d files: %s was left", n, piece)
		}
		if _, ok := after[".other.tmp-1"]; !ok {
			t.Errorf("after %d files: removed somebody else's file", n)
		}
		if _, err := m.Serving.Cert.Verify(x509.VerifyOptions{Roots: pool(m), DNSName: "localhost"}); err != nil {
			t.Errorf("after %d files: %v", n, err)
		}
		again := mustPrepare(t, testOptions(dir))
		if diff := changed(after, contents(t, dir)); diff != nil || !again.CA.Cert.Equal(m.CA.Cert) {
			t.Errorf("after %d files: the start after that changed %v", n, diff)
		}
	}
}

// TestCertificateOfTheAuthorityComesBack shows the promise that makes a lost ca.crt harmless.
func TestCertificateOfTheAuthorityComesBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := mustPrepare(t, testOptions(dir))
	before := contents(t, dir)
	if err := os.Remove(filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	m := mustPrepare(t, testOptions(dir))
	if got, want := changed(before, contents(t, dir)), []string{"admin.kubeconfig", "ca.crt"}; !slices.Equal(got, want) {
		t.Errorf("changed %v, want %v", got, want)
	}
	if _, err := old.Serving.Cert.Verify(x509.VerifyOptions{Roots: pool(m), DNSName: "localhost"}); err != nil {
		t.Errorf("the old certificate under the new CA certificate: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	good, other := t.TempDir(), t.TempDir()
	mustPrepare(t, testOptions(good))
	mustPrepare(t, testOptions(other))
	files, foreign := contents(t, good), contents(t, other)
	ed25519 := "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n"

	cases := []struct {
		name  string
		files map[string]string // "" means removed
		want  string            // the file, then what is wrong and what to do
	}{
		{"CA key is garbage", map[string]string{"ca.key": "hello"},
			"ca.key: is not a private key in PEM; restore it, or remove ca.key and ca.crt to get a new CA, " +
				"so that every client needs a new kubeconfig"},
		{"CA key is empty", map[string]string{"ca.key": "\n"}, "ca.key: is not a private key in PEM; restore it"},
		{"CA key is cut", map[string]string{"ca.key": files["ca.key"][:80]}, "ca.key: is not a private key in PEM; restore it"},
		{"CA key of another", map[string]string{"ca.key": foreign["ca.key"]}, "ca.crt: does not belong to ca.key; restore it"},
		{"CA key gone", map[string]string{"ca.key": ""}, "ca.key: is missing, although ca.crt is there; restore it"},
		{"CA certificate is garbage", map[string]string{"ca.crt": "hello"}, "ca.crt: is not a certificate in PEM; restore it"},
		{"CA certificate is a key", map[string]string{"ca.crt": files["ca.key"]}, "ca.crt: is not a certificate in PEM; "},
		{"CA is a leaf", map[string]string{"ca.crt": files["admin.crt"], "ca.key": files["admin.key"]},
			"ca.crt: is not the certificate of a CA; restore it"},
		{"serving key is garbage", map[string]string{"apiserver.key": "x"}, "apiserver.key: is not a private key in PEM; restore it"},
		{"serving key of another", map[string]string{"apiserver.key": foreign["apiserver.key"]},
			"apiserver.crt: does not belong to apiserver.key; restore it, or remove apiserver.key and apiserver.crt to get new ones"},
		{"serving key gone", map[string]string{"apiserver.key": ""}, "apiserver.key: is missing, although apiserver.crt is there"},
		{"serving certificate is cut", map[string]string{"apiserver.crt": files["apiserver.crt"][:200]},
			"apiserver.crt: is not a certificate in PEM; restore it"},
		{"admin certificate of another", map[string]string{"admin.crt": foreign["admin.crt"]}, "admin.crt: does not belong to admin.key"},
		{"admin key of an odd kind", map[string]string{"admin.key": ed25519}, "admin.key: is neither an RSA nor an ECDSA key; restore"},
		{"sa.key is garbage", map[string]string{"sa.key": "x"},
			"sa.key: is not a private key in PEM; restore it, or remove sa.key and sa.pub to get a new key, " +
				"so that issued service account tokens become invalid"},
		{"sa.key gone", map[string]string{"sa.key": ""}, "sa.key: is missing, although sa.pub is there; restore it"},
		{"sa.pub is garbage", map[string]string{"sa.pub": "x"},
			"sa.pub: is not a public key in PEM; remove it to have it made from sa.key"},
		{"sa.pub of another", map[string]string{"sa.pub": foreign["sa.pub"]}, "sa.pub: does not belong to sa.key; restore it"},
		{"kubeconfig is garbage", map[string]string{"admin.kubeconfig": "{{"},
			"admin.kubeconfig: is not a kubeconfig; remove it to have it made anew"},
		{"file is huge", map[string]string{"admin.crt": strings.Repeat("x", maxFile+1)},
			"admin.crt: is larger than 1 MiB, so it is not what it should be; move it away"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			mix := maps.Clone(files)
			for name, data := range c.files {
				if mix[name] = data; data == "" {
					delete(mix, name)
				}
			}
			fill(t, dir, mix)
			wantError(t, dir, c.want)
			if diff := changed(mix, contents(t, dir)); diff != nil {
				t.Errorf("changed all the same: %v", diff)
			}
		})
	}
}

// wantError runs Prepare, which must fail with one line that begins with dir and want.
func wantError(t *testing.T, dir, want string) {
	t.Helper()
	_, err := Prepare(testOptions(dir))
	if err == nil {
		t.Fatal("no error")
	}
	if want = filepath.Join(dir, want); !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error\n %s\nwant\n %s", err, want)
	}
	if strings.ContainsAny(err.Error(), "\n\r") {
		t.Errorf("more than one line: %q", err)
	}
}

func TestOddDirectories(t *testing.T) {
	t.Parallel()
	t.Run("a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		fill(t, filepath.Dir(file), map[string]string{"file": ""})
		wantError(t, file, "")
		for _, dir := range []string{file, filepath.Join(file, "below")} {
			want := file + ": is a file, not a directory; remove it or choose another directory"
			if _, err := Prepare(testOptions(dir)); err == nil || err.Error() != want {
				t.Errorf("error %v, want %s", err, want)
			}
			if _, err := Lock(dir); err == nil || err.Error() != want {
				t.Errorf("Lock: error %v, want %s", err, want)
			}
		}
	})
	t.Run("a directory in place of a file", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "ca.key"), 0o700); err != nil {
			t.Fatal(err)
		}
		wantError(t, dir, "ca.key: is not a regular file; move it away")
	})
	t.Run("no name", func(t *testing.T) {
		if _, err := Prepare(testOptions("")); err == nil {
			t.Error("no error")
		}
	})
	t.Run("a link to a directory", func(t *testing.T) {
		dir := t.TempDir()
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(dir, link); err != nil {
			t.Fatal(err)
		}
		mustPrepare(t, testOptions(link))
		mustPrepare(t, testOptions(dir))
	})
}

func TestWrongOptions(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Options){
		`server address "http://127.0.0.1:6443" is not of the form https://HOST:PORT`: func(o *Options) { o.Server = "http://127.0.0.1:6443" },
		`server address "127.0.0.1:6443" is not of the form https://HOST:PORT`:        func(o *Options) { o.Server = "127.0.0.1:6443" },
		`"a b" is neither an IP address nor a DNS name, so no certificate can be issued for it`: func(o *Options) {
			o.Hosts = []string{"a b"}
		},
	} {
		dir := filepath.Join(t.TempDir(), "new")
		opts := testOptions(dir)
		change(&opts)
		if _, err := Prepare(opts); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Error("the directory was made all the same")
		}
	}
}

func TestStrangeHostnameIsLeftOut(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "böb", "-a", "a..b", strings.Repeat("x", 64), "a b"} {
		opts := testOptions("")
		opts.hostname = func() (string, error) { return name, nil }
		m, err := Generate(opts)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if slices.Contains(m.Serving.Cert.DNSNames, name) {
			t.Errorf("%q is in the certificate", name)
		}
	}
}

func TestRenewal(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	later := func(d time.Duration) func(*Options) {
		return func(o *Options) { o.now = func() time.Time { return time.Now().Add(d) } }
	}
	cases := []struct {
		name   string
		change func(*Options)
		want   []string
		log    string
	}{
		{"nothing", func(*Options) {}, nil, ""},
		{"another host to cover", func(o *Options) { o.Hosts = append(o.Hosts, "192.0.2.8") },
			[]string{"apiserver.crt"}, "it does not cover 192.0.2.8"},
		{"fewer hosts to cover", func(o *Options) { o.Hosts = nil }, nil, ""},
		{"another host name", func(o *Options) { o.hostname = func() (string, error) { return "other", nil } },
			[]string{"apiserver.crt"}, "it does not cover other"},
		{"another service IP", func(o *Options) { o.ServiceIPs = []netip.Addr{netip.MustParseAddr("10.0.0.1")} },
			[]string{"apiserver.crt"}, "it does not cover 10.0.0.1"},
		{"another port", func(o *Options) { o.Server = "https://127.0.0.1:7443" }, []string{"admin.kubeconfig"}, "the address"},
		{"another address", func(o *Options) { o.Server = "https://[2001:db8::1]:6443" },
			[]string{"admin.kubeconfig", "apiserver.crt"}, "it does not cover 2001:db8::1"},
		{"334 days later", later(334 * day), nil, ""},
		{"336 days later", later(336 * day), []string{"admin.crt", "admin.kubeconfig", "apiserver.crt"}, "it expires on"},
		{"2 years later", later(730 * day), []string{"admin.crt", "admin.kubeconfig", "apiserver.crt"}, "it expires on"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			mustPrepare(t, testOptions(dir))
			before := contents(t, dir)
			var log bytes.Buffer
			opts := testOptions(dir)
			opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
			c.change(&opts)
			m := mustPrepare(t, opts)
			after := contents(t, dir)
			if got := changed(before, after); !slices.Equal(got, c.want) {
				t.Errorf("changed %v, want %v", got, c.want)
			}
			if !strings.Contains(log.String(), c.log) || c.log == "" && log.Len() > 0 {
				t.Errorf("logged %q, want %q", &log, c.log)
			}
			now := time.Now()
			if opts.now != nil {
				now = opts.now()
			}
			verify := x509.VerifyOptions{Roots: pool(m), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
			for _, pair := range []Pair{m.Serving, m.Admin} {
				if _, err := pair.Cert.Verify(verify); err != nil {
					t.Error(err)
				}
			}
			mustPrepare(t, opts)
			if diff := changed(after, contents(t, dir)); diff != nil {
				t.Errorf("the start after that changed %v", diff)
			}
		})
	}
}

func TestNewAuthorityIssuesAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustPrepare(t, testOptions(dir))
	before := contents(t, dir)
	for _, name := range []string{"ca.key", "ca.crt"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	m := mustPrepare(t, testOptions(dir))
	want := []string{"admin.crt", "admin.kubeconfig", "apiserver.crt", "ca.crt", "ca.key"}
	if got := changed(before, contents(t, dir)); !slices.Equal(got, want) {
		t.Errorf("changed %v, want %v", got, want)
	}
	if _, err := m.Serving.Cert.Verify(x509.VerifyOptions{Roots: pool(m)}); err != nil {
		t.Error(err)
	}
}

func TestEndOfTheAuthority(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	opts := testOptions(dir)
	first := mustPrepare(t, opts)
	var log bytes.Buffer
	opts.Logger = slog.New(slog.NewTextHandler(&log, nil))

	opts.now = func() time.Time { return first.CA.Cert.NotAfter.Add(-10 * 24 * time.Hour) }
	m := mustPrepare(t, opts)
	if !m.Serving.Cert.NotAfter.Equal(m.CA.Cert.NotAfter) {
		t.Errorf("a certificate is valid until %v, its CA until %v", m.Serving.Cert.NotAfter, m.CA.Cert.NotAfter)
	}
	if !strings.Contains(log.String(), "the CA expires soon") {
		t.Errorf("no warning: %s", &log)
	}
	before := contents(t, dir)
	mustPrepare(t, opts)
	if diff := changed(before, contents(t, dir)); diff != nil {
		t.Errorf("renewed without gain: %v", diff)
	}

	opts.now = func() time.Time { return first.CA.Cert.NotAfter.Add(time.Hour) }
	if _, err := Prepare(opts); err == nil || !strings.Contains(err.Error(), "ca.crt: expired on ") {
		t.Errorf("error %v", err)
	}
}

func TestOthersKeysAreUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	data, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, dir, map[string]string{"sa.key": string(data), "apiserver.key": string(data)})
	m := mustPrepare(t, testOptions(dir))
	if !samePublic(key.Public(), m.ServiceAccountKey) || !samePublic(m.Serving.Cert.PublicKey, key) {
		t.Error("other keys were used")
	}
	fresh, err := Generate(testOptions(""))
	if err != nil {
		t.Fatal(err)
	}
	if k, ok := fresh.ServiceAccountKey.(*ecdsa.PrivateKey); !ok || k.Curve != elliptic.P256() {
		t.Error("the signing key is not ECDSA P-256")
	}
}

func TestWarnsOfReadableKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustPrepare(t, testOptions(dir))
	for name, mode := range map[string]fs.FileMode{"sa.key": 0o640, "admin.kubeconfig": 0o604, "ca.crt": 0o666} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	opts := testOptions(dir)
	opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	mustPrepare(t, opts)
	for name, want := range map[string]bool{"sa.key": true, "admin.kubeconfig": true, "ca.crt": false, "ca.key": false} {
		if got := strings.Contains(log.String(), filepath.Join(dir, name)); got != want {
			t.Errorf("warned of %s: %v, want %v; log:\n%s", name, got, want, &log)
		}
	}
	if strings.Contains(log.String(), "BEGIN") {
		t.Error("the log has a key in it")
	}
}

func TestAdminKubeconfigKeepsWhatOthersPutThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	opts := testOptions(dir)
	m := mustPrepare(t, opts)
	path := m.Path("admin.kubeconfig")
	config, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	config.Contexts[ContextName].Namespace = "team-a"
	config.Contexts["mine"] = config.Contexts[ContextName].DeepCopy()
	config.CurrentContext = "mine"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	mustPrepare(t, opts)
	if diff := changed(before, contents(t, dir)); diff != nil {
		t.Errorf("changed: %v", diff)
	}
	opts.Server = "https://localhost:7443"
	mustPrepare(t, opts)
	got, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.Clusters[ClusterName].Server != opts.Server {
		t.Errorf("server is %s", got.Clusters[ClusterName].Server)
	}
	if got.Contexts[ContextName].Namespace != "team-a" || got.Contexts["mine"] == nil || got.CurrentContext != "mine" {
		t.Errorf("lost what was there: %+v", got)
	}
}

func TestDefaultDataDir(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		uid             int
		xdg, home, want string
	}{
		{0, "/x", "/root", "/var/lib/kayak"},
		{1, "/x/data", "/home/a", "/x/data/kayak"},
		{1, "", "/home/a", "/home/a/.local/share/kayak"},
		{1, "relative", "/home/a", "/home/a/.local/share/kayak"},
		{1, "", "", ""},
	} {
		env := map[string]string{"XDG_DATA_HOME": c.xdg, "HOME": c.home}
		got, err := defaultDataDir(c.uid, func(k string) string { return env[k] })
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}

func TestServingHosts(t *testing.T) {
	t.Parallel()
	got, err := servingHosts("Build-7.", []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.1"), {}},
		[]string{"localhost", "::", "[::1]", "fe80::1%eth0", "::ffff:192.0.2.1", "my_host"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local", "10.0.0.1", "build-7", "fe80::1", "192.0.2.1", "my_host",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, host := range want {
		if net.ParseIP(host) == nil && !validName(host) {
			t.Errorf("%q is neither address nor name", host)
		}
	}
}

func BenchmarkFirstStart(b *testing.B) {
	parent := b.TempDir()
	for i := 0; b.Loop(); i++ {
		if _, err := Prepare(testOptions(filepath.Join(parent, fmt.Sprint(i)))); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSecondStart(b *testing.B) {
	opts := testOptions(b.TempDir())
	for b.Loop() {
		if _, err := Prepare(opts); err != nil {
			b.Fatal(err)
		}
	}
}
