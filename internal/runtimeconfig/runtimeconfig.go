// Package runtimeconfig decides which APIs are served: the --runtime-config flag of kube-apiserver.
//
// The flag is a set of key=value pairs. They count in this order, the later ones over the earlier ones:
//
//	api/all, api/ga, api/beta, api/alpha=true|false   every version; those like v1, v1beta1, v1alpha1
//	apps/v1=true|false                                one version of a group; v1, /v1 or api/v1 is the core group's
//	apps/v1/deployments=true|false                    one resource in one version, with its subresources
//
// What no key names is on if it is stable, off if it is alpha, and for betas the caller says. The rules and the texts of errors
// are upstream's (k8s.io/apiserver/pkg/server/resourceconfig/helpers.go and options/api_enablement.go), but for one: a server
// that serves next to nothing (api/all=false,api/v1=true) works, where kube-apiserver's own clients keep it from starting.
package runtimeconfig

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Config is what is on. It is immutable.
type Config struct {
	betas     bool
	matching  []matcher // the later ones first
	versions  map[schema.GroupVersion]bool
	resources map[schema.GroupVersionResource]bool
}

type matcher struct {
	key     string
	pattern *regexp.Regexp
	enabled bool
}

// matchers in the order in which they count.
func matchers() []matcher {
	return []matcher{
		{key: "api/all", pattern: regexp.MustCompile(``)},
		{key: "api/ga", pattern: regexp.MustCompile(`^v\d+$`)},
		{key: "api/beta", pattern: regexp.MustCompile(`^v\d+beta\d+$`)},
		{key: "api/alpha", pattern: regexp.MustCompile(`^v\d+alpha\d+$`)},
	}
}

// Parse checks the pairs of the flag; an empty value is true. betas says whether beta versions are on by default. registries
// say which groups and versions exist at all, served or not; so they say what there is to be switched: a key for something that exists, but is served in no release any more, has no effect.
func Parse(values map[string]string, betas bool, registries ...*runtime.Scheme) (*Config, error) {
	if len(values) == 1 && values["api/all"] == "false" {
		return nil, errors.New("invalid runtime-config with only api/all=false")
	}
	c := &Config{betas: betas, versions: map[schema.GroupVersion]bool{}, resources: map[schema.GroupVersionResource]bool{}}
	values = coreGroup(values)
	for _, m := range matchers() {
		value, ok := values[m.key]
		if !ok {
			continue
		}
		delete(values, m.key)
		if value != "true" && value != "false" {
			return nil, fmt.Errorf("invalid value %v=%v", m.key, value)
		}
		m.enabled = value == "true"
		c.matching = slices.Insert(c.matching, 0, m)
	}
	if err := checkGroups(values, registries); err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if err := c.set(key, values[key], registries); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// coreGroup copies the pairs, with the other names of the core group's version replaced by the one that parses. (Upstream takes
// v1/pods=false for the whole version, which is hardly what anybody means.)
func coreGroup(values map[string]string) map[string]string {
	result := map[string]string{}
	for key, value := range values {
		if short := strings.TrimPrefix(key, "api/"); short == "v1" || strings.HasPrefix(short, "v1/") {
			key = "/" + short
		}
		if key != "api/legacy" { // deprecated, and without effect for long
			result[key] = value
		}
	}
	return result
}

// checkGroups finds keys that are none, and groups that do not exist.
func checkGroups(values map[string]string, registries []*runtime.Scheme) error {
	var unknown []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		gv, _, err := splitKey(key)
		if err != nil {
			return err
		}
		if registryOf(gv.Group, registries) == nil && !slices.Contains(unknown, gv.String()) {
			unknown = append(unknown, gv.String())
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fmt.Errorf("unknown api groups %s", strings.Join(unknown, ","))
	}
	return nil
}

func splitKey(key string) (gv schema.GroupVersion, resource string, err error) {
	tokens := strings.Split(key, "/")
	if len(tokens) != 2 && len(tokens) != 3 {
		return gv, "", fmt.Errorf("runtime-config invalid key %s", key)
	}
	if len(tokens) == 3 {
		resource = tokens[2]
	}
	return schema.GroupVersion{Group: tokens[0], Version: tokens[1]}, resource, nil
}

func registryOf(group string, registries []*runtime.Scheme) *runtime.Scheme {
	for _, registry := range registries {
		if registry.IsGroupRegistered(group) {
			return registry
		}
	}
	return nil
}

func (c *Config) set(key, value string, registries []*runtime.Scheme) error {
	gv, resource, err := splitKey(key)
	if err != nil {
		return err
	}
	if !registryOf(gv.Group, registries).IsVersionRegistered(gv) {
		return fmt.Errorf("group version %s that has not been registered", gv)
	}
	enabled := true
	if value != "" {
		if enabled, err = strconv.ParseBool(value); err != nil {
			return fmt.Errorf("invalid value of %s: %s, err: %v", key, value, err)
		}
	}
	switch {
	case resource == "" && strings.Count(key, "/") == 1:
		c.versions[gv] = enabled
	case strings.ToLower(resource) != resource:
		return fmt.Errorf("invalid key %v: group/version/resource and resource is always lowercase plural, not %q", key, resource)
	default:
		c.resources[gv.WithResource(resource)] = enabled
	}
	return nil
}

// Enabled reports whether a resource is served in a version.
func (c *Config) Enabled(gvr schema.GroupVersionResource) bool {
	if enabled, ok := c.resources[gvr]; ok {
		return enabled
	}
	if enabled, ok := c.versions[gvr.GroupVersion()]; ok {
		return enabled
	}
	for _, m := range c.matching {
		if m.pattern.MatchString(gvr.Version) {
			return m.enabled
		}
	}
	switch {
	case strings.Contains(gvr.Version, "alpha"):
		return false
	case strings.Contains(gvr.Version, "beta"):
		return c.betas
	}
	return true
}
