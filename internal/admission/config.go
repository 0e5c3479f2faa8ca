package admission

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/admission"
	apiserverapi "k8s.io/apiserver/pkg/apis/apiserver"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	apiserverv1alpha1 "k8s.io/apiserver/pkg/apis/apiserver/v1alpha1"
)

// Config says which plugins are in the chain.
type Config struct {
	// Enable and Disable name plugins to add to the defaults and to take away.
	Enable, Disable []string
	// Only, if it is not nil, names all plugins that are enabled; then Enable and Disable must be empty.
	Only []string
	// ConfigFile has the configuration of plugins, an AdmissionConfiguration; none if empty.
	ConfigFile string
}

// Check refuses names that there are not, in upstream's words (apiserver/pkg/server/options/admission.go).
func (c *Config) Check() error {
	var errs []error
	if c.Only != nil && (c.Enable != nil || c.Disable != nil) {
		errs = append(errs, errors.New("admission-control and enable-admission-plugins/disable-admission-plugins flags are mutually exclusive"))
	}
	names := Names()
	unknown := func(flag string, list []string) {
		for _, name := range list {
			if !slices.Contains(names, name) {
				errs = append(errs, fmt.Errorf("%s plugin %q is unknown", flag, name))
			}
		}
	}
	unknown("admission-control", c.Only)
	unknown("enable-admission-plugins", c.Enable)
	unknown("disable-admission-plugins", c.Disable)
	if both := c.overlap(); len(both) > 0 {
		errs = append(errs, fmt.Errorf("%v in enable-admission-plugins and disable-admission-plugins overlapped", both))
	}
	return utilerrors.NewAggregate(errs)
}

// overlap returns the names that are in both lists, sorted.
func (c *Config) overlap() []string {
	var both []string
	for _, name := range c.Enable {
		if slices.Contains(c.Disable, name) {
			both = append(both, name)
		}
	}
	slices.Sort(both)
	return slices.Compact(both)
}

// Enabled returns the names of the plugins that are enabled, in the order in which they are called.
func (c *Config) Enabled() []string {
	var names []string
	for _, p := range c.enabled() {
		names = append(names, p.name)
	}
	return names
}

func (c *Config) enabled() []known {
	return slices.DeleteFunc(all(), func(p known) bool {
		if c.Only != nil {
			return !slices.Contains(c.Only, p.name)
		}
		return !slices.Contains(c.Enable, p.name) && (!p.on || slices.Contains(c.Disable, p.name))
	})
}

// files reads the configurations of plugins.
func (c *Config) files(names []string) (func(plugin string) (io.Reader, error), error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		apiserverapi.AddToScheme, apiserverv1alpha1.AddToScheme, apiserverv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	provider, err := admission.ReadAdmissionConfiguration(names, c.ConfigFile, scheme)
	if err != nil {
		return nil, fmt.Errorf("failed to read plugin config: %v", err) //nolint:errorlint // upstream's text
	}
	return provider.ConfigFor, nil
}
