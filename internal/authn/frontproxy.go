package authn

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
)

// FrontProxy says which proxy is believed when it names a user in headers (--requestheader-*).
type FrontProxy struct {
	// CAFile has the authorities of the proxy's client certificate; it is read again when it has changed. Without it there is
	// no front proxy.
	CAFile string
	// AllowedNames are the common names that the certificate may have; empty allows all that CAFile vouches for.
	AllowedNames []string
	// The headers. The first with a value names the user; all groups count; what is behind the prefix is the key of an extra.
	UsernameHeaders, UIDHeaders, GroupHeaders, ExtraHeaderPrefixes []string
}

// check checks the headers (apiserver/pkg/server/options, RequestHeaderAuthenticationOptions.Validate).
func (f *FrontProxy) check() error {
	var errs []error
	for _, list := range []struct {
		flag   string
		values []string
	}{
		{"requestheader-username-headers", f.UsernameHeaders},
		{"requestheader-group-headers", f.GroupHeaders},
		{"requestheader-extra-headers-prefix", f.ExtraHeaderPrefixes},
		{"requestheader-allowed-names", f.AllowedNames},
		{"requestheader-uid-headers", f.UIDHeaders},
	} {
		for _, value := range list.values {
			if strings.TrimSpace(value) == "" {
				errs = append(errs, fmt.Errorf("empty value in %q", list.flag))
				break
			}
		}
	}
	if len(f.UIDHeaders) > 0 && !has(f.UIDHeaders, "X-Remote-Uid") {
		errs = append(errs, errors.New("--requestheader-uid-headers is set without specifying the standard X-Remote-Uid header"+
			" - API aggregation will not work"))
	}
	return errors.Join(errs...)
}

func has(headers []string, header string) bool {
	for _, h := range headers {
		if strings.EqualFold(h, header) {
			return true
		}
	}
	return false
}

// checkApart makes sure that not every client certificate is taken for the proxy's
// (kubernetes/pkg/kubeapiserver/options/authentication.go).
func (f *FrontProxy) checkApart(clients, proxies []*x509.Certificate) error {
	if len(f.AllowedNames) > 0 {
		return nil
	}
	for _, a := range clients {
		for _, b := range proxies {
			if a.Equal(b) {
				return errors.New("--requestheader-client-ca-file and --client-ca-file contain overlapping certificates; " +
					"--requestheader-allowed-names must be specified to ensure regular client certificates cannot set " +
					"authenticating proxy headers for arbitrary users")
			}
		}
	}
	return nil
}

// frontProxy believes headers when the connection has the proxy's certificate. A request without a user in a header is not one
// of the proxy's, and then the certificate is not looked at.
type frontProxy struct {
	config      FrontProxy
	certificate authenticator.Request
	headers     authenticator.Request
}

func newFrontProxy(config FrontProxy, roots func() *x509.CertPool) *frontProxy {
	isProxy := authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: &user.DefaultInfo{}}, true, nil
	})
	list := func(values []string) headerrequest.StringSliceProvider {
		return headerrequest.StaticStringSlice(values)
	}
	return &frontProxy{
		config: config,
		certificate: &perConnection{
			roots: roots, proxy: true,
			verify: x509request.NewDynamicCAVerifier(verifyOptions(roots), isProxy, list(config.AllowedNames)),
		},
		headers: headerrequest.NewDynamic(list(config.UsernameHeaders), list(config.UIDHeaders), list(config.GroupHeaders),
			list(config.ExtraHeaderPrefixes)),
	}
}

func (f *frontProxy) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if !f.named(r.Header) {
		return nil, false, nil
	}
	if _, ok, err := f.certificate.AuthenticateRequest(r); !ok || err != nil {
		return nil, false, err
	}
	return f.headers.AuthenticateRequest(r)
}

func (f *frontProxy) named(header http.Header) bool {
	for _, name := range f.config.UsernameHeaders {
		if header.Get(name) != "" {
			return true
		}
	}
	return false
}

// clearHeaders takes the headers of a front proxy out of a request, those that every cluster knows and those of f, whoever sent
// them: nothing behind authentication is to take them for the truth.
func (f *FrontProxy) clearHeaders(header http.Header) {
	for name := range header {
		if standardProxyHeader(name) || f.owns(name) {
			delete(header, name)
		}
	}
}

func standardProxyHeader(name string) bool {
	const prefix, extra = "X-Remote-", "Extra-"
	if len(name) <= len(prefix) || !strings.EqualFold(name[:len(prefix)], prefix) {
		return false
	}
	rest := name[len(prefix):]
	return strings.EqualFold(rest, "User") || strings.EqualFold(rest, "Group") || strings.EqualFold(rest, "Uid") ||
		len(rest) >= len(extra) && strings.EqualFold(rest[:len(extra)], extra)
}

func (f *FrontProxy) owns(name string) bool {
	if f.CAFile == "" {
		return false
	}
	for _, prefix := range f.ExtraHeaderPrefixes {
		if len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			return true
		}
	}
	return has(f.UsernameHeaders, name) || has(f.UIDHeaders, name) || has(f.GroupHeaders, name)
}
