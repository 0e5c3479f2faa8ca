package authn

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func frontProxyConfig(t *testing.T, ca *authority) FrontProxy {
	return FrontProxy{
		CAFile: file(t, "proxy.crt", string(ca.pem())), AllowedNames: []string{"proxy"},
		UsernameHeaders: []string{"X-Remote-User", "X-My-User"}, UIDHeaders: []string{"X-Remote-Uid"},
		GroupHeaders: []string{"X-Remote-Group"}, ExtraHeaderPrefixes: []string{"X-Remote-Extra-"},
	}
}

func TestFrontProxy(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "proxies")
	h := newHarness(t, Config{FrontProxy: frontProxyConfig(t, ca)})
	proxy := h.client(ca.leaf("proxy", nil, nil))
	a := h.expect("by the proxy", "jane", proxy, "X-Remote-User", "jane", "X-Remote-Uid", "7", "X-Remote-Group", "dev",
		"X-Remote-Group", "ops", "X-Remote-Extra-Scopes%2fa", "s")
	if a == nil || a.User.UID != "7" || !slices.Equal(a.User.Groups, []string{"dev", "ops", "system:authenticated"}) ||
		!slices.Equal(a.User.Extra["scopes/a"], []string{"s"}) {
		t.Fatalf("by the proxy: %+v", a)
	}
	h.expect("another on the same connection", "joe", proxy, "X-Remote-User", "joe")
	h.expect("the second header", "max", proxy, "X-My-User", "max")
	h.expect("the first of two values", "a", proxy, "X-Remote-User", "a", "X-Remote-User", "b")
	if a := h.expect("anonymous through the proxy", "system:anonymous", proxy, "X-Remote-User", "system:anonymous"); a != nil && len(a.User.Groups) > 0 {
		t.Errorf("anonymous through the proxy is in %q", a.User.Groups)
	}
	h.expect("the proxy as itself", "", proxy)
	h.expect("another certificate of the proxies' authority", "", h.client(ca.leaf("other", nil, nil)), "X-Remote-User", "jane")
	h.expect("a user's certificate", "eve", h.client(h.ca.leaf("eve", nil, nil)), "X-Remote-User", "jane")
	h.expect("a certificate of the same name from elsewhere", "proxy", h.client(h.ca.leaf("proxy", nil, nil)), "X-Remote-User", "jane")
}

// TestHeadersOfAProxyAreStripped: nothing behind authentication sees them, whoever sent them and however they are spelled; what
// only looks like them is none.
func TestHeadersOfAProxyAreStripped(t *testing.T) {
	t.Parallel()
	h := newHarness(t, Config{FrontProxy: frontProxyConfig(t, newAuthority(t, "proxies"))})
	jane := h.client(h.ca.leaf("jane", nil, nil))
	a := h.expect("smuggled", "jane", jane, "x-remote-user", "admin", "X-REMOTE-GROUP", "system:masters", "x-Remote-Uid", "0",
		"X-remote-extra-scopes", "all", "x-my-user", "admin", "X_Remote_User", "admin", "Other", "kept", "X-Remote-Userx", "kept")
	if a == nil {
		return
	}
	for name := range a.Header {
		lower := strings.ToLower(name)
		if lower != "x-remote-userx" && (strings.HasPrefix(lower, "x-remote-") || lower == "x-my-user") {
			t.Errorf("%s is still there", name)
		}
	}
	if a.Header.Get("Other") != "kept" || a.Header.Get("X-Remote-Userx") != "kept" {
		t.Errorf("too much was stripped: %v", a.Header)
	}
	// Without a proxy in the configuration the standard headers are stripped all the same.
	h = newHarness(t, Config{})
	a = h.expect("no proxy known", "system:anonymous", h.client(), "X-Remote-User", "admin", "X-My-User", "kept")
	if a != nil && (a.Header.Get("X-Remote-User") != "" || a.Header.Get("X-My-User") != "kept") {
		t.Errorf("no proxy known: %v", a.Header)
	}
}

func TestFrontProxyConfig(t *testing.T) {
	t.Parallel()
	for text, config := range map[string]FrontProxy{
		`empty value in "requestheader-username-headers"`: {UsernameHeaders: []string{" "}},
		`--requestheader-uid-headers is set without specifying the standard X-Remote-Uid header - API aggregation will not work`: {
			UIDHeaders: []string{"X-Mine"}},
	} {
		c := Config{FrontProxy: config}.WithDefaults()
		if err := c.Check(); err == nil || err.Error() != text {
			t.Errorf("%v, want %s", err, text)
		}
	}
	ca := newAuthority(t, "both")
	path := file(t, "ca.crt", string(ca.pem()))
	_, _, err := New(t.Context(), Config{ClientCAFile: path, FrontProxy: FrontProxy{CAFile: path}}.WithDefaults(),
		Environment{CA: newAuthority(t, "own").pem(), ServiceAccountKey: newKey(t)})
	if err == nil || !strings.Contains(err.Error(), "contain overlapping certificates") {
		t.Errorf("the same authority for both: %v", err)
	}
	var clear http.Header // nothing to strip in nothing
	(&FrontProxy{}).clearHeaders(clear)
}
