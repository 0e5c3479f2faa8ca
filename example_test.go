package kayak_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes"

	"github.com/kayak-k8s/kayak"
)

// The zero Config is a server in memory on a free port.
func Example() {
	ctx := context.Background()
	server, err := kayak.New(kayak.Config{})
	if err != nil {
		log.Fatal(err)
	}
	if err := server.Start(ctx); err != nil {
		log.Fatal(err)
	}
	defer server.Stop(ctx)

	client, err := kubernetes.NewForConfig(server.RESTConfig())
	if err != nil {
		log.Fatal(err)
	}
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"color": "blue"}}
	if _, err := client.CoreV1().ConfigMaps("default").Create(ctx, settings, metav1.CreateOptions{}); err != nil {
		log.Fatal(err)
	}
	read, err := client.CoreV1().ConfigMaps("default").Get(ctx, "settings", metav1.GetOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(read.Data["color"])
	// Output: blue
}

// What is told of requests, and where, is as with kube-apiserver: a policy says what, in the order of its rules.
func ExampleAuditConfig() {
	ctx := context.Background()
	var events bytes.Buffer
	server, err := kayak.New(kayak.Config{
		Controllers: []string{},
		Audit: kayak.AuditConfig{
			Policy: &auditv1.Policy{
				OmitStages: []auditv1.Stage{auditv1.StageRequestReceived},
				Rules:      []auditv1.PolicyRule{{Level: auditv1.LevelMetadata, Verbs: []string{"create", "delete"}}},
			},
			Log: kayak.AuditLogConfig{Writer: &events, Format: "json"},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := server.Start(ctx); err != nil {
		log.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(server.ConfigFor("jane", "developers"))
	if err != nil {
		log.Fatal(err)
	}
	_ = client.CoreV1().Secrets("default").Delete(ctx, "password", metav1.DeleteOptions{})
	if err := server.Stop(ctx); err != nil { // after which everything has been written
		log.Fatal(err)
	}
	var event auditv1.Event
	if err := json.Unmarshal(events.Bytes(), &event); err != nil {
		log.Fatal(err)
	}
	fmt.Println(event.User.Username, event.Verb, event.ObjectRef.Resource, event.ObjectRef.Name, event.ResponseStatus.Code)
	fmt.Println(event.Annotations["authorization.k8s.io/decision"])
	// Output:
	// jane delete secrets password 403
	// forbid
}

// Clients in the server's own process need neither socket nor credentials: they are whoever the program says.
func ExampleServer_ConfigFor() {
	ctx := context.Background()
	server, _ := kayak.New(kayak.Config{})
	if err := server.Start(ctx); err != nil {
		log.Fatal(err)
	}
	defer server.Stop(ctx)

	client, err := kubernetes.NewForConfig(server.ConfigFor("my-controller", "system:masters", "system:authenticated"))
	if err != nil {
		log.Fatal(err)
	}
	namespace, err := client.CoreV1().Namespaces().Get(ctx, "kube-system", metav1.GetOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(namespace.Name)
	// Output: kube-system
}

// A handler can be part of another HTTP server. Who asks must have credentials in the request, such as a token, or is anonymous.
func ExampleServer_Handler() {
	ctx := context.Background()
	server, _ := kayak.New(kayak.Config{})
	if err := server.Start(ctx); err != nil {
		log.Fatal(err)
	}
	defer server.Stop(ctx)

	answer := httptest.NewRecorder()
	server.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	fmt.Println(answer.Code, answer.Body)
	// Output: 200 ok
}

// What expensive set-up has made is saved, and is what other servers begin with.
func ExampleServer_Snapshot() {
	ctx := context.Background()
	first, _ := kayak.New(kayak.Config{})
	if err := first.Start(ctx); err != nil {
		log.Fatal(err)
	}
	client, _ := kubernetes.NewForConfig(first.RESTConfig())
	_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}, metav1.CreateOptions{})
	if err != nil {
		log.Fatal(err)
	}
	snapshot, err := first.Snapshot(ctx)
	if err != nil {
		log.Fatal(err)
	}
	_ = first.Stop(ctx)

	second, _ := kayak.New(kayak.Config{Snapshot: snapshot})
	if err := second.Start(ctx); err != nil {
		log.Fatal(err)
	}
	defer second.Stop(ctx)
	client, _ = kubernetes.NewForConfig(second.RESTConfig())
	team, err := client.CoreV1().Namespaces().Get(ctx, "team", metav1.GetOptions{})
	fmt.Println(team.Name, err)
	// Output: team <nil>
}

// A middleware sees who asks for what, and may answer by itself.
func ExampleConfig_middleware() {
	ctx := context.Background()
	server, _ := kayak.New(kayak.Config{
		Middleware: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				user, _ := genericrequest.UserFrom(r.Context())
				info, _ := genericrequest.RequestInfoFrom(r.Context())
				if info.Resource == "pods" {
					fmt.Println(user.GetName(), info.Verb, info.Namespace)
				}
				next.ServeHTTP(w, r)
			})
		},
	})
	if err := server.Start(ctx); err != nil {
		log.Fatal(err)
	}
	defer server.Stop(ctx)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	client, _ := kubernetes.NewForConfig(server.RESTConfig())
	_, _ = client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	// Output: kubernetes-admin list default
}
