package authn

import (
	"crypto"
	"errors"
	"fmt"
	"log/slog"

	"k8s.io/client-go/util/keyutil"
	"k8s.io/kubernetes/pkg/serviceaccount"
)

// ServiceAccountKeys are the key that signs tokens for service accounts, and those that verify them.
type ServiceAccountKeys struct {
	// Signing signs, in the name of the first issuer.
	Signing serviceaccount.TokenGenerator
	// Public verify. More than one while keys are changed.
	Public serviceaccount.PublicKeysGetter
}

// loadKeys reads the keys that the configuration names. Without a signing key it is own; without keys to verify with it is the
// public half of the signing key; files with keys to verify with add to own, and stand alone with a signing key from a file, as
// upstream.
func loadKeys(config *ServiceAccounts, own crypto.Signer) (*ServiceAccountKeys, error) {
	var signing any = own
	if config.SigningKeyFile != "" {
		var err error
		if signing, err = keyutil.PrivateKeyFromFile(config.SigningKeyFile); err != nil {
			return nil, fmt.Errorf("failed to parse service-account-issuer-key-file: %w", err)
		}
	}
	generator, err := serviceaccount.JWTTokenGenerator(config.Issuers[0], signing)
	if err != nil {
		return nil, fmt.Errorf("failed to build token generator: %w", err)
	}
	var all []any
	if signer, ok := signing.(crypto.Signer); ok && (config.SigningKeyFile == "" || len(config.KeyFiles) == 0) {
		all = append(all, signer.Public())
	}
	for _, path := range config.KeyFiles {
		keys, err := keyutil.PublicKeysFromFile(path)
		if err != nil {
			return nil, err
		}
		all = append(all, keys...)
	}
	public, err := serviceaccount.StaticPublicKeysGetter(all)
	if err != nil {
		return nil, fmt.Errorf("failed to set up public service account keys: %w", err)
	}
	return &ServiceAccountKeys{Signing: generator, Public: public}, nil
}

// Discovery returns what tells others how to verify the tokens of this server: two documents, by path. address is this server's
// own host and port. An issuer that is no https URL has none, and the log says why, as upstream.
func (k *ServiceAccountKeys) Discovery(config *ServiceAccounts, address string, log *slog.Logger) map[string]Document {
	provider, err := serviceaccount.NewOpenIDMetadataProvider(config.Issuers[0], config.JWKSURI, address, k.Public)
	if err != nil {
		log.Warn("the service account issuer has no OpenID discovery", "error", err)
		return nil
	}
	return map[string]Document{
		serviceaccount.OpenIDConfigPath: {"application/json", provider.GetConfigJSON},
		serviceaccount.JWKSPath:         {"application/jwk-set+json", provider.GetKeysetJSON},
	}
}

// Document is one that is served as it is.
type Document struct {
	MediaType string
	// Get returns it, and for how many seconds it may be kept.
	Get func() ([]byte, int)
}

var errNoIssuer = errors.New("service-account-issuer is a required flag")
