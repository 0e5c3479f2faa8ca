package main

import (
	"time"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/kayak-k8s/kayak"
)

// addAuthorizationFlags adds kube-apiserver's flags of authorization.
func addAuthorizationFlags(flags *pflag.FlagSet, c *kayak.AuthorizationConfig) {
	usage := "Ordered list of plug-ins to do authorization on secure port. Comma-delimited list of: " +
		"AlwaysAllow,AlwaysDeny,ABAC,Webhook,RBAC,Node."
	if len(c.Modes) == 0 {
		usage += " (default Node,RBAC if --authorization-config is not used)"
	}
	flags.StringSliceVar(&c.Modes, "authorization-mode", c.Modes, usage)
	w := &c.Webhook
	flags.StringVar(&w.ConfigFile, "authorization-webhook-config-file", "", "File with webhook configuration in kubeconfig format, "+
		"used with --authorization-mode=Webhook. The API server will query the remote service to determine access on the API server's "+
		"secure port.")
	flags.StringVar(&w.Version, "authorization-webhook-version", "v1beta1", "The API version of the authorization.k8s.io "+
		"SubjectAccessReview to send to and expect from the webhook.")
	flags.DurationVar(&w.CacheAuthorizedTTL, "authorization-webhook-cache-authorized-ttl", 5*time.Minute, "The duration to cache "+
		"'authorized' responses from the webhook authorizer.")
	flags.DurationVar(&w.CacheUnauthorizedTTL, "authorization-webhook-cache-unauthorized-ttl", 30*time.Second, "The duration to cache "+
		"'unauthorized' responses from the webhook authorizer.")
	for _, name := range []string{"mode", "webhook-config-file", "webhook-version", "webhook-cache-authorized-ttl",
		"webhook-cache-unauthorized-ttl"} {
		flag := flags.Lookup("authorization-" + name)
		flag.Value = cliflag.NewTracker(flag.Value, &c.Set)
	}
	flags.StringVar(&c.PolicyFile, "authorization-policy-file", "", "File with authorization policy in json line by line format, used "+
		"with --authorization-mode=ABAC, on the secure port.")
	flags.StringVar(&c.ConfigFile, "authorization-config", "", "File with Authorization Configuration to configure the authorizer "+
		"chain. This flag is mutually exclusive with the other --authorization-mode and --authorization-webhook-* flags.")
}
