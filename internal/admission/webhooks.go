package admission

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"
)

// services is a webhook.ServiceResolver.
type services func(namespace, name string, port int32) (*url.URL, error)

func (s services) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	if name == "" || namespace == "" || port == 0 {
		return nil, errors.New("cannot resolve an empty service name or namespace or port")
	}
	return s(namespace, name, port)
}

// WithoutRedirects lets clients of webhooks refuse to be sent elsewhere: who configures a webhook says where reviews go, and with
// which credentials; the webhook does not (CVE-2022-3172 was of that sort).
func WithoutRedirects(wrap webhook.AuthenticationInfoResolverWrapper) webhook.AuthenticationInfoResolverWrapper {
	return func(delegate webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
		wrapped := wrap(delegate)
		refuse := func(config *rest.Config, err error) (*rest.Config, error) {
			if err != nil {
				return nil, err
			}
			config = rest.CopyConfig(config)
			config.Wrap(func(next http.RoundTripper) http.RoundTripper { return refuseRedirects{next} })
			return config, nil
		}
		return &webhook.AuthenticationInfoResolverDelegator{
			ClientConfigForFunc: func(hostPort string) (*rest.Config, error) {
				return refuse(wrapped.ClientConfigFor(hostPort))
			},
			ClientConfigForServiceFunc: func(name, namespace string, port int) (*rest.Config, error) {
				return refuse(wrapped.ClientConfigForService(name, namespace, port))
			},
		}
	}
}

type refuseRedirects struct{ next http.RoundTripper }

func (r refuseRedirects) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := r.next.RoundTrip(request)
	if err == nil && response.StatusCode >= 300 && response.StatusCode < 400 {
		_ = response.Body.Close()
		return nil, fmt.Errorf("the server responded with a redirect (%d), which a webhook may not", response.StatusCode)
	}
	return response, err
}
