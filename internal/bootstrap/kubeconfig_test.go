package bootstrap

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const othersKubeconfig = `apiVersion: v1
kind: Config
clusters:
- name: prod
  cluster: {server: "https://prod.example.com", certificate-authority: relative/ca.crt}
- name: kayak
  cluster: {server: "https://old.example.com", insecure-skip-tls-verify: true}
users:
- name: kubernetes-admin
  user: {token: secret}
- name: kubernetes-admin@kayak
  user: {token: stale}
contexts:
- name: prod
  context: {cluster: prod, user: kubernetes-admin, namespace: shop}
- name: kubernetes-admin@kayak
  context: {cluster: other, user: other, namespace: team-a}
current-context: prod
`

func ours(t *testing.T) *clientcmdapi.Config {
	t.Helper()
	m, err := Generate(testOptions(""))
	if err != nil {
		t.Fatal(err)
	}
	return m.Kubeconfig("https://127.0.0.1:6443")
}

func load(t *testing.T, path string) *clientcmdapi.Config {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.Load(data)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func wantPrivate(t *testing.T, path string) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("%s has mode %v, want a file of mode 0600", path, info.Mode())
	}
}

func TestMergeKubeconfig(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(othersKubeconfig), 0o644); err != nil {
		t.Fatal(err)
	}
	config := ours(t)
	if err := MergeKubeconfig(path, config); err != nil {
		t.Fatal(err)
	}
	want, err := clientcmd.Load([]byte(othersKubeconfig))
	if err != nil {
		t.Fatal(err)
	}
	want.Clusters["kayak"] = config.Clusters["kayak"]
	want.AuthInfos["kubernetes-admin@kayak"] = config.AuthInfos["kubernetes-admin@kayak"]
	want.Contexts["kubernetes-admin@kayak"] = &clientcmdapi.Context{
		Cluster: "kayak", AuthInfo: "kubernetes-admin@kayak", Namespace: "team-a"}
	want.CurrentContext = "kubernetes-admin@kayak"
	wantYAML, err := clientcmd.Write(*want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(wantYAML), string(got)); diff != "" {
		t.Error(diff)
	}
	wantPrivate(t, path)
	if left := contents(t, filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left behind: %d files", len(left)-1)
	}
	if config.Contexts["kubernetes-admin@kayak"].Namespace != "" {
		t.Error("the caller's config was changed")
	}
}

func TestMergeKubeconfigIntoNothing(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(path string) error{
		"missing":           func(string) error { return nil },
		"missing directory": func(path string) error { return os.Remove(filepath.Dir(path)) },
		"empty":             func(path string) error { return os.WriteFile(path, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sub", "config")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			config := ours(t)
			if err := MergeKubeconfig(path, config); err != nil {
				t.Fatal(err)
			}
			a, _ := clientcmd.Write(*config)
			b, _ := clientcmd.Write(*load(t, path))
			if diff := cmp.Diff(string(a), string(b)); diff != "" {
				t.Error(diff)
			}
			wantPrivate(t, path)
		})
	}
}

func TestMergeKubeconfigThroughALink(t *testing.T) {
	t.Parallel()
	dir, target := t.TempDir(), filepath.Join(t.TempDir(), "dotfiles")
	link, dangling := filepath.Join(dir, "config"), filepath.Join(dir, "dangling")
	if err := os.WriteFile(target, []byte(othersKubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{link: target, dangling: filepath.Join(dir, "nowhere")} {
		if err := os.Symlink(to, from); err != nil {
			t.Fatal(err)
		}
	}
	if err := MergeKubeconfig(link, ours(t)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link was replaced by a file")
	}
	if load(t, target).Clusters["prod"] == nil || load(t, target).CurrentContext != ContextName {
		t.Error("the target was not merged into")
	}
	if err := MergeKubeconfig(dangling, ours(t)); err == nil || !strings.Contains(err.Error(), "leads nowhere") {
		t.Errorf("a dangling link: %v", err)
	}
}

func TestMergeKubeconfigRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bad, locked := filepath.Join(dir, "bad"), filepath.Join(dir, "locked")
	fill(t, dir, map[string]string{"bad": "token: [SECRET\n\n{", "locked": othersKubeconfig, "locked.lock": ""})
	for path, want := range map[string]string{
		bad:                       bad + ": is not a kubeconfig; correct it, or name another file",
		locked:                    locked + ".lock: another program is changing the kubeconfig; remove this file if none is",
		dir:                       dir + ": is not a regular file; move it away",
		filepath.Join(bad, "sub"): bad + ": is a file, not a directory; remove it or choose another directory",
		"":                        "the kubeconfig file has no name",
	} {
		before := contents(t, dir)
		err := mergeKubeconfig(path, ours(t), 0)
		if err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", path, err, want)
		}
		if diff := changed(before, contents(t, dir)); diff != nil {
			t.Errorf("%s: changed all the same: %v", path, diff)
		}
	}
}

// TestMergeKubeconfigConcurrently is what the lock is for: no writer's cluster is lost, and a reader never sees half a file.
func TestMergeKubeconfigConcurrently(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config")
	config := ours(t)
	if err := MergeKubeconfig(path, config); err != nil {
		t.Fatal(err)
	}
	names := strings.Split("abcdefghij", "")
	var writers, reader sync.WaitGroup
	stop := make(chan struct{})
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if data, err := os.ReadFile(path); err != nil || len(data) == 0 {
				t.Errorf("read %d bytes: %v", len(data), err)
			} else if _, err := clientcmd.Load(data); err != nil {
				t.Error(err)
			}
		}
	})
	for _, name := range names {
		writers.Go(func() {
			c := clientcmdapi.NewConfig()
			c.Clusters[name] = config.Clusters[ClusterName]
			if err := mergeKubeconfig(path, c, time.Minute); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	close(stop)
	reader.Wait()
	for _, name := range names {
		if load(t, path).Clusters[name] == nil {
			t.Errorf("cluster %s was lost", name)
		}
	}
}
