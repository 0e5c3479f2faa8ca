package authz

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	webhook := Webhook{ConfigFile: "x"}
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"the default":            {Config{}, ""},
		"all":                    {Config{Modes: []string{"Node", "RBAC", "Webhook", "ABAC", "AlwaysAllow", "AlwaysDeny"}, PolicyFile: "x", Webhook: webhook}, ""},
		"an unknown mode":        {Config{Modes: []string{"rbac"}}, `authorization-mode "rbac" is not a valid mode`},
		"a mode twice":           {Config{Modes: []string{"RBAC", "RBAC"}}, `authorization-mode ["RBAC" "RBAC"] has mode specified more than once`},
		"ABAC without a policy":  {Config{Modes: []string{"ABAC"}}, `authorization-mode ABAC's authorization policy file not passed`},
		"a policy without ABAC":  {Config{PolicyFile: "x"}, `cannot specify --authorization-policy-file without mode ABAC`},
		"a webhook without mode": {Config{Webhook: webhook}, `cannot specify --authorization-webhook-config-file without mode Webhook`},
		"the mode without a webhook": {Config{Modes: []string{"Webhook"}},
			`authorization-mode Webhook's authorization config file not passed`},
		"a file and modes": {Config{ConfigFile: "x", Modes: []string{"RBAC"}, Set: true},
			`--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined`},
	} {
		config := test.config.WithDefaults()
		got := ""
		if err := config.Check(); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

// mode is an authorizer for one mode.
type mode struct{ authorizer.AuthorizerFunc }

func (mode) RulesFor(context.Context, user.Info, string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	return []authorizer.ResourceRuleInfo{&authorizer.DefaultResourceRuleInfo{Verbs: []string{"get"}}}, nil, false, nil
}

// rbacOf allows one user everything.
func rbacOf(name string) mode {
	return mode{func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if a.GetUser().GetName() == name {
			return authorizer.DecisionAllow, "RBAC: allowed", nil
		}
		return authorizer.DecisionNoOpinion, "RBAC: no", nil
	}}
}

func start(t *testing.T, config Config) (*Authorizer, error) {
	t.Helper()
	a := New()
	life, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	config = config.WithDefaults()
	if err := config.Check(); err != nil {
		t.Fatal(err)
	}
	nobody := mode{func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
		return authorizer.DecisionNoOpinion, "", nil
	}}
	return a, a.Start(life, config, Environment{RBAC: rbacOf("jane"), Node: nobody, Logger: slog.New(slog.DiscardHandler)})
}

func ask(a *Authorizer, name string, groups ...string) string {
	decision, reason, err := a.Authorize(context.Background(), authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: name, Groups: groups}, Verb: "get", Resource: "pods", Namespace: "a", ResourceRequest: true,
	})
	text := map[authorizer.Decision]string{authorizer.DecisionAllow: "yes", authorizer.DecisionDeny: "deny", authorizer.DecisionNoOpinion: "no"}[decision]
	if reason != "" {
		text += ": " + reason
	}
	if err != nil {
		text += ": error: " + err.Error()
	}
	return text
}

func expect(t *testing.T, a *Authorizer, want string, name string, groups ...string) {
	t.Helper()
	if got := ask(a, name, groups...); got != want {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	expect(t, New(), "no", "jane")
	expect(t, New(), "yes", "admin", "system:masters")
	policies := filepath.Join(t.TempDir(), "policies")
	policy := `{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"abe","namespace":"*","resource":"*","apiGroup":"*"}}`
	if err := os.WriteFile(policies, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		modes, user, want string
	}{
		{"", "jane", "yes: RBAC: allowed"},
		{"", "joe", "no: rbac: RBAC: no"},
		{"AlwaysDeny,RBAC", "jane", "yes: RBAC: allowed"},
		{"AlwaysDeny,RBAC", "joe", "no: alwaysdeny: Everything is forbidden.\nrbac: RBAC: no"},
		{"RBAC,AlwaysAllow", "joe", "yes"},
		{"ABAC", "abe", "yes"},
		{"ABAC,RBAC", "jane", "yes: RBAC: allowed"},
		{"ABAC", "jane", "no: abac: No policy matched."},
	} {
		config := Config{}
		if test.modes != "" {
			config.Modes = strings.Split(test.modes, ",")
		}
		if strings.Contains(test.modes, "ABAC") {
			config.PolicyFile = policies
		}
		a, err := start(t, config)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, a, test.want, test.user)
	}
}

// hook is a real webhook. It knows friend and foe, breaks for broken, and has no opinion of anybody else.
type hook struct {
	*httptest.Server
	asked    atomic.Int64
	versions chan string
}

func newHook(t *testing.T) *hook {
	h := &hook{versions: make(chan string, 100)}
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.asked.Add(1)
		var review authorizationv1.SubjectAccessReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		h.versions <- review.APIVersion
		switch review.Spec.User {
		case "friend":
			review.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: "a friend"}
		case "foe":
			review.Status = authorizationv1.SubjectAccessReviewStatus{Denied: true, Reason: "a foe"}
		case "broken":
			http.Error(w, "broken", http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(h.Close)
	return h
}

// kubeconfig is the file that says where the webhook is.
func (h *hook) kubeconfig(t *testing.T) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["hook"] = &clientcmdapi.Cluster{Server: h.URL, CertificateAuthorityData: encode(h.Certificate())}
	config.Contexts["hook"] = &clientcmdapi.Context{Cluster: "hook"}
	config.CurrentContext = "hook"
	file := filepath.Join(t.TempDir(), "webhook.kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

func encode(certificate *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"v1", "v1beta1"} {
		h := newHook(t)
		a, err := start(t, Config{Modes: []string{"Webhook", "RBAC"}, Webhook: Webhook{ConfigFile: h.kubeconfig(t), Version: version}})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			expect(t, a, "yes: a friend", "friend")
			expect(t, a, "deny: a foe", "foe")
			expect(t, a, "yes: RBAC: allowed", "jane")
			expect(t, a, "no: rbac: RBAC: no", "joe")
		}
		if asked := h.asked.Load(); asked != 4 {
			t.Errorf("%s: asked %d times, want 4: answers are believed for a while", version, asked)
		}
		if got := <-h.versions; got != "authorization.k8s.io/"+version {
			t.Errorf("asked in %s, want %s", got, version)
		}
		expect(t, a, "yes", "foe", "system:masters")
		_, _, incomplete, err := a.RulesFor(t.Context(), &user.DefaultInfo{Name: "jane"}, "a")
		if !incomplete || err == nil || err.Error() != "webhook authorizer does not support user rule resolution" {
			t.Errorf("RulesFor: %v, %v", incomplete, err)
		}
	}
}

// TestWebhookFails: without a policy for that it has no opinion, and says why; with one it denies.
func TestWebhookFails(t *testing.T) {
	t.Parallel()
	h := newHook(t)
	for policy, want := range map[string]string{"NoOpinion": "no", "Deny": "deny"} {
		file := filepath.Join(t.TempDir(), "authorization.yaml")
		write(t, file, h.configuration(t, policy, ""))
		a, err := start(t, Config{ConfigFile: file})
		if err != nil {
			t.Fatal(err)
		}
		if got := ask(a, "broken"); !strings.HasPrefix(got, want) || !strings.Contains(got, "error: ") {
			t.Errorf("%s: got %q, want %s and an error", policy, got, want)
		}
	}
}

func (h *hook) configuration(t *testing.T, failurePolicy, condition string) string {
	t.Helper()
	conditions := ""
	if condition != "" {
		conditions = fmt.Sprintf("    matchConditionSubjectAccessReviewVersion: v1\n    matchConditions:\n    - expression: %q\n", condition)
	}
	return fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- type: Webhook
  name: hook
  webhook:
    timeout: 3s
    authorizedTTL: 1m
    unauthorizedTTL: 1m
    subjectAccessReviewVersion: v1
    failurePolicy: %s
    connectionInfo:
      type: KubeConfigFile
      kubeConfigFile: %s
%s- type: RBAC
  name: rbac
`, failurePolicy, h.kubeconfig(t), conditions)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	// Replaced as editors and kubelets do, so that it is never seen half written.
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// TestConfigFile has conditions, and changes while the server runs.
func TestConfigFile(t *testing.T) {
	t.Parallel()
	h := newHook(t)
	file := filepath.Join(t.TempDir(), "authorization.yaml")
	write(t, file, h.configuration(t, "Deny", "request.user != 'friend'"))
	a, err := start(t, Config{ConfigFile: file})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, a, "no: rbac: RBAC: no", "friend") // the webhook is not asked
	expect(t, a, "deny: a foe", "foe")

	write(t, file, "garbage") // changes nothing, and neither does leaving RBAC out
	withoutRBAC, _, _ := strings.Cut(h.configuration(t, "Deny", ""), "- type: RBAC")
	write(t, file, withoutRBAC)
	write(t, file, h.configuration(t, "Deny", "request.user != 'foe'"))
	eventually(t, func() bool { return ask(a, "friend") == "yes: a friend" })
	expect(t, a, "no: rbac: RBAC: no", "foe")
	expect(t, a, "yes: RBAC: allowed", "jane")
}

// eventually waits for what a file's change leads to.
func eventually(t *testing.T, is func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(20 * time.Second); !is(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatal("the new configuration is not used")
		}
	}
}

func TestConfigFileIsWrong(t *testing.T) {
	t.Parallel()
	h := newHook(t)
	good := h.configuration(t, "Deny", "")
	for name, test := range map[string]struct{ text, want string }{
		"no such kind":    {"kind: Nothing\napiVersion: v1\n", "failed to load AuthorizationConfiguration from file"},
		"a wrong name":    {strings.Replace(good, "name: rbac", "name: other", 1), "expected name rbac for authorizer RBAC instead of other"},
		"a bad policy":    {strings.Replace(good, "Deny", "Perhaps", 1), `authorizers[0].failurePolicy: Unsupported value: "Perhaps": supported values: "NoOpinion", "Deny"`},
		"a bad timeout":   {strings.Replace(good, "3s", "3h", 1), `authorizers[0].timeout: Invalid value: "3h0m0s": must be > 0s and <= 30s`},
		"nobody":          {"apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n", `authorizers: Required value: at least one authorization mode must be defined`},
		"a bad condition": {h.configuration(t, "Deny", "request.nobody"), `undefined field 'nobody'`},
	} {
		file := filepath.Join(t.TempDir(), "authorization.yaml")
		write(t, file, test.text)
		if _, err := start(t, Config{ConfigFile: file}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
	if _, err := start(t, Config{ConfigFile: "/nowhere"}); !os.IsNotExist(err) {
		t.Errorf("a file that is missing: %v", err)
	}
}
