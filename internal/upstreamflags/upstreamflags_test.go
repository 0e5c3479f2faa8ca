package upstreamflags

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
)

func TestAll(t *testing.T) {
	t.Parallel()
	all := All()
	if len(all) < 170 {
		t.Fatalf("there are only %d flags", len(all))
	}
	seen := map[string]bool{}
	for _, f := range all {
		if f.Section == "" || f.Type == "" || seen[f.Name] {
			t.Errorf("%+v has no section, no type, or is there twice", f)
		}
		seen[f.Name] = true
	}
	if seen["insecure-port"] {
		t.Error("kube-apiserver has no --insecure-port, and programs look for that")
	}
}

func TestRest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args  string
		given string
		err   string
	}{
		{args: ""},
		{args: "--tracing-config-file=/a --contention-profiling", given: "contention-profiling tracing-config-file"},
		{args: "--contention-profiling=false --allow-privileged=true --storage-backend=etcd3 --goaway-chance=0"}, // is so
		{args: "--tls-sni-cert-key= --watch-cache-sizes="},
		{args: "--tracing_config_file=/a", given: "tracing-config-file"},
		{args: "--default-watch-cache-size=a", err: `invalid argument "a" for "--default-watch-cache-size" flag`},
		{args: "--livez-grace-period 1", err: `invalid argument "1"`},
		{args: "--no-such-flag", err: "unknown flag: --no-such-flag"},
		{args: "--insecure-port=0", err: "unknown flag: --insecure-port"},
	} {
		set := pflag.NewFlagSet("", pflag.ContinueOnError)
		set.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
		set.Int("secure-port", 0, "")
		rest := AddRest(set)
		err := set.Parse(strings.Fields(test.args))
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: error %v, want one with %q", test.args, err, test.err)
			}
			continue
		}
		if given := strings.Join(rest.Given(), " "); err != nil || given != test.given {
			t.Errorf("%s: error %v, without effect %q, want %q", test.args, err, given, test.given)
		}
	}
}

func TestSections(t *testing.T) {
	t.Parallel()
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	set.Int("secure-port", 6443, "The port.")
	set.String("data-dir", "", "The directory.")
	AddRest(set)
	var help bytes.Buffer
	cliflag.PrintSections(&help, Sections(set, "kayak"), 0)
	order := -1
	for _, want := range []string{"Kayak flags:", "--data-dir", "Generic flags:", "--goaway-chance", "Secure serving flags:", "--secure-port", "Misc flags:"} {
		at := strings.Index(help.String(), want)
		if at <= order {
			t.Errorf("%q is not where it belongs in:\n%s", want, help.String())
		}
		order = at
	}
	if strings.Contains(help.String(), "--kubelet-read-only-port") {
		t.Error("a deprecated flag is shown")
	}
}
