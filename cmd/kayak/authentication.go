package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/kayak-k8s/kayak"
)

// addAuthenticationFlags adds the flags of authentication: kube-apiserver's, and --basic-auth-file, which it had until 1.18.
func addAuthenticationFlags(flags *pflag.FlagSet, c *kayak.AuthenticationConfig) {
	flags.VarPF(optionalBool{&c.Anonymous}, "anonymous-auth", "", "Enables anonymous requests to the secure port of the API server. "+
		"Requests that are not rejected by another authentication method are treated as anonymous requests. "+
		"Anonymous requests have a username of system:anonymous, and a group name of system:unauthenticated. "+
		"(default true)").NoOptDefVal = "true"
	flags.StringVar(&c.ConfigFile, "authentication-config", "", "File with Authentication Configuration to configure the JWT Token "+
		"authenticator or the anonymous authenticator. This flag is mutually exclusive with the --oidc-* flags if the file configures "+
		"the JWT Token authenticator. This flag is mutually exclusive with --anonymous-auth if the file configures the Anonymous "+
		"authenticator.")
	flags.StringSliceVar(&c.Audiences, "api-audiences", nil, "Identifiers of the API. The service account token authenticator will "+
		"validate that tokens used against the API are bound to at least one of these audiences. If the --service-account-issuer flag "+
		"is configured and this flag is not, this field defaults to a single element list containing the issuer URL.")
	flags.StringVar(&c.ClientCAFile, "client-ca-file", "", "If set, any request presenting a client certificate signed by one of the "+
		"authorities in the client-ca-file is authenticated with an identity corresponding to the CommonName of the client certificate. "+
		"The authority in the data directory is trusted as well.")
	flags.StringVar(&c.TokenFile, "token-auth-file", "", "If set, the file that will be used to secure the secure port of the API "+
		"server via token authentication.")
	flags.StringVar(&c.BasicFile, "basic-auth-file", "", "If set, a file of lines password,user,uid,\"group1,group2\" of users who may "+
		"authenticate by HTTP basic authentication. A password may be a bcrypt hash. Prefer anything else.")
	flags.BoolVar(&c.BootstrapTokens, "enable-bootstrap-token-auth", false, "Enable to allow secrets of type "+
		"'bootstrap.kubernetes.io/token' in the 'kube-system' namespace to be used for TLS bootstrapping authentication.")
	addServiceAccountFlags(flags, &c.ServiceAccounts)
	addOIDCFlags(flags, &c.OIDC)
	addFrontProxyFlags(flags, &c.FrontProxy)
	flags.StringVar(&c.Webhook.ConfigFile, "authentication-token-webhook-config-file", "", "File with webhook configuration for token "+
		"authentication in kubeconfig format. The API server will query the remote service to determine authentication for bearer tokens.")
	flags.StringVar(&c.Webhook.Version, "authentication-token-webhook-version", "v1beta1", "The API version of the "+
		"authentication.k8s.io TokenReview to send to and expect from the webhook.")
	flags.DurationVar(&c.Webhook.CacheTTL, "authentication-token-webhook-cache-ttl", defaultWebhookTTL, "The duration to cache "+
		"responses from the webhook token authenticator.")
}

// defaultWebhookTTL is upstream's.
const defaultWebhookTTL = 2 * time.Minute

func addServiceAccountFlags(flags *pflag.FlagSet, c *kayak.ServiceAccountsConfig) {
	flags.StringArrayVar(&c.Issuers, "service-account-issuer", nil, "Identifier of the service account token issuer. The issuer will "+
		"assert this identifier in \"iss\" claim of issued tokens. When this flag is specified multiple times, the first is used to "+
		"generate tokens and all are used to determine which issuers are accepted. "+
		"(default https://kubernetes.default.svc.cluster.local)")
	flags.StringArrayVar(&c.KeyFiles, "service-account-key-file", nil, "File containing PEM-encoded x509 RSA or ECDSA private or public "+
		"keys, used to verify ServiceAccount tokens. The specified file can contain multiple keys, and the flag can be specified "+
		"multiple times with different files. If unspecified, the key that signs is used.")
	flags.StringVar(&c.SigningKeyFile, "service-account-signing-key-file", "", "Path to the file that contains the current private key "+
		"of the service account token issuer. The issuer will sign issued ID tokens with this private key. If unspecified, it is the "+
		"one in the data directory.")
	flags.StringVar(&c.JWKSURI, "service-account-jwks-uri", "", "Overrides the URI for the JSON Web Key Set in the discovery doc served "+
		"at /.well-known/openid-configuration.")
	flags.VarPF((*inverted)(&c.NoLookup), "service-account-lookup", "", "If true, validate ServiceAccount tokens exist in etcd as part "+
		"of authentication.").NoOptDefVal = "true"
	flags.DurationVar(&c.MaxExpiration, "service-account-max-token-expiration", 0, "The maximum validity duration of a token created by "+
		"the service account token issuer. If an otherwise valid TokenRequest with a validity duration larger than this value is "+
		"requested, a token will be issued with a validity duration of this value.")
	flags.VarPF((*inverted)(&c.NoExtendedExpiration), "service-account-extend-token-expiration", "", "Turns on projected service account "+
		"expiration extension during token generation, which helps safe transition from legacy token to bound service account token "+
		"feature. If this flag is enabled, admission injected tokens would be extended up to 1 year to prevent unexpected failure "+
		"during transition, ignoring value of service-account-max-token-expiration.").NoOptDefVal = "true"
}

func addOIDCFlags(flags *pflag.FlagSet, c *kayak.OIDCConfig) {
	flags.StringVar(&c.IssuerURL, "oidc-issuer-url", "", "The URL of the OpenID issuer, only HTTPS scheme will be accepted. If set, it "+
		"will be used to verify the OIDC JSON Web Token (JWT).")
	flags.StringVar(&c.ClientID, "oidc-client-id", "", "The client ID for the OpenID Connect client, must be set if oidc-issuer-url is set.")
	flags.StringVar(&c.CAFile, "oidc-ca-file", "", "If set, the OpenID server's certificate will be verified by one of the authorities in "+
		"the oidc-ca-file, otherwise the host's root CA set will be used.")
	flags.StringVar(&c.UsernameClaim, "oidc-username-claim", "sub", "The OpenID claim to use as the user name.")
	flags.StringVar(&c.UsernamePrefix, "oidc-username-prefix", "", "If provided, all usernames will be prefixed with this value. If not "+
		"provided, username claims other than 'email' are prefixed by the issuer URL to avoid clashes. To skip any prefixing, provide "+
		"the value '-'.")
	flags.StringVar(&c.GroupsClaim, "oidc-groups-claim", "", "If provided, the name of a custom OpenID Connect claim for specifying user "+
		"groups. The claim value is expected to be a string or array of strings.")
	flags.StringVar(&c.GroupsPrefix, "oidc-groups-prefix", "", "If provided, all groups will be prefixed with this value to prevent "+
		"conflicts with other authentication strategies.")
	flags.StringSliceVar(&c.SigningAlgs, "oidc-signing-algs", []string{"RS256"}, "Comma-separated list of allowed JOSE asymmetric signing "+
		"algorithms. JWTs with a supported 'alg' header values are: RS256, RS384, RS512, ES256, ES384, ES512, PS256, PS384, PS512.")
	flags.Var(cliflag.NewMapStringStringNoSplit(&c.RequiredClaims), "oidc-required-claim", "A key=value pair that describes a required "+
		"claim in the ID Token. If set, the claim is verified to be present in the ID Token with a matching value. Repeat this flag to "+
		"specify multiple claims.")
	flags.VisitAll(func(flag *pflag.Flag) {
		if strings.HasPrefix(flag.Name, "oidc-") {
			flag.Value = cliflag.NewTracker(flag.Value, &c.Set)
		}
	})
}

func addFrontProxyFlags(flags *pflag.FlagSet, c *kayak.FrontProxyConfig) {
	flags.StringVar(&c.CAFile, "requestheader-client-ca-file", "", "Root certificate bundle to use to verify client certificates on "+
		"incoming requests before trusting usernames in headers specified by --requestheader-username-headers. WARNING: generally do "+
		"not depend on authorization being already done for incoming requests.")
	flags.StringSliceVar(&c.AllowedNames, "requestheader-allowed-names", nil, "List of client certificate common names to allow to "+
		"provide usernames in headers specified by --requestheader-username-headers. If empty, any client certificate validated by the "+
		"authorities in --requestheader-client-ca-file is allowed.")
	flags.StringSliceVar(&c.UsernameHeaders, "requestheader-username-headers", nil, "List of request headers to inspect for usernames. "+
		"X-Remote-User is common.")
	flags.StringSliceVar(&c.UIDHeaders, "requestheader-uid-headers", nil, "List of request headers to inspect for UIDs. X-Remote-Uid is "+
		"suggested.")
	flags.StringSliceVar(&c.GroupHeaders, "requestheader-group-headers", nil, "List of request headers to inspect for groups. "+
		"X-Remote-Group is suggested.")
	flags.StringSliceVar(&c.ExtraHeaderPrefixes, "requestheader-extra-headers-prefix", nil, "List of request header prefixes to inspect. "+
		"X-Remote-Extra- is suggested.")
}

// optionalBool is a flag that knows whether it was given.
type optionalBool struct{ value **bool }

func (b optionalBool) Type() string     { return "bool" }
func (b optionalBool) IsBoolFlag() bool { return true }

func (b optionalBool) String() string {
	if b.value == nil || *b.value == nil {
		return ""
	}
	return strconv.FormatBool(**b.value)
}

func (b optionalBool) Set(text string) error {
	value, err := strconv.ParseBool(text)
	*b.value = &value
	return err
}

// inverted is a flag that is true by default, for a field that says the opposite.
type inverted bool

func (i *inverted) Type() string     { return "bool" }
func (i *inverted) IsBoolFlag() bool { return true }
func (i *inverted) String() string   { return strconv.FormatBool(!bool(*i)) }

func (i *inverted) Set(text string) error {
	value, err := strconv.ParseBool(text)
	*i = inverted(!value)
	return err
}
