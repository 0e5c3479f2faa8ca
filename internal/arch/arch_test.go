package arch

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// module is the module that this package is part of.
var module = os.DirFS("../..")

func load(t *testing.T, root fs.FS) *Tree {
	t.Helper()
	tree, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func report(t *testing.T, problems []string) {
	t.Helper()
	for _, problem := range problems {
		t.Error(problem)
	}
}

func TestModuleIsFound(t *testing.T) {
	t.Parallel()
	tree := load(t, module)
	found := map[string]bool{}
	for _, file := range tree.Files {
		found[file.Path] = true
	}
	for _, name := range []string{"internal/arch/arch.go", "internal/pins/pins.go", "internal/store/store.go"} {
		if !found[name] {
			t.Errorf("%s was not looked at", name)
		}
	}
}

func TestForbiddenImports(t *testing.T) {
	t.Parallel()
	report(t, load(t, module).CheckForbidden(ForbiddenImports(), Exceptions()))
}

func TestLayers(t *testing.T) {
	t.Parallel()
	report(t, load(t, module).CheckLayers(Layers()))
}

func TestPackageComments(t *testing.T) {
	t.Parallel()
	report(t, load(t, module).CheckComments())
}

func TestPins(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}} {{.Version}}", "k8s.io/kubernetes")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	dir, release, ok := strings.Cut(strings.TrimSpace(string(out)), " ")
	if !ok || dir == "" {
		t.Fatalf("go list answered %q: k8s.io/kubernetes is not in the module cache; run go mod download", out)
	}
	upstream, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := fs.ReadFile(module, "go.mod")
	if err != nil {
		t.Fatal(err)
	}
	report(t, load(t, module).CheckPins(upstream, ours, release))
}

// tree makes a module named m out of files by path.
func tree(t *testing.T, files map[string]string) *Tree {
	t.Helper()
	root := fstest.MapFS{"go.mod": {Data: []byte("module m // a comment\n\ngo 1.26\n")}}
	for name, src := range files {
		root[name] = &fstest.MapFile{Data: []byte(src)}
	}
	return load(t, root)
}

func expect(t *testing.T, want, got []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestForbiddenIsSeen(t *testing.T) {
	t.Parallel()
	bad := map[string]string{
		"k8s.io/apiserver/pkg/server":                                "k8s.io/apiserver/pkg/server/...",
		"k8s.io/apiserver/pkg/server/options":                        "k8s.io/apiserver/pkg/server/...",
		"k8s.io/apiserver/pkg/endpoints":                             "k8s.io/apiserver/pkg/endpoints",
		"k8s.io/apiserver/pkg/endpoints/handlers":                    "k8s.io/apiserver/pkg/endpoints/handlers/...",
		"k8s.io/apiserver/pkg/endpoints/handlers/negotiation":        "k8s.io/apiserver/pkg/endpoints/handlers/...",
		"k8s.io/apiserver/pkg/storage/cacher":                        "k8s.io/apiserver/pkg/storage/cacher/...",
		"k8s.io/apiserver/pkg/storage/etcd3":                         "k8s.io/apiserver/pkg/storage/etcd3/...",
		"k8s.io/apiserver/pkg/registry/generic/registry":             "k8s.io/apiserver/pkg/registry/generic/registry/...",
		"k8s.io/kubernetes/pkg/registry/core/pod/storage":            "k8s.io/kubernetes/pkg/registry/*/*/storage/...",
		"k8s.io/kubernetes/pkg/registry/apps/deployment/storage/sub": "k8s.io/kubernetes/pkg/registry/*/*/storage/...",
		"k8s.io/kubernetes/pkg/controlplane":                         "k8s.io/kubernetes/pkg/controlplane",
		"k8s.io/kubernetes/pkg/controlplane/apiserver":               "k8s.io/kubernetes/pkg/controlplane/apiserver/...",
		"k8s.io/kubernetes/pkg/kubeapiserver/options":                "k8s.io/kubernetes/pkg/kubeapiserver/options/...",
		"k8s.io/apiextensions-apiserver/pkg/apiserver":               "k8s.io/apiextensions-apiserver/pkg/apiserver",
		"k8s.io/kube-aggregator/pkg/apiserver":                       "k8s.io/kube-aggregator/pkg/apiserver",
	}
	reasons := map[string]string{}
	for _, rule := range ForbiddenImports() {
		reasons[rule.Import] = rule.Reason
		if rule.Reason == "" {
			t.Errorf("the rule for %s has no reason", rule.Import)
		}
	}
	for imported, rule := range bad {
		if reasons[rule] == "" {
			t.Errorf("there is no rule %s", rule)
		}
		tr := tree(t, map[string]string{"a/a.go": "package a\n\nimport x \"" + imported + "\"\n"})
		expect(t, []string{"a/a.go imports " + imported + ": " + reasons[rule]}, tr.CheckForbidden(ForbiddenImports(), nil))
	}

	good := `package a
import (
	_ "k8s.io/apiserver/pkg/endpoints/request"
	_ "k8s.io/apiserver/pkg/serverless"
	_ "k8s.io/apiserver/pkg/registry/rest"
	_ "k8s.io/apiserver/pkg/storage"
	_ "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	_ "k8s.io/kubernetes/pkg/registry/core/pod"
	_ "k8s.io/kubernetes/pkg/registry/storage/storageclass"
)`
	expect(t, nil, tree(t, map[string]string{"a/a.go": good}).CheckForbidden(ForbiddenImports(), nil))
}

func TestForbiddenLooksAtTheRightFiles(t *testing.T) {
	t.Parallel()
	const src = "package a\nimport _ \"bad\"\n"
	tr := tree(t, map[string]string{
		"a/a.go":               src,
		"a/plan9.go":           "//go:build plan9\n\n" + src,
		"a/ignored.go":         "// Text first.\n\n//go:build ignore && never\n\n" + src,
		"a/pinned.go":          "//go:build pins\n\n" + src,
		"a/not_pinned.go":      src + "//go:build pins\n",
		"a/a_test.go":          src,
		"a/testdata/a.go":      src,
		"_old/a.go":            src,
		".git/a.go":            src,
		"vendor/x/a.go":        src,
		"tools/go.mod":         "module tools\n",
		"tools/cmd/a.go":       src,
		"b/sub/testdata.go":    src,
		"b/text.md":            src,
		"cmd/x/not_a_go_fi.le": src,
	})
	rules := []Forbidden{{"bad", "because"}}
	expect(t, []string{
		"a/a.go imports bad: because",
		"a/ignored.go imports bad: because",
		"a/not_pinned.go imports bad: because",
		"a/plan9.go imports bad: because",
		"b/sub/testdata.go imports bad: because",
	}, tr.CheckForbidden(rules, nil))
}

func TestExceptions(t *testing.T) {
	t.Parallel()
	const src = "package a\nimport _ \"bad\"\n"
	tr := tree(t, map[string]string{"a/a.go": src, "b/b.go": src, "c/c.go": src})
	expect(t, []string{
		"c/c.go imports bad: because",
		"the exception for bad in b has no reason",
		"the exception for other in a is not needed: remove it",
	}, tr.CheckForbidden([]Forbidden{{"bad", "because"}}, []Exception{
		{"a", "bad", "it has to"}, {"b", "bad", ""}, {"a", "other", "it had to"},
	}))
}

func TestLayersAreSeen(t *testing.T) {
	t.Parallel()
	tr := tree(t, map[string]string{
		"internal/state/state.go":          "package state\nimport (\n_ \"m/internal/store\"\n_ \"m/internal/util\"\n_ \"net/url\"\n)",
		"internal/store/store.go":          "package store\nimport _ \"context\"",
		"internal/store/etcd/etcd.go":      "package etcd\nimport (\n_ \"m/internal/store\"\n_ \"m/internal/kind/builtin\"\n)",
		"internal/store/etcd/other.go":     "package etcd\nimport _ \"m/internal/kind/builtin\"",
		"internal/store/etcd/etcd_test.go": "package etcd\nimport _ \"m/internal/server\"",
		"internal/util/util.go":            "package util\nimport _ \"net/http/httptrace\"",
		"internal/kind/builtin/b.go":       "package builtin",
		"internal/verb/get.go":             "package verb\nimport (\n_ \"crypto/tls\"\n_ \"net/http\"\n_ \"m/internal/state\"\n)",
		"internal/verb/watch.go":           "package verb\nimport _ \"m/internal/authn/x509\"",
		"internal/request/request.go":      "package request\nimport (\n_ \"net/http\"\n_ \"m/internal/request/part\"\n_ \"m/internal/util\"\n)",
		"internal/request/part/part.go":    "package part",
		"internal/statement/statement.go":  "package statement\nimport _ \"net/http\"",
		"internal/bootstrap/bootstrap.go":  "package bootstrap\nimport _ \"m/internal/store\"",
	})
	got := tr.CheckLayers(Layers())
	reasons := map[string]string{}
	for _, layer := range Layers() {
		if reasons[layer.Dirs] = layer.Reason; layer.Reason == "" {
			t.Errorf("the layer %s has no reason", layer.Dirs)
		}
	}
	expect(t, []string{
		"internal/bootstrap imports internal/store: " + reasons["internal/bootstrap/..."],
		"internal/request imports internal/util: " + reasons["internal/request/..."],
		"internal/state imports internal/util, which imports net/http/httptrace: " + reasons["internal/state/..."],
		"internal/store/etcd imports internal/kind/builtin: " + reasons["internal/store/..."],
		"internal/verb imports crypto/tls: " + reasons["internal/verb/..."],
		"internal/verb imports internal/authn/x509: " + reasons["internal/verb/..."],
	}, got)
}

func TestCommentsAreSeen(t *testing.T) {
	t.Parallel()
	tr := tree(t, map[string]string{
		"good/good.go":       "// Package good does one thing well.\npackage good",
		"good/more.go":       "package good",
		"doc/doc.go":         "// Package doc does one thing well. It does\n// so always.\n//\n// # More\npackage doc",
		"doc/doc_test.go":    "// A comment in a test is none.\npackage doc",
		"cmd/x/main.go":      "// Command x does one thing well.\npackage main",
		"tagged/tagged.go":   "//go:build pins\n\n// Package tagged does one thing well.\npackage tagged",
		"none/none.go":       "package none",
		"detached/doc.go":    "// Package detached has a comment that is not one.\n\npackage detached",
		"twice/doc.go":       "// Package twice does one thing well.\npackage twice",
		"twice/twice.go":     "// Package twice does one thing well.\npackage twice",
		"hidden/other.go":    "// Package hidden does one thing well.\npackage hidden",
		"short/short.go":     "// Package short does.\npackage short",
		"open/open.go":       "// Package open does one thing well\npackage open",
		"wrong/wrong.go":     "// Package right does one thing well.\npackage wrong",
		"nocomment/x.go":     "//go:build linux\n\npackage nocomment",
		"onlytest/x_test.go": "package onlytest",
	})
	expect(t, []string{
		"detached: the package has no package comment",
		"hidden: the package comment is in other.go and belongs into doc.go or hidden.go",
		"nocomment: the package has no package comment",
		"none: the package has no package comment",
		`open: the package comment does not begin with a sentence: "Package open does one thing well"`,
		`short: the package comment does not begin with a sentence: "Package short does."`,
		"twice: the package comment is in more than one file: twice/doc.go, twice/twice.go",
		`wrong: the package comment does not begin with "Package wrong "`,
	}, tr.CheckComments())
}

func TestPinsAreSeen(t *testing.T) {
	t.Parallel()
	upstream := []byte(`module k8s.io/kubernetes

require k8s.io/new v0.0.0
require (
	github.com/JeffAshton/win_pdh v0.0.0-20161109143554-76bb4ee9f0ab
	k8s.io/api v0.0.0
	k8s.io/kms v0.0.0 // indirect
	k8s.io/klog/v2 v2.140.0
	k8s.io/old v0.0.0
	k8s.io/utils v0.0.0-20260626114624-be93311217bd
)

replace k8s.io/api => ./staging/src/k8s.io/api
`)
	ours := []byte("module m\nrequire (\n\tk8s.io/api v0.38.1\n\tk8s.io/kms v0.38.1 // indirect\n\tk8s.io/old v0.37.2\n)\n")
	tr := tree(t, map[string]string{
		"internal/pins/pins.go": "//go:build pins\n\npackage pins\nimport (\n_ \"k8s.io/api/core/v1\"\n_ \"k8s.io/old\"\n_ \"k8s.io/kmsx/v1\"\n)",
		"a/a.go":                "package a\nimport (\n_ \"k8s.io/kms/v1\"\n_ \"k8s.io/new\"\n)",
	})
	const dropped = "add one to internal/pins/pins.go, or go mod tidy drops the module"
	expect(t, []string{
		`go.mod requires k8s.io/new at "", and v1.38.1 of Kubernetes needs v0.38.1: go get k8s.io/new@v0.38.1`,
		"no file under the build tag pins imports a package of k8s.io/new: " + dropped,
		"no file under the build tag pins imports a package of k8s.io/kms: " + dropped,
		`go.mod requires k8s.io/old at "v0.37.2", and v1.38.1 of Kubernetes needs v0.38.1: go get k8s.io/old@v0.38.1`,
	}, tr.CheckPins(upstream, ours, "v1.38.1"))

	if got := tr.CheckPins([]byte("module k8s.io/kubernetes\n"), ours, "v1.38.1"); len(got) != 1 {
		t.Errorf("a go.mod without staging modules passed: %v", got)
	}
}

func TestBadTreesAreErrors(t *testing.T) {
	t.Parallel()
	gomod := &fstest.MapFile{Data: []byte("module m\n")}
	for name, root := range map[string]fstest.MapFS{
		"no go.mod":     {"a.go": {Data: []byte("package a")}},
		"no module":     {"go.mod": {Data: []byte("go 1.26\n")}},
		"not Go at all": {"go.mod": gomod, "a.go": {Data: []byte("hello")}},
	} {
		if _, err := Load(root); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
