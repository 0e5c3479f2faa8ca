package authn

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	tokencache "k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"
	corelisters "k8s.io/client-go/listers/core/v1"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/kubernetes/plugin/pkg/auth/authenticator/token/bootstrap"
)

// Config says who is believed to be whom. Fields are named after kube-apiserver's flags. The zero value knows the client
// certificates and the service accounts of the server itself.
type Config struct {
	// Anonymous lets requests without credentials pass as system:anonymous; nil is true, and leaves it to ConfigFile.
	Anonymous *bool
	// ClientCAFile has more authorities of client certificates; it is read again when it has changed.
	ClientCAFile string
	// TokenFile has lines "token,user,uid[,"group1,group2"]". It is read once.
	TokenFile string
	// BasicFile has lines "password,user,uid[,"group1,group2"]", of passwords or their bcrypt hashes. It is read once.
	BasicFile string
	// BootstrapTokens accepts the tokens in Secrets of the type bootstrap.kubernetes.io/token in kube-system.
	BootstrapTokens bool
	// ConfigFile is an AuthenticationConfiguration; it is read again when it has changed.
	ConfigFile string
	// Audiences are those of this server; default the issuers of service account tokens.
	Audiences       []string
	OIDC            OIDC
	FrontProxy      FrontProxy
	ServiceAccounts ServiceAccounts
	Webhook         Webhook
}

// Webhook is asked about tokens that nobody else knows.
type Webhook struct {
	// ConfigFile is a kubeconfig that says where it is; without it there is none.
	ConfigFile string
	// Version of TokenReview that it speaks; default v1beta1, as upstream.
	Version string
	// CacheTTL is how long its answers are believed; default 2 minutes, negative for not at all.
	CacheTTL time.Duration
}

// webhookBackoff is upstream's (apiserver/pkg/server/options, DefaultAuthWebhookRetryBackoff).
var webhookBackoff = wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}

// WithDefaults returns the configuration with its defaults.
func (c Config) WithDefaults() Config {
	if len(c.ServiceAccounts.Issuers) == 0 {
		c.ServiceAccounts.Issuers = []string{"https://kubernetes.default.svc.cluster.local"}
	}
	if len(c.Audiences) == 0 {
		c.Audiences = c.ServiceAccounts.Issuers
	}
	if c.Webhook.Version == "" {
		c.Webhook.Version = "v1beta1"
	}
	if c.Webhook.CacheTTL == 0 {
		c.Webhook.CacheTTL = 2 * time.Minute
	}
	return c
}

// Check finds what contradicts itself, without looking at any file.
func (c *Config) Check() error {
	return errors.Join(c.OIDC.check(c.ConfigFile), c.ServiceAccounts.check(), c.FrontProxy.check())
}

// Environment is what the server has for authentication.
type Environment struct {
	// CA is the PEM of the server's own authority, which is always trusted: the administrator's certificate is from it.
	CA []byte
	// ServiceAccountKey signs tokens unless the configuration names another key.
	ServiceAccountKey crypto.Signer
	// Objects are those that tokens of service accounts depend on, Bootstrap the Secrets of kube-system.
	Objects   Objects
	Bootstrap corelisters.SecretNamespaceLister
	// ID tells servers apart in metrics.
	ID     string
	Logger *slog.Logger
}

// New makes the chain and the keys for tokens. What works in the background ends with life. config must have its defaults and
// have passed Check. Errors are those of upstream's start.
func New(life context.Context, config Config, env Environment) (*Chain, *ServiceAccountKeys, error) {
	b := &builder{life: life, config: &config, env: &env}
	keys, err := loadKeys(&config.ServiceAccounts, env.ServiceAccountKey)
	if err != nil {
		return nil, nil, err
	}
	b.keys = keys
	chain := &Chain{Audiences: config.Audiences, Clear: config.FrontProxy.clearHeaders}
	for _, add := range []func(*Chain) error{b.frontProxy, b.basic, b.certificates, b.tokens, b.anonymous} {
		if err := add(chain); err != nil {
			return nil, nil, err
		}
	}
	return chain, keys, nil
}

// builder makes a chain.
type builder struct {
	life   context.Context
	config *Config
	env    *Environment
	keys   *ServiceAccountKeys

	// anonymousConfig is what the configuration file says of it.
	anonymousConfig *apiserver.AnonymousAuthConfig
}

// wrap makes one that knows nothing of audiences speak for those of this server.
func (b *builder) wrap(token authenticator.Token) authenticator.Token {
	return authenticator.WrapAudienceAgnosticToken(b.config.Audiences, token)
}

func (b *builder) frontProxy(chain *Chain) error {
	f := &b.config.FrontProxy
	if f.CAFile == "" {
		return nil
	}
	roots, err := newBundle(f.CAFile, nil, b.env.Logger)
	if err != nil {
		return err
	}
	proxies, err := certutil.CertsFromFile(f.CAFile)
	if err != nil {
		return err
	}
	clients, err := certutil.ParseCertsPEM(b.env.CA)
	if err != nil {
		return err
	}
	if path := b.config.ClientCAFile; path != "" {
		if more, err := certutil.CertsFromFile(path); err == nil {
			clients = append(clients, more...)
		}
	}
	if err := f.checkApart(clients, proxies); err != nil {
		return err
	}
	chain.Plugins = append(chain.Plugins,
		authenticator.WrapAudienceAgnosticRequest(b.config.Audiences, newFrontProxy(*f, roots.pool)))
	return nil
}

func (b *builder) basic(chain *Chain) error {
	if b.config.BasicFile == "" {
		return nil
	}
	basic, err := newBasic(b.config.BasicFile)
	if err != nil {
		return err
	}
	b.env.Logger.Warn("basic authentication is on: passwords are sent with every request and are not changed without a restart; "+
		"prefer client certificates or tokens", "file", b.config.BasicFile)
	chain.Plugins = append(chain.Plugins, basic)
	chain.Challenge = challenge
	return nil
}

func (b *builder) certificates(chain *Chain) error {
	roots, err := newBundle(b.config.ClientCAFile, b.env.CA, b.env.Logger)
	if err != nil {
		return err
	}
	chain.Plugins = append(chain.Plugins, NewCertificates(roots.pool))
	return nil
}

// tokens adds authenticators of tokens, local ones first. OIDC comes behind service accounts: it may ask its issuer for new keys
// when it does not know the one of a token.
func (b *builder) tokens(chain *Chain) error {
	var list []authenticator.Token
	if path := b.config.TokenFile; path != "" {
		file, err := tokenfile.NewCSV(path)
		if err != nil {
			return err
		}
		list = append(list, b.wrap(file))
	}
	accounts, err := newServiceAccounts(&b.config.ServiceAccounts, b.config.Audiences, b.keys.Public, b.env.Objects)
	if err != nil {
		return err
	}
	list = append(list, accounts...)
	if b.config.BootstrapTokens {
		list = append(list, b.wrap(bootstrap.NewTokenAuthenticator(b.env.Bootstrap)))
	}
	others, err := b.jwts()
	if err != nil {
		return err
	}
	if others != nil {
		list = append(list, others)
	}
	if b.config.Webhook.ConfigFile != "" {
		hook, err := b.webhook()
		if err != nil {
			return err
		}
		list = append(list, hook)
	}
	chain.Plugins = append(chain.Plugins, newTokens(b.config.Audiences, list)...)
	return nil
}

// jwts returns what knows the tokens of other issuers, or nil when there are none and no file may ever name one.
func (b *builder) jwts() (authenticator.Token, error) {
	path := b.config.ConfigFile
	j := &jwts{
		issuers: b.config.ServiceAccounts.Issuers, audiences: b.config.Audiences, algs: b.config.OIDC.SigningAlgs,
		id: b.env.ID, log: b.env.Logger,
	}
	var data []byte
	var c *apiserver.AuthenticationConfiguration
	var err error
	if path == "" {
		if c, err = b.config.OIDC.configuration(); err != nil {
			return nil, err
		}
	} else {
		if data, err = os.ReadFile(path); err == nil {
			c, err = readConfiguration(data)
		}
		if err != nil {
			return nil, fmt.Errorf("failed to load authentication configuration from file %q: %w", path, err)
		}
		j.algs = oidc.AllValidSigningAlgorithms()
		if b.anonymousConfig = c.Anonymous; c.Anonymous != nil && b.config.Anonymous != nil {
			return nil, field.Forbidden(field.NewPath("anonymous"),
				"--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file")
		}
	}
	if path == "" && len(c.JWT) == 0 {
		return nil, nil
	}
	if err := j.check(c).ToAggregate(); err != nil {
		return nil, fmt.Errorf("invalid authentication configuration: %w", err)
	}
	set, err := j.make(b.life, c)
	if err != nil {
		return nil, err
	}
	j.current.Store(set)
	if path != "" {
		go j.watch(b.life, path, data, c.Anonymous.DeepCopy())
	}
	return j, nil
}

func (b *builder) webhook() (authenticator.Token, error) {
	w := &b.config.Webhook
	client, err := webhookutil.LoadKubeconfig(w.ConfigFile, nil)
	if err != nil {
		// The parser's words are left out: they can quote the file, and with it a token.
		return nil, fmt.Errorf("cannot load the authentication webhook's configuration %q: it is not a usable kubeconfig", w.ConfigFile)
	}
	hook, err := webhook.New(client, w.Version, b.config.Audiences, webhookBackoff)
	if err != nil {
		return nil, err
	}
	ttl := max(w.CacheTTL, 0)
	return tokencache.New(hook, false, ttl, ttl), nil
}

func (b *builder) anonymous(chain *Chain) error {
	allowed := b.config.Anonymous == nil || *b.config.Anonymous
	var conditions []apiserver.AnonymousAuthCondition
	if c := b.anonymousConfig; c != nil {
		allowed, conditions = c.Enabled, c.Conditions
	}
	if allowed {
		chain.Anonymous = anonymous.NewAuthenticator(conditions)
	}
	return nil
}

// Refuse tells a client that was refused how it could do better.
func (c *Chain) Refuse(header http.Header) {
	if c.Challenge != "" {
		header.Set("WWW-Authenticate", c.Challenge)
	}
}
