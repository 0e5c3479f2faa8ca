package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"
)

// started hands over what the start took.
func started(_ context.Context, b *bench) error {
	if b.server.ready == 0 {
		return nil // it ran already
	}
	b.done("cold-start", sample{
		Ops: 1, ServerCPU: micros(b.server.readyCPU), P50: micros(b.server.ready), P99: micros(b.server.ready),
		PerSecond: 1 / b.server.ready.Seconds(),
	})
	return nil
}

// idle returns the memory of the server before it has done anything, and hands it over the first time.
func (b *bench) idle(ctx context.Context) (int64, error) {
	if b.idlePSS != 0 {
		return b.idlePSS, nil
	}
	var err error
	if b.idlePSS, err = b.settled(ctx); err == nil {
		b.done("memory-idle", sample{Memory: float64(b.idlePSS)})
	}
	return b.idlePSS, err
}

const (
	benchNamespace = "bench"
	fanNamespace   = "bench-fan"
	// createsTogether is how many creates, or gets, are under way at a time.
	createsTogether = 16
)

// load stores the pods, spread over the nodes. It measures creates, and the memory that a pod takes.
func load(ctx context.Context, b *bench) error {
	idle, err := b.idle(ctx)
	if err != nil {
		return err
	}
	for _, namespace := range []string{benchNamespace, fanNamespace} {
		if err := b.makeNamespace(ctx, namespace); err != nil {
			return err
		}
	}
	err = b.measure(ctx, "create-pod", work{ops: b.config.objects, parallel: createsTogether, op: func(ctx context.Context, i int) (int64, error) {
		return b.createPod(ctx, benchNamespace, podNamed(i, b.config.watchers))
	}})
	if err != nil {
		return err
	}
	b.pods = b.config.objects
	after, err := b.settled(ctx)
	if err != nil {
		return err
	}
	b.done("memory-per-pod", sample{Memory: float64(after-idle) / float64(b.pods)})
	return nil
}

// makeNamespace makes a namespace with the service account that pods need, where no controller of the server's has been faster.
func (b *bench) makeNamespace(ctx context.Context, name string) error {
	namespace := fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q}}`, name)
	if _, err := b.post(ctx, "/api/v1/namespaces", []byte(namespace)); err != nil {
		return err
	}
	account := `{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}}`
	_, err := b.post(ctx, "/api/v1/namespaces/"+name+"/serviceaccounts", []byte(account))
	if answer := (*refused)(nil); errors.As(err, &answer) && answer.code == http.StatusConflict {
		return nil
	}
	return err
}

func (b *bench) createPod(ctx context.Context, namespace string, pod []byte) (int64, error) {
	return b.post(ctx, "/api/v1/namespaces/"+namespace+"/pods", pod)
}

func (b *bench) post(ctx context.Context, path string, object []byte) (int64, error) {
	return b.client.do(ctx, request{method: "POST", path: path, contentType: acceptJSON, body: object})
}

// gets are counted by time: at least so many, and for so long.
const (
	getsAtLeast = 1000
	getTime     = 2 * time.Second
)

// get measures reading single pods.
func get(ctx context.Context, b *bench) error {
	one := func(ctx context.Context, i int) (int64, error) {
		return b.client.do(ctx, request{path: "/api/v1/namespaces/" + benchNamespace + "/pods/" + podName(i%b.pods), accept: acceptJSON})
	}
	return b.measure(ctx, "get-pod", work{ops: math.MaxInt, least: getsAtLeast, within: getTime, parallel: createsTogether, op: one})
}

func podName(i int) string    { return fmt.Sprintf("pod-%06d", i) }
func nodeName(i int) string   { return fmt.Sprintf("node-%04d", i) }
func selected(i int) string   { return fmt.Sprintf("group-%02d", i%100) } // 1 % of the pods
func podNode(i, n int) string { return nodeName(i % n) }

// podNamed returns the pod with a number, of about 7 KB of JSON when it is stored. What the default admission plugins of
// kube-apiserver would add is there already, so that every server stores the same.
func podNamed(i, nodes int) []byte {
	return encodePod(podName(i), podNode(i, nodes), selected(i))
}

type object = map[string]any

func encodePod(name, node, group string) []byte {
	containers := []object{}
	for c := range 2 {
		containers = append(containers, container(fmt.Sprintf("container-%d", c)))
	}
	tolerations := []object{}
	for _, key := range []string{"not-ready", "unreachable"} {
		tolerations = append(tolerations, object{
			"key": "node.kubernetes.io/" + key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
		})
	}
	pod := object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": object{
			"name":   name,
			"labels": object{"app.kubernetes.io/name": "bench", "group": group, "pod-template-hash": "5d59d67564"},
			"annotations": object{
				"checksum/config": strings.Repeat("0123456789abcdef", 4), "prometheus.io/scrape": "true", "prometheus.io/port": "9090",
			},
			"ownerReferences": []object{{
				"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "bench-5d59d67564", "uid": "6a5f3f6e-7d0c-4f3e-9d0e-0123456789ab",
				"controller": true, "blockOwnerDeletion": true,
			}},
		},
		"spec": object{
			"nodeName": node, "serviceAccountName": "default", "automountServiceAccountToken": false, "containers": containers,
			"tolerations": tolerations, "priority": 0, "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
			"volumes": []object{
				{"name": "config", "configMap": object{"name": "bench-config"}}, {"name": "cache", "emptyDir": object{}},
			},
		},
	}
	b, err := json.Marshal(pod)
	if err != nil {
		panic(err) // it is made of strings and numbers
	}
	return b
}

func container(name string) object {
	env := []object{{"name": "NODE_NAME", "valueFrom": object{"fieldRef": object{"fieldPath": "spec.nodeName"}}}}
	for e := range 3 {
		env = append(env, object{"name": fmt.Sprintf("SETTING_%d", e), "value": fmt.Sprintf("value of the setting with number %d", e)})
	}
	probe := object{"httpGet": object{"path": "/healthz", "port": 8080}, "periodSeconds": 10}
	return object{
		"name": name, "image": "registry.example.com/team/" + name + ":v1.2.3", "env": env,
		"args":            []string{"--config=/etc/bench/config.yaml", "--listen=:8080", "--log-level=info"},
		"ports":           []object{{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}},
		"resources":       object{"requests": object{"cpu": "100m", "memory": "128Mi"}, "limits": object{"memory": "256Mi"}},
		"livenessProbe":   probe,
		"readinessProbe":  probe,
		"volumeMounts":    []object{{"name": "config", "mountPath": "/etc/bench"}, {"name": "cache", "mountPath": "/var/cache"}},
		"imagePullPolicy": "IfNotPresent",
	}
}
