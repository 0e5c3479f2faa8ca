package authz

import (
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/apis/apiserver"
	upstream "k8s.io/kubernetes/pkg/kubeapiserver/authorizer"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer/modes"
)

// Config says who may do what; its fields are named after kube-apiserver's flags. The zero value asks the modes Node and RBAC.
type Config struct {
	// Modes are asked one after another: Node, RBAC, Webhook, ABAC, AlwaysAllow, AlwaysDeny. Default: Node, RBAC.
	Modes []string
	// ConfigFile is an AuthorizationConfiguration, in place of Modes and Webhook; it is read again when it has changed.
	ConfigFile string
	// PolicyFile has the policies of the mode ABAC, one JSON document a line. It is read once.
	PolicyFile string
	// Webhook is asked in the mode Webhook.
	Webhook Webhook
	// Set tells that Modes or Webhook were asked for, which contradicts a ConfigFile.
	Set bool
}

// Webhook is asked about requests.
type Webhook struct {
	// ConfigFile is a kubeconfig that says where it is.
	ConfigFile string
	// Version of SubjectAccessReview that it speaks; default v1beta1, as upstream.
	Version string
	// CacheAuthorizedTTL and CacheUnauthorizedTTL are how long its answers are believed; default 5 minutes and 30 seconds,
	// negative for not at all.
	CacheAuthorizedTTL, CacheUnauthorizedTTL time.Duration
}

// WithDefaults returns the configuration with its defaults.
func (c Config) WithDefaults() Config {
	if c.ConfigFile == "" && len(c.Modes) == 0 {
		c.Modes = []string{modes.ModeNode, modes.ModeRBAC}
	}
	if c.Webhook.Version == "" {
		c.Webhook.Version = "v1beta1"
	}
	if c.Webhook.CacheAuthorizedTTL == 0 {
		c.Webhook.CacheAuthorizedTTL = 5 * time.Minute
	}
	if c.Webhook.CacheUnauthorizedTTL == 0 {
		c.Webhook.CacheUnauthorizedTTL = 30 * time.Second
	}
	return c
}

// AlwaysAllows reports whether the modes let everybody do everything. It says nothing of a ConfigFile.
func (c *Config) AlwaysAllows() bool {
	return c.ConfigFile == "" && slices.Contains(c.Modes, modes.ModeAlwaysAllow)
}

// Check finds what contradicts itself, without looking at any file, in upstream's words
// (k8s.io/kubernetes/pkg/kubeapiserver/options/authorization.go).
func (c *Config) Check() error {
	if c.ConfigFile != "" {
		if c.Set {
			return errors.New("--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* " +
				"flags are defined")
		}
		return nil
	}
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, mode := range c.Modes {
		if !modes.IsValidAuthorizationMode(mode) {
			add("authorization-mode %q is not a valid mode", mode)
		}
		if mode == modes.ModeABAC && c.PolicyFile == "" {
			add("authorization-mode ABAC's authorization policy file not passed")
		}
		if mode == modes.ModeWebhook && c.Webhook.ConfigFile == "" {
			add("authorization-mode Webhook's authorization config file not passed")
		}
	}
	if c.PolicyFile != "" && !slices.Contains(c.Modes, modes.ModeABAC) {
		add("cannot specify --authorization-policy-file without mode ABAC")
	}
	if c.Webhook.ConfigFile != "" && !slices.Contains(c.Modes, modes.ModeWebhook) {
		add("cannot specify --authorization-webhook-config-file without mode Webhook")
	}
	if sets.New(c.Modes...).Len() != len(c.Modes) {
		add("authorization-mode %q has mode specified more than once", c.Modes)
	}
	return utilerrors.NewAggregate(errs)
}

// webhookTimeout is upstream's for a webhook of the flags.
const webhookTimeout = 30 * time.Second

// configuration is the file that says the same as the modes.
func (c *Config) configuration() *apiserver.AuthorizationConfiguration {
	configuration := &apiserver.AuthorizationConfiguration{}
	for _, mode := range c.Modes {
		one := apiserver.AuthorizerConfiguration{
			Type: apiserver.AuthorizerType(mode), Name: upstream.GetNameForAuthorizerMode(mode),
		}
		if mode == modes.ModeWebhook {
			one.Name = "default"
			one.Webhook = c.Webhook.configuration()
		}
		configuration.Authorizers = append(configuration.Authorizers, one)
	}
	return configuration
}

func (w *Webhook) configuration() *apiserver.WebhookConfiguration {
	return &apiserver.WebhookConfiguration{
		AuthorizedTTL:             metav1.Duration{Duration: w.CacheAuthorizedTTL},
		CacheAuthorizedRequests:   w.CacheAuthorizedTTL > 0,
		UnauthorizedTTL:           metav1.Duration{Duration: w.CacheUnauthorizedTTL},
		CacheUnauthorizedRequests: w.CacheUnauthorizedTTL > 0,

		Timeout:                    metav1.Duration{Duration: webhookTimeout},
		FailurePolicy:              apiserver.FailurePolicyNoOpinion,
		SubjectAccessReviewVersion: w.Version,
		ConnectionInfo: apiserver.WebhookConnectionInfo{
			Type: apiserver.AuthorizationWebhookConnectionInfoTypeKubeConfigFile, KubeConfigFile: &w.ConfigFile,
		},
	}
}
