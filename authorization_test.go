package kayak_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kayak-k8s/kayak"
)

// as is a client that acts as somebody else.
func as(t testing.TB, server *kayak.Server, name string, groups ...string) kubernetes.Interface {
	t.Helper()
	return client(t, asConfig(server, name, groups...))
}

func asConfig(server *kayak.Server, name string, groups ...string) *rest.Config {
	config := server.RESTConfig()
	config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: groups}
	return config
}

func namespace(t testing.TB, c kubernetes.Interface, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// bind gives a user a cluster role in a namespace.
func bind(t testing.TB, c kubernetes.Interface, namespace, role, user string) {
	t.Helper()
	_, err := c.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user + "-" + role},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAccessReviews asks about jane, as others and as herself.
func TestAccessReviews(t *testing.T) {
	t.Parallel()
	server := start(t, kayak.Config{})
	c, jane := client(t, server.RESTConfig()), as(t, server, "jane")
	namespace(t, c, "a")
	bind(t, c, "a", "view", "jane")
	const because = `RBAC: allowed by RoleBinding "jane-view/a" of ClusterRole "view" to User "jane"`
	expect := func(what string, status authorizationv1.SubjectAccessReviewStatus, err error, allowed bool, reason string) {
		t.Helper()
		if err != nil || status.Allowed != allowed || status.Reason != reason || status.Denied {
			t.Errorf("%s: %+v, %v; want %v %q", what, status, err, allowed, reason)
		}
	}
	ask := func(verb string) *authorizationv1.ResourceAttributes {
		return &authorizationv1.ResourceAttributes{Namespace: "a", Verb: verb, Resource: "pods", Subresource: "log", Name: "p"}
	}
	for verb, reason := range map[string]string{"get": because, "delete": ""} {
		review, err := c.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: "jane", ResourceAttributes: ask(verb)}}, metav1.CreateOptions{})
		expect("a review", review.Status, err, reason != "", reason)
		local, err := c.AuthorizationV1().LocalSubjectAccessReviews("a").Create(t.Context(), &authorizationv1.LocalSubjectAccessReview{
			ObjectMeta: metav1.ObjectMeta{Namespace: "a"},
			Spec:       authorizationv1.SubjectAccessReviewSpec{User: "jane", ResourceAttributes: ask(verb)}}, metav1.CreateOptions{})
		expect("a local review", local.Status, err, reason != "", reason)
		self, err := jane.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: ask(verb)}}, metav1.CreateOptions{})
		expect("a review of oneself", self.Status, err, reason != "", reason)
	}
	rules, err := jane.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(), &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "a"}}, metav1.CreateOptions{})
	if err != nil || rules.Status.Incomplete || !strings.Contains(fmt.Sprint(rules.Status.ResourceRules), "pods/log") {
		t.Errorf("rules: %+v, %v", rules, err)
	}
}

// TestGivingWhatOneHasNot is refused by the server, too, not only by package rbac.
func TestGivingWhatOneHasNot(t *testing.T) {
	t.Parallel()
	server := start(t, kayak.Config{})
	c := client(t, server.RESTConfig())
	namespace(t, c, "a")
	bind(t, c, "a", "admin", "jane")
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "r"},
		Rules:      []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"nodes"}}},
	}
	const want = `roles.rbac.authorization.k8s.io "r" is forbidden: user "jane" (groups=["system:authenticated"]) is attempting to grant ` +
		"RBAC permissions not currently held:\n" + `{APIGroups:[""], Resources:["nodes"], Verbs:["get"]}`
	jane := as(t, server, "jane").RbacV1().Roles("a")
	if _, err := jane.Create(t.Context(), role, metav1.CreateOptions{}); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	role.Rules[0].Resources = []string{"pods"}
	if _, err := jane.Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Errorf("what she has she may not give: %v", err)
	}
}

// TestNodes: a kubelet reads the secrets of its own pods.
func TestNodes(t *testing.T) {
	t.Parallel()
	server := start(t, kayak.Config{})
	c := client(t, server.RESTConfig())
	for _, name := range []string{"mine", "other"} {
		if _, err := c.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "i"}},
			Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "mine"}}}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kubelet := as(t, server, "system:node:n", "system:nodes")
	if _, err := kubelet.CoreV1().Secrets("default").Get(t.Context(), "mine", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	const want = `secrets "other" is forbidden: User "system:node:n" cannot get resource "secrets" in API group "" in the namespace ` +
		`"default": node: no relationship found between node 'n' and this object`
	if _, err := kubelet.CoreV1().Secrets("default").Get(t.Context(), "other", metav1.GetOptions{}); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if _, err := kubelet.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=n"}); err != nil {
		t.Error(err)
	}
}

// TestAlwaysAllow: where everybody may do everything, nobody is anonymous.
func TestAlwaysAllow(t *testing.T) {
	t.Parallel()
	server := start(t, kayak.Config{Authorization: kayak.AuthorizationConfig{Modes: []string{"AlwaysAllow"}}})
	if _, err := as(t, server, "jane").CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
	_, err := client(t, rest.AnonymousClientConfig(server.RESTConfig())).CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsUnauthorized(err) {
		t.Errorf("anonymous: %v", err)
	}
}

// TestPathsSayWhatTheyAre: jane may do everything in the namespace a, and nothing in b or in the cluster, however she writes it.
func TestPathsSayWhatTheyAre(t *testing.T) {
	t.Parallel()
	server := start(t, kayak.Config{})
	c := client(t, server.RESTConfig())
	namespace(t, c, "a", "b")
	bind(t, c, "a", "cluster-admin", "jane")
	const canary = "canary-of-b"
	if _, err := c.CoreV1().ConfigMaps("b").Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "s", Labels: map[string]string{"canary": canary}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(asConfig(server, "jane"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/api/v1/namespaces/b/configmaps/s",
		"/api/v1/namespaces/a/configmaps/..%2f..%2fb%2fconfigmaps%2fs",
		"/api/v1/namespaces/a/configmaps/..%2Fb%2Fs",
		"/api/v1/namespaces/a/configmaps/../../b/configmaps/s",
		"/api/v1/namespaces/a/configmaps/%2e%2e/%2e%2e/b/configmaps/s",
		"/api/v1/namespaces/a%2f..%2fb/configmaps/s",
		"/api/v1/namespaces/a/../b/configmaps/s",
		"/api/v1/namespaces/a/configmaps//s",
		"/api/v1/namespaces/a//configmaps/s",
		"/api/v1//namespaces/b/configmaps/s",
		"//api/v1/namespaces/b/configmaps/s",
		"/api/v1/namespaces/a/namespaces/b",
		"/api/v1/namespaces/a/namespaces/b/configmaps/s",
		"/api/v1/namespaces/a/configmaps/s%00",
		"/api/v1/namespaces/a/configmaps/..;/b/configmaps/s",
		"/api/v1/watch/namespaces/b/configmaps/s?timeoutSeconds=1",
		"/api/v1/watch/namespaces/a/..%2fb/configmaps?timeoutSeconds=1",
		"/api/v1/configmaps?fieldSelector=metadata.namespace%3Da",
		"/api/v1/configmaps/s",
		"/api/v1/namespaces/./configmaps/s",
		"/api/v1/namespaces/a/nodes",
		"/apis/rbac.authorization.k8s.io/v1/namespaces/a/clusterroles/cluster-admin",
		"/api/v1/namespaces/a/persistentvolumes",
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode < 400 || response.StatusCode >= 500 || strings.Contains(string(body), canary) {
			t.Errorf("%s: %d %s", path, response.StatusCode, body)
		}
	}
}
