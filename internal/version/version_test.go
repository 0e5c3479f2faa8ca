package version

import (
	"fmt"
	"os"
	"regexp"
	"runtime/debug"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/version"
	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/component-base/compatibility"
)

// The kinds come from the k8s.io/kubernetes module, so that is the version to tell clients.
func TestKubernetesIsTheModules(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v\S+)`).FindSubmatch(mod)
	if match == nil {
		t.Fatal("go.mod does not require k8s.io/kubernetes")
	}
	if got := string(match[1]); got != Kubernetes {
		t.Errorf("go.mod requires %s, version.Kubernetes is %s", got, Kubernetes)
	}
}

// Upstream derives major, minor and the compatibility versions from the version of the binary.
func TestInfoAsUpstreamDerivesIt(t *testing.T) {
	t.Parallel()
	want := compatibility.NewEffectiveVersion(version.MustParse(Kubernetes), false, nil, version.MajorMinor(0, 0)).Info()
	got := Info()
	want.GitVersion, want.GitCommit, want.GitTreeState, want.BuildDate = Kubernetes, got.GitCommit, got.GitTreeState, got.BuildDate
	if diff := cmp.Diff(*want, got); diff != "" {
		t.Errorf("version (-upstream +kayak):\n%s", diff)
	}
}

func TestKayak(t *testing.T) {
	t.Parallel()
	for i, c := range []struct {
		info debug.BuildInfo
		want string
	}{
		{debug.BuildInfo{Main: debug.Module{Path: module, Version: "v0.3.0"}}, "v0.3.0"},
		{debug.BuildInfo{Main: debug.Module{Path: module, Version: "(devel)"}}, "devel"},
		{debug.BuildInfo{Main: debug.Module{Path: module}}, "devel"},
		{debug.BuildInfo{
			Main: debug.Module{Path: "example.com/other", Version: "v9.9.9"},
			Deps: []*debug.Module{{Path: "example.com/x", Version: "v7.0.0"}, {Path: module, Version: "v0.4.0"}},
		}, "v0.4.0"},
		{debug.BuildInfo{Main: debug.Module{Path: "example.com/other", Version: "v9.9.9"}}, "devel"},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			if got := moduleVersion(&c.info); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if Kayak() == "" {
		t.Error("this binary has no version")
	}
}

func TestRevision(t *testing.T) {
	t.Parallel()
	var got apiversion.Info
	addRevision(&got, []debug.BuildSetting{
		{Key: "vcs", Value: "git"}, {Key: "vcs.revision", Value: "abc"},
		{Key: "vcs.time", Value: "2026-01-02T03:04:05Z"}, {Key: "vcs.modified", Value: "true"},
	})
	want := apiversion.Info{GitCommit: "abc", BuildDate: "2026-01-02T03:04:05Z", GitTreeState: "dirty"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
