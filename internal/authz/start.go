package authz

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/cel"
	"k8s.io/apiserver/pkg/authorization/union"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authorizer/webhook"
	webhookmetrics "k8s.io/apiserver/plugin/pkg/authorizer/webhook/metrics"
	"k8s.io/kubernetes/pkg/auth/authorizer/abac"
	upstream "k8s.io/kubernetes/pkg/kubeapiserver/authorizer"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer/modes"
)

// webhookBackoff is upstream's (apiserver/pkg/server/options, DefaultAuthWebhookRetryBackoff).
var webhookBackoff = wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}

// Start puts the chain together. config must have its defaults and have passed Check. What works in the background ends with life.
// Errors are those of upstream's start.
func (a *Authorizer) Start(life context.Context, config Config, env Environment) error {
	b := &builder{env: &env, policyFile: config.PolicyFile}
	configuration := config.configuration()
	var data string
	var err error
	if config.ConfigFile != "" {
		if configuration, data, err = upstream.LoadAndValidateFile(config.ConfigFile, b.celCompiler(), nil); err != nil {
			return err
		}
	}
	b.fixed = sets.New[apiserver.AuthorizerType]()
	for _, one := range configuration.Authorizers {
		if one.Type != apiserver.TypeWebhook {
			b.fixed.Insert(one.Type)
		}
	}
	if b.fixed.Has(apiserver.AuthorizerType(modes.ModeABAC)) {
		if b.abac, err = abac.NewFromFile(config.PolicyFile); err != nil {
			return err
		}
	}
	chain, err := b.build(configuration)
	if err != nil {
		return err
	}
	a.current.Store(chain)
	if config.ConfigFile != "" {
		r := &reloader{builder: b, authorizer: a, file: config.ConfigFile, loaded: configuration, read: []byte(data)}
		go r.run(life)
	}
	return nil
}

// builder makes chains.
type builder struct {
	env        *Environment
	policyFile string
	abac       abac.PolicyList
	// fixed are the types, webhooks left out, that were there at the start, and have to be in every further configuration.
	fixed sets.Set[apiserver.AuthorizerType]
	// compiler is made when there is something to compile: it is not cheap.
	compiler cel.Compiler
}

func (b *builder) celCompiler() cel.Compiler {
	if b.compiler == nil {
		b.compiler = cel.NewDefaultCompiler()
	}
	return b.compiler
}

func (b *builder) build(configuration *apiserver.AuthorizationConfiguration) (*chain, error) {
	if len(configuration.Authorizers) == 0 {
		return nil, errors.New("at least one authorization mode must be passed")
	}
	authorizers := []union.NamedAuthorizer{{
		AuthorizerName: "kubernetes.io/system-privileged-group",
		Authorizer:     authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup),
	}}
	var resolvers []authorizer.RuleResolver
	for i := range configuration.Authorizers {
		one := &configuration.Authorizers[i]
		mode, err := b.mode(one)
		if err != nil {
			return nil, err
		}
		authorizers = append(authorizers, union.NamedAuthorizer{AuthorizerName: one.Name, Authorizer: mode})
		resolvers = append(resolvers, mode)
	}
	all, err := union.New(authorizers...)
	if err != nil {
		return nil, err
	}
	return &chain{all, union.NewRuleResolvers(resolvers...)}, nil
}

// mode makes one authorizer.
func (b *builder) mode(one *apiserver.AuthorizerConfiguration) (Mode, error) {
	if one.Type != apiserver.TypeWebhook && !b.fixed.Has(one.Type) {
		return nil, fmt.Errorf("authorizer type %s is not allowed if it was not enabled at initial server startup", one.Type)
	}
	switch string(one.Type) {
	case modes.ModeNode:
		return b.env.Node, nil
	case modes.ModeRBAC:
		return b.env.RBAC, nil
	case modes.ModeABAC:
		return b.abac, nil
	case modes.ModeWebhook:
		return b.webhook(one)
	case modes.ModeAlwaysAllow:
		return authorizerfactory.NewAlwaysAllowAuthorizer(), nil
	case modes.ModeAlwaysDeny:
		return authorizerfactory.NewAlwaysDenyAuthorizer(), nil
	}
	return nil, fmt.Errorf("unknown authorization mode %s specified", one.Type)
}

// metrics are those that upstream has for webhooks: its answers are counted, requests are not.
type metrics struct {
	webhookmetrics.NoopRequestMetrics
	webhookmetrics.WebhookMetrics
	cel.MatcherMetrics
}

func (b *builder) webhook(one *apiserver.AuthorizerConfiguration) (Mode, error) {
	w := one.Webhook
	client, err := webhookutil.LoadKubeconfig(*w.ConnectionInfo.KubeConfigFile, nil)
	if err != nil {
		return nil, err
	}
	if w.Timeout.Duration != 0 {
		client.Timeout = w.Timeout.Duration
	}
	onError := authorizer.DecisionNoOpinion
	switch w.FailurePolicy {
	case apiserver.FailurePolicyNoOpinion:
	case apiserver.FailurePolicyDeny:
		onError = authorizer.DecisionDeny
	default:
		return nil, fmt.Errorf("unknown failurePolicy %q", w.FailurePolicy)
	}
	var allowedFor, refusedFor time.Duration
	if w.CacheAuthorizedRequests {
		allowedFor = w.AuthorizedTTL.Duration
	}
	if w.CacheUnauthorizedRequests {
		refusedFor = w.UnauthorizedTTL.Duration
	}
	counted := metrics{WebhookMetrics: webhookmetrics.NewWebhookMetrics(), MatcherMetrics: cel.NewMatcherMetrics()}
	return webhook.New(client, w.SubjectAccessReviewVersion, allowedFor, refusedFor, webhookBackoff, onError, w.MatchConditions,
		one.Name, counted, b.celCompiler())
}
