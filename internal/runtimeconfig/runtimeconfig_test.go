package runtimeconfig_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/extensions/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"

	"github.com/kayak-k8s/kayak/internal/runtimeconfig"
)

// parse reads "a=b,c", as the flag does.
func parse(flag string, betas bool) (*runtimeconfig.Config, error) {
	values := map[string]string{}
	for pair := range strings.SplitSeq(flag, ",") {
		if key, value, _ := strings.Cut(pair, "="); key != "" {
			values[key] = value
		}
	}
	return runtimeconfig.Parse(values, betas, legacyscheme.Scheme)
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for flag, want := range map[string]string{
		"api/all=false":                       "invalid runtime-config with only api/all=false",
		"api/all=maybe":                       "invalid value api/all=maybe",
		"foo/v1=true":                         "unknown api groups foo/v1",
		"foo/v1,bar/v2=false":                 "unknown api groups bar/v2,foo/v1",
		"batch/v1alpha1,batch/v2alpha1=false": "group version batch/v1alpha1 that has not been registered",
		"networking.k8s.io/v1/Ingress=false": `invalid key networking.k8s.io/v1/Ingress: group/version/resource and resource is ` +
			`always lowercase plural, not "Ingress"`,
		"apps/v1=maybe": `invalid value of apps/v1: maybe, err: strconv.ParseBool: parsing "maybe": invalid syntax`,
		"apps":          "runtime-config invalid key apps",
		"a/b/c/d=true":  "runtime-config invalid key a/b/c/d",
	} {
		if _, err := parse(flag, false); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", flag, err, want)
		}
	}
}

func TestEnabled(t *testing.T) {
	t.Parallel()
	const (
		pods        = "/v1/pods"
		deployments = "apps/v1/deployments"
		beta        = "networking.k8s.io/v1beta1/x"
		alpha       = "resource.k8s.io/v1alpha3/x"
		ingresses   = "networking.k8s.io/v1/ingresses"
	)
	all := []string{pods, deployments, beta, alpha, ingresses}
	for _, test := range []struct {
		flag  string
		betas bool
		on    string
	}{
		{"", false, "/v1/pods apps/v1/deployments networking.k8s.io/v1/ingresses"},
		{"", true, "/v1/pods apps/v1/deployments networking.k8s.io/v1beta1/x networking.k8s.io/v1/ingresses"},
		{"api/beta=false", true, "/v1/pods apps/v1/deployments networking.k8s.io/v1/ingresses"},
		{"api/all=true", false, strings.Join(all, " ")},
		{"api/all=true,api/alpha=false", false, "/v1/pods apps/v1/deployments networking.k8s.io/v1beta1/x networking.k8s.io/v1/ingresses"},
		{"api/all=false,api/v1=true", true, "/v1/pods"},
		{"api/all=false,v1", true, "/v1/pods"},
		{"api/ga=false,apps/v1", false, "apps/v1/deployments"},
		{"networking.k8s.io/v1/ingresses=false", false, "/v1/pods apps/v1/deployments"},
		{"apps/v1=false,apps/v1/deployments=true", false, "/v1/pods apps/v1/deployments networking.k8s.io/v1/ingresses"},
		{"v1/pods=false", false, "apps/v1/deployments networking.k8s.io/v1/ingresses"},
		// Exists, and is not served by any release: nothing to switch off.
		{"extensions/v1beta1/ingresses=false,batch/v1beta1=true,api/legacy=false", false,
			"/v1/pods apps/v1/deployments networking.k8s.io/v1/ingresses"},
	} {
		config, err := parse(test.flag, test.betas)
		if err != nil {
			t.Errorf("%s: %v", test.flag, err)
			continue
		}
		var on []string
		for _, name := range all {
			parts := strings.Split(name, "/")
			if config.Enabled(schema.GroupVersionResource{Group: parts[0], Version: parts[1], Resource: parts[2]}) {
				on = append(on, name)
			}
		}
		if got := strings.Join(on, " "); got != test.on {
			t.Errorf("%q, betas %v: on are\n%s, want\n%s", test.flag, test.betas, got, test.on)
		}
	}
}
