package main

import (
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/kubernetes/plugin/pkg/admission/defaulttolerationseconds"

	"github.com/kayak-k8s/kayak"
)

// addAdmissionFlags adds kube-apiserver's flags of admission.
func addAdmissionFlags(flags *pflag.FlagSet, c *kayak.AdmissionConfig) {
	all, defaults := kayak.AdmissionPlugins()
	lists := "(" + strings.Join(defaults, ", ") + "). Comma-delimited list of admission plugins: " + strings.Join(all, ", ") +
		". The order of plugins in this flag does not matter."
	flags.StringSliceVar(&c.Enable, "enable-admission-plugins", nil,
		"admission plugins that should be enabled in addition to default enabled ones "+lists)
	flags.StringSliceVar(&c.Disable, "disable-admission-plugins", nil,
		"admission plugins that should be disabled although they are in the default enabled plugins list "+lists)
	flags.StringVar(&c.ConfigFile, "admission-control-config-file", "", "File with admission control configuration.")
	flags.StringSliceVar(&c.Only, "admission-control", nil, "Admission is divided into two phases. In the first phase, only mutating "+
		"admission plugins run. In the second phase, only validating admission plugins run. The names in the below list may represent "+
		"a validating plugin, a mutating plugin, or both. The order of plugins in which they are passed to this flag does not matter. "+
		"Comma-delimited list of: "+strings.Join(all, ", ")+".")
	_ = flags.MarkDeprecated("admission-control", // it is there: it was added above
		"Use --enable-admission-plugins or --disable-admission-plugins instead. Will be removed in a future version.")
	flags.Lookup("admission-control").Hidden = false
	defaulttolerationseconds.RegisterFlags(flags)
}
