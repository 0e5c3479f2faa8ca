package authn

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/kubernetes/pkg/serviceaccount"
)

// ServiceAccounts say which tokens for service accounts are issued and accepted.
type ServiceAccounts struct {
	// Issuers are accepted; the first issues. Default https://kubernetes.default.svc.cluster.local.
	Issuers []string
	// KeyFiles have keys to verify tokens with: public keys, private keys or certificates, any number in a file.
	KeyFiles []string
	// SigningKeyFile has the private key that signs tokens; default the one in the data directory.
	SigningKeyFile string
	// JWKSURI is where relying parties find the keys; default this server.
	JWKSURI string
	// MaxExpiration shortens the tokens that are issued; 0 does not.
	MaxExpiration time.Duration
	// NoExtendedExpiration gives pods tokens that are valid for as long as they say, and not for a year.
	NoExtendedExpiration bool
	// NoLookup accepts the tokens of Secrets without looking whether the Secret is still there.
	NoLookup bool
}

// Objects are those that tokens depend on, from the server's own state.
type Objects struct {
	serviceaccount.ServiceAccountTokenGetter
	// Secrets notes at a Secret when its token was last used: only Patch is called.
	Secrets typedcorev1.SecretsGetter
}

// check checks what flags can get wrong (kubernetes/pkg/kubeapiserver/options/authentication.go,
// kubernetes/pkg/controlplane/apiserver/options/options.go).
func (s *ServiceAccounts) check() error {
	var errs []error
	seen := map[string]bool{}
	for _, issuer := range s.Issuers {
		_, err := url.Parse(issuer)
		switch {
		case err != nil && strings.Contains(issuer, ":"):
			errs = append(errs, fmt.Errorf("service-account-issuer %q contained a ':' but was not a valid URL: %v", issuer, err))
		case issuer == "":
			errs = append(errs, errors.New("service-account-issuer should not be an empty string"))
		case seen[issuer]:
			errs = append(errs, fmt.Errorf("service-account-issuer %q is already specified", issuer))
		}
		seen[issuer] = true
	}
	if len(s.Issuers) == 0 {
		errs = append(errs, errNoIssuer)
	}
	if s.JWKSURI != "" {
		if u, err := url.Parse(s.JWKSURI); err != nil {
			errs = append(errs, fmt.Errorf("service-account-jwks-uri must be a valid URL: %v", err))
		} else if u.Scheme != "https" {
			errs = append(errs, fmt.Errorf("service-account-jwks-uri requires https scheme, parsed as: %v", u.String()))
		}
	}
	if m := s.MaxExpiration; m != 0 && (m < time.Hour || m > time.Duration(1<<32)*time.Second) {
		errs = append(errs, errors.New("the service-account-max-token-expiration must be between 1 hour and 2^32 seconds"))
	}
	return errors.Join(errs...)
}

// newServiceAccounts returns the authenticators of tokens for service accounts: those in Secrets, and those that were requested.
func newServiceAccounts(config *ServiceAccounts, audiences authenticator.Audiences, keys serviceaccount.PublicKeysGetter,
	objects Objects) ([]authenticator.Token, error) {
	legacy, err := serviceaccount.NewLegacyValidator(!config.NoLookup, objects.ServiceAccountTokenGetter, objects.Secrets)
	if err != nil {
		return nil, err
	}
	return []authenticator.Token{
		serviceaccount.JWTTokenAuthenticator([]string{serviceaccount.LegacyIssuer}, keys, audiences, legacy),
		serviceaccount.JWTTokenAuthenticator(config.Issuers, keys, audiences, serviceaccount.NewValidator(objects)),
	}, nil
}
