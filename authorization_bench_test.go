package kayak

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/kubernetes"
	rbacapi "k8s.io/kubernetes/pkg/apis/rbac"

	"github.com/kayak-k8s/kayak/internal/authn"
	"github.com/kayak-k8s/kayak/internal/authz/rbac"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// BenchmarkMayI is what it costs to find out who makes a request and whether they may: with a certificate, on a connection that is
// known, and with the token of a service account that was seen before; with as many bindings, half of them in the cluster.
func BenchmarkMayI(b *testing.B) {
	server, p := assembled(b)
	names := map[string]string{"certificate": "jane", "token": "system:serviceaccount:default:robot"}
	requests := map[string]*http.Request{"certificate": byCertificate(b, server, names["certificate"]), "token": byToken(b, server)}
	headers := map[string][]string{"token": requests["token"].Header["Authorization"]}
	made := 0
	for _, n := range []int{10, 1000, 10000} {
		for ; made < n; made++ {
			user := fmt.Sprint("user", made)
			if made < len(names) {
				user = []string{names["certificate"], names["token"]}[made]
			}
			p.bind(b, fmt.Sprint("b", made), user, made%2 == 0 || made < len(names))
		}
		p.authorizer.rbac.CatchUp()
		for credential, request := range requests {
			b.Run(fmt.Sprintf("%d/%s", n, credential), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if header := headers[credential]; header != nil {
						request.Header["Authorization"] = header // what has done its work is taken out
					}
					user, err := p.authn.chain.Authenticate(request)
					if err != nil || user.GetName() != names[credential] {
						b.Fatal(user, err)
					}
					decision, reason, err := p.authorizer.Authorize(request.Context(), &authorizer.AttributesRecord{
						User: user, Verb: "list", Namespace: "a", Resource: "pods", APIVersion: "v1", ResourceRequest: true,
					})
					if decision != authorizer.DecisionAllow {
						b.Fatal(reason, err)
					}
				}
			})
		}
	}
}

// assembled is a running server, and its parts.
func assembled(b *testing.B) (*Server, *parts) {
	server, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	life, cancel := context.WithCancel(context.Background())
	server.cancel = cancel
	b.Cleanup(func() { _ = server.Stop(context.Background()) })
	for _, step := range []func() error{server.listen, server.prepareMaterial, func() error { return server.openStore(life) }} {
		if err := step(); err != nil {
			b.Fatal(err)
		}
	}
	p, err := server.assemble(life)
	if err != nil {
		b.Fatal(err)
	}
	server.run(life)
	if err := server.state.WaitSynced(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := p.ensure(b.Context()); err != nil {
		b.Fatal(err)
	}
	return server, p
}

func (p *parts) bind(b *testing.B, name, user string, cluster bool) {
	b.Helper()
	r, namespace := p.resource("rbac.authorization.k8s.io", "v1", "rolebindings"), "a"
	meta := metav1.ObjectMeta{Name: name, Namespace: namespace}
	ref := rbacapi.RoleRef{APIGroup: rbacapi.GroupName, Kind: "ClusterRole", Name: "view"}
	subjects := []rbacapi.Subject{{APIGroup: rbacapi.GroupName, Kind: "User", Name: user}}
	ctx := rbac.ObeyLater(verb.AsServer(b.Context()))
	var err error
	if cluster {
		r, meta.Namespace = p.resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings"), ""
		_, err = p.api.CreateObject(ctx, r, "", &rbacapi.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects})
	} else {
		_, err = p.api.CreateObject(ctx, r, namespace, &rbacapi.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects})
	}
	if err != nil {
		b.Fatal(err)
	}
}

func byCertificate(b *testing.B, server *Server, name string) *http.Request {
	pair, err := server.material.CA.ClientCertificate(name, []string{"dev"}, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(pair.TLS().Certificate[0])
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/api/v1/namespaces/a/pods", &bytes.Buffer{})
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}}
	return r.WithContext(authn.WithConnection(r.Context()))
}

func byToken(b *testing.B, server *Server) *http.Request {
	client, err := kubernetes.NewForConfig(server.RESTConfig())
	if err != nil {
		b.Fatal(err)
	}
	accounts := client.CoreV1().ServiceAccounts("default")
	if _, err := accounts.Create(b.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	token, err := accounts.CreateToken(b.Context(), "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/api/v1/namespaces/a/pods", strings.NewReader(""))
	r.Header.Set("Authorization", "Bearer "+token.Status.Token)
	return r
}
