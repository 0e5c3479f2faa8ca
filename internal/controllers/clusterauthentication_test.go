package controllers_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	api "k8s.io/kubernetes/pkg/apis/core"

	"github.com/kayak-k8s/kayak/internal/bootstrap"
	"github.com/kayak-k8s/kayak/internal/controllers"
)

func authority(t *testing.T) []byte {
	t.Helper()
	m, err := bootstrap.Generate(bootstrap.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return m.CA.CertPEM
}

func TestClusterAuthentication(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.server(t)
	ensure(t, &controllers.SystemNamespaces{API: a, Resource: c.table.Resource("", "v1", "namespaces"), Logger: quiet()})
	configMaps := c.table.Resource("", "v1", "configmaps")
	read := func() map[string]string {
		t.Helper()
		obj, err := a.GetObject(t.Context(), configMaps, metav1.NamespaceSystem, "extension-apiserver-authentication")
		if err != nil {
			t.Fatal(err)
		}
		return obj.(*api.ConfigMap).Data
	}
	first, second, proxy := authority(t), authority(t), authority(t)

	// One that has no front proxy says nothing of one.
	one := &controllers.ClusterAuthentication{API: a, Resource: configMaps, ClientCA: first, Logger: quiet()}
	ensure(t, one)
	if data := read(); len(data) != 1 || data["client-ca-file"] != string(first) {
		t.Errorf("the first server wrote %v", data)
	}
	// Another adds what it knows.
	dir := t.TempDir()
	clients, proxies := filepath.Join(dir, "clients.crt"), filepath.Join(dir, "proxies.crt")
	for path, data := range map[string][]byte{clients: second, proxies: proxy} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	two := &controllers.ClusterAuthentication{
		API: c.server(t), Resource: configMaps, ClientCAFile: clients, FrontProxyCAFile: proxies,
		UsernameHeaders: []string{"X-Remote-User"}, GroupHeaders: []string{"X-Remote-Group"},
		ExtraHeaderPrefixes: []string{"X-Remote-Extra-"}, AllowedNames: []string{"front-proxy-client"}, Logger: quiet(),
	}
	ensure(t, two)
	want := map[string]string{
		"client-ca-file": string(first) + string(second), "requestheader-client-ca-file": string(proxy),
		"requestheader-username-headers": `["X-Remote-User"]`, "requestheader-group-headers": `["X-Remote-Group"]`,
		"requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`, "requestheader-allowed-names": `["front-proxy-client"]`,
	}
	data := read()
	for key, value := range want {
		if data[key] != value {
			t.Errorf("%s is %q, want %q", key, data[key], value)
		}
	}
	if len(data) != len(want) {
		t.Errorf("there is more in it: %v", data)
	}
	// Nothing to add is nothing to write.
	before := revision(t, c)
	ensure(t, one, two)
	if after := revision(t, c); after != before {
		t.Errorf("it was written again, at %d after %d", after, before)
	}
	// A file that is no bundle is an error that says so.
	if err := os.WriteFile(clients, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := two.Ensure(t.Context()); err == nil || !strings.Contains(err.Error(), "certificates") {
		t.Errorf("error %v", err)
	}
}

func revision(t *testing.T, c *cluster) int64 {
	t.Helper()
	r, err := c.store.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}
