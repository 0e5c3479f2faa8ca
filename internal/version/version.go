// Package version is the one place that knows which Kubernetes kayak speaks and which kayak this is.
//
// Clients read the Kubernetes version at /version and derive from it what they may ask for (kubectl warns about a skew of more
// than one minor version), so [Kubernetes] has to be the version of the k8s.io/kubernetes module that the kinds come from. A
// test compares it with go.mod.
package version

import (
	"runtime"
	"runtime/debug"

	"k8s.io/apimachinery/pkg/version"
)

// Kubernetes is the Kubernetes version whose API is served.
const Kubernetes = "v1.37.2"

// Kubernetes' version again, in the parts that /version shows. The oldest version that it is compatible with is, as by default
// upstream (k8s.io/component-base/compatibility), the minor version before.
const (
	major                 = "1"
	minor                 = "37"
	minCompatibilityMinor = "36"
)

const module = "github.com/kayak-k8s/kayak"

// Kayak returns kayak's own version: that of the module the program was built from or with, "devel" for a working copy.
func Kayak() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return moduleVersion(info)
}

func moduleVersion(info *debug.BuildInfo) string {
	found := info.Main.Version
	if info.Main.Path != module {
		found = ""
		for _, dependency := range info.Deps {
			if dependency.Path == module {
				found = dependency.Version
			}
		}
	}
	if found == "" || found == "(devel)" {
		return "devel"
	}
	return found
}

// Info returns what /version answers. The git fields are kayak's own, as far as the go command has recorded them, and the same
// for the life of a binary: upstream's commit is not what this program was built from.
func Info() version.Info {
	result := version.Info{
		Major:                 major,
		Minor:                 minor,
		EmulationMajor:        major,
		EmulationMinor:        minor,
		MinCompatibilityMajor: major,
		MinCompatibilityMinor: minCompatibilityMinor,
		GitVersion:            Kubernetes,
		GitCommit:             "unknown",
		GitTreeState:          "clean",
		BuildDate:             "1970-01-01T00:00:00Z", // upstream's, for a build that does not say
		GoVersion:             runtime.Version(),
		Compiler:              runtime.Compiler,
		Platform:              runtime.GOOS + "/" + runtime.GOARCH,
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Path == module {
		addRevision(&result, info.Settings)
	}
	return result
}

func addRevision(result *version.Info, settings []debug.BuildSetting) {
	for _, setting := range settings {
		switch setting.Key {
		case "vcs.revision":
			result.GitCommit = setting.Value
		case "vcs.time":
			result.BuildDate = setting.Value
		case "vcs.modified":
			if setting.Value == "true" {
				result.GitTreeState = "dirty"
			}
		}
	}
}
