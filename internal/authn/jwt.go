package authn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/util/filesystem"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
)

// OIDC is one issuer of tokens, as flags describe it (--oidc-*). Without IssuerURL and ClientID there is none.
type OIDC struct {
	IssuerURL, ClientID, CAFile   string
	UsernameClaim, UsernamePrefix string
	GroupsClaim, GroupsPrefix     string
	SigningAlgs                   []string
	RequiredClaims                map[string]string
	// Set tells that any of the flags was given.
	Set bool
}

func (o *OIDC) check(configFile string) error {
	switch {
	case configFile != "" && o.Set:
		return errors.New("authentication-config file and oidc-* flags are mutually exclusive")
	case o.Set && (o.IssuerURL == "" || o.ClientID == ""):
		return errors.New("oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set")
	}
	return nil
}

// configuration is what the flags mean in the terms of the file (kubernetes/pkg/kubeapiserver/options/authentication.go).
func (o *OIDC) configuration() (*apiserver.AuthenticationConfiguration, error) {
	c := &apiserver.AuthenticationConfiguration{}
	if o.IssuerURL == "" {
		return c, nil
	}
	claim, prefix := o.UsernameClaim, o.UsernamePrefix
	if claim == "" {
		claim = "sub"
	}
	switch {
	case prefix == "-":
		prefix = ""
	case prefix == "" && claim != "email":
		prefix = o.IssuerURL + "#"
	}
	j := apiserver.JWTAuthenticator{
		Issuer: apiserver.Issuer{URL: o.IssuerURL, Audiences: []string{o.ClientID}},
		ClaimMappings: apiserver.ClaimMappings{
			Username: apiserver.PrefixedClaimOrExpression{Prefix: &prefix, Claim: claim},
		},
	}
	if o.GroupsClaim != "" {
		j.ClaimMappings.Groups = apiserver.PrefixedClaimOrExpression{Prefix: &o.GroupsPrefix, Claim: o.GroupsClaim}
	}
	if o.CAFile != "" {
		data, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, err
		}
		j.Issuer.CertificateAuthority = string(data)
	}
	for claim, value := range o.RequiredClaims {
		j.ClaimValidationRules = append(j.ClaimValidationRules, apiserver.ClaimValidationRule{Claim: claim, RequiredValue: value})
	}
	c.JWT = []apiserver.JWTAuthenticator{j}
	return c, nil
}

// configScheme knows the versions of AuthenticationConfiguration.
func configScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return scheme
}

// readConfiguration reads an AuthenticationConfiguration.
func readConfiguration(data []byte) (*apiserver.AuthenticationConfiguration, error) {
	if len(data) == 0 {
		return nil, errors.New("empty config data")
	}
	codecs := serializer.NewCodecFactory(configScheme(), serializer.EnableStrict)
	obj, err := runtime.Decode(codecs.UniversalDecoder(), data)
	if err != nil {
		return nil, err
	}
	c, ok := obj.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("expected AuthenticationConfiguration, got %T", obj)
	}
	return c, nil
}

// reloadTimeout bounds how long a new configuration has to become healthy, which includes reaching its issuers.
const reloadTimeout = time.Minute

// jwts authenticates tokens of other issuers, by a configuration that may change.
type jwts struct {
	issuers   []string // own, which no other may claim to be
	audiences authenticator.Audiences
	algs      []string
	id        string
	log       *slog.Logger

	current atomic.Pointer[jwtSet]
}

// jwtSet is what one configuration makes. cancel ends what it does in the background.
type jwtSet struct {
	authenticator.Token
	health []func() error
	cancel context.CancelFunc
}

// AuthenticateToken implements authenticator.Token.
func (j *jwts) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	return j.current.Load().AuthenticateToken(ctx, token)
}

func (j *jwts) check(c *apiserver.AuthenticationConfiguration) field.ErrorList {
	return validation.ValidateAuthenticationConfiguration(authenticationcel.NewDefaultCompiler(), c, j.issuers)
}

// make makes the authenticators of a configuration, which work until life ends.
func (j *jwts) make(life context.Context, c *apiserver.AuthenticationConfiguration) (*jwtSet, error) {
	life, cancel := context.WithCancel(life)
	set := &jwtSet{cancel: cancel}
	var list []authenticator.Token
	for _, one := range c.JWT {
		options := oidc.Options{
			JWTAuthenticator: one, SupportedSigningAlgs: j.algs, DisallowedIssuers: j.issuers, APIServerID: j.id,
		}
		if ca := one.Issuer.CertificateAuthority; ca != "" {
			options.CAContentProvider = authorities(ca)
		}
		made, err := oidc.New(life, options)
		if err != nil {
			cancel()
			return nil, err
		}
		list = append(list, made)
		set.health = append(set.health, made.HealthCheck)
	}
	set.Token = authenticator.WrapAudienceAgnosticToken(j.audiences, tokenunion.NewFailOnError(list...))
	return set, nil
}

// authorities are certificates in PEM.
type authorities string

// CurrentCABundleContent implements oidc.CAContentProvider.
func (a authorities) CurrentCABundleContent() []byte { return []byte(a) }

func (s *jwtSet) healthy() error {
	var errs []error
	for _, check := range s.health {
		errs = append(errs, check())
	}
	return errors.Join(errs...)
}

// watch takes over what is written to the configuration's file, until life ends. A configuration that is not valid, or whose
// issuers cannot be reached, changes nothing, and the log says so.
func (j *jwts) watch(life context.Context, path string, first []byte, anonymous *apiserver.AnonymousAuthConfig) {
	known := first
	reload := func() {
		data, err := os.ReadFile(path)
		if err != nil {
			j.log.Error("cannot read the authentication configuration again", "file", path, "error", err)
			return
		}
		if bytes.Equal(data, known) {
			return
		}
		switch err, final := j.reload(life, data, anonymous); {
		case err != nil:
			j.log.Error("the new authentication configuration is not used", "file", path, "error", err)
			if final { // it will not become better by itself
				known = data
			}
		default:
			known = data
			j.log.Info("reloaded the authentication configuration", "file", path)
		}
	}
	filesystem.WatchUntil(life, time.Minute, path, reload, func(err error) {
		j.log.Error("cannot watch the authentication configuration", "file", path, "error", err)
	})
}

// reload puts another configuration in the place of the current one. final tells that trying again is of no use.
func (j *jwts) reload(life context.Context, data []byte, anonymous *apiserver.AnonymousAuthConfig) (err error, final bool) {
	c, err := readConfiguration(data)
	if err != nil {
		return err, true
	}
	errs := j.check(c)
	if !reflect.DeepEqual(anonymous, c.Anonymous) {
		errs = append(errs, field.Forbidden(field.NewPath("anonymous"), "changed from initial configuration file"))
	}
	if err := errs.ToAggregate(); err != nil {
		return err, true
	}
	set, err := j.make(life, c)
	if err != nil {
		return err, false
	}
	ctx, cancel := context.WithTimeout(life, reloadTimeout)
	defer cancel()
	var last error
	err = wait.PollUntilContextCancel(ctx, time.Second, true, func(context.Context) (bool, error) {
		last = set.healthy()
		return last == nil, nil
	})
	if err != nil {
		set.cancel()
		return errors.Join(last, err), false
	}
	old := j.current.Swap(set)
	// Requests that are being authenticated by the old one get the time to finish.
	time.AfterFunc(reloadTimeout, old.cancel)
	return nil, false
}
