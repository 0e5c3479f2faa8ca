package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// The patches' media types.
const (
	strategicPatch = "application/strategic-merge-patch+json"
	mergePatch     = "application/merge-patch+json"
	applyPatch     = "application/apply-patch+yaml"
)

// How many operations one measurement of a write has: for every client at a time, and at most; half of them if it takes long.
const (
	writesPerClient = 80
	writesAtMost    = 1280
	writeTime       = 3 * time.Second
	// profiledWrites is how many times more a profile needs, to have enough to look at.
	profiledWrites = 3
)

// writeForm is a way to write. Each operation has a number of its own, so that none meets another's object unless it is to.
type writeForm struct {
	id string
	// prepare makes, unmeasured, what an operation works on; nil when it needs nothing.
	prepare, op func(b *bench, ctx context.Context, i int) (int64, error)
}

const writeNamespace = "bench-write"

// inNamespace is a path in the namespace of the writes.
func inNamespace(group, resource, name string) string {
	path := "/apis/" + group
	if group == "v1" {
		path = "/api/v1"
	}
	path += "/namespaces/" + writeNamespace + "/" + resource
	if name != "" {
		path += "/" + name
	}
	return path
}

// send does a request that writes.
func (b *bench) send(ctx context.Context, method, path, contentType string, body []byte) (int64, error) {
	return b.client.do(ctx, request{method: method, path: path, contentType: contentType, accept: acceptJSON, body: body})
}

// writeForms are the ways that are measured, in an order in which each finds what it needs.
func writeForms() []writeForm {
	return []writeForm{
		{id: "create-small-pod", op: createSmallPod},
		{id: "patch-pod-status", prepare: createSmallPod, op: patchPodStatus},
		{id: "delete-pod", prepare: createSmallPod, op: deletePod},
		{id: "create-configmap", op: createConfigMap},
		{id: "update-configmap", prepare: createConfigMap, op: updateConfigMap},
		{id: "renew-lease", prepare: createLease, op: renewLease},
		{id: "apply-create", op: applyDeployment(1)},
		{id: "apply-update", prepare: applyDeployment(1), op: applyDeployment(2)},
		{id: "create-custom", op: createWidget},
		{id: "patch-custom", prepare: createWidget, op: patchWidget},
	}
}

// many is the highest number of clients at a time.
const many = 64

// wanted tells whether a way is measured with a number of clients at a time: with 16 always, as most targets are for that, and with
// the others once; but creates of pods at 64 always, which have a target. A profile is taken at 16.
func (b *bench) wanted(form writeForm, together int) bool {
	if b.profiler != nil {
		return together == createsTogether && hasProfile(form.id)
	}
	return together == createsTogether || b.once() || together == many && form.id == "create-small-pod" && !b.config.quick
}

// writes measures writes of single objects, each way at each concurrency.
func writes(ctx context.Context, b *bench) error {
	if err := b.makeNamespace(ctx, writeNamespace); err != nil {
		return err
	}
	if err := b.define(ctx); err != nil {
		return err
	}
	for _, together := range []int{1, createsTogether, many} {
		for _, form := range writeForms() {
			if !b.wanted(form, together) {
				continue
			}
			if err := b.measureWrite(ctx, form, together); err != nil {
				return fmt.Errorf("%s, %d at a time: %w", form.id, together, err)
			}
		}
	}
	return nil
}

// measureWrite measures one way. Objects of another measurement are not met: the numbers go on.
func (b *bench) measureWrite(ctx context.Context, form writeForm, together int) error {
	first := b.written
	w := work{ops: min(together*writesPerClient, writesAtMost), within: writeTime, parallel: together}
	switch {
	case b.profiler != nil:
		w.ops *= profiledWrites
	case b.config.quick:
		w.ops /= 2
	}
	w.least = w.ops / 2
	b.written += w.ops
	numbered := func(do func(*bench, context.Context, int) (int64, error)) func(context.Context, int) (int64, error) {
		return func(ctx context.Context, i int) (int64, error) { return do(b, ctx, first+i) }
	}
	if form.prepare != nil {
		prepare := work{ops: w.ops, parallel: createsTogether, op: numbered(form.prepare)}
		if _, _, err := prepare.do(ctx); err != nil {
			return err
		}
	}
	w.op = numbered(form.op)
	return b.measure(ctx, writeID(form.id, together), w)
}

// writeID is what a way is called with a number of clients at a time.
func writeID(form string, together int) string {
	if together == createsTogether {
		return form
	}
	return fmt.Sprintf("%s-%d", form, together)
}

func createSmallPod(b *bench, ctx context.Context, i int) (int64, error) {
	return b.send(ctx, "POST", inNamespace("v1", "pods", ""), acceptJSON, smallPod(podName(i)))
}

// smallPod is a pod of about 3 KB of JSON when it is stored, with two containers.
func smallPod(name string) []byte {
	return mustEncode(object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": object{"name": name, "labels": object{"app": "bench", "pod-template-hash": "5d59d67564"}},
		"spec":     podSpec(),
	})
}

func podSpec() object {
	return object{"automountServiceAccountToken": false, "containers": []object{container("one"), container("two")}, "volumes": []object{
		{"name": "config", "configMap": object{"name": "bench-config"}}, {"name": "cache", "emptyDir": object{}},
	}}
}

func mustEncode(o object) []byte {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // it is made of strings and numbers
	}
	return b
}

// patchPodStatus writes what a kubelet writes when a pod has started.
func patchPodStatus(b *bench, ctx context.Context, i int) (int64, error) {
	conditions, statuses := []object{}, []object{}
	for _, kind := range []string{"Initialized", "Ready", "ContainersReady", "PodScheduled"} {
		conditions = append(conditions, object{"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"})
	}
	for _, name := range []string{"one", "two"} {
		statuses = append(statuses, object{
			"name": name, "ready": true, "restartCount": 0, "image": "registry.example.com/team/" + name + ":v1.2.3",
			"imageID": "sha256:0123456789abcdef", "state": object{"running": object{"startedAt": "2026-01-01T00:00:00Z"}},
		})
	}
	patch := mustEncode(object{"status": object{
		"phase": "Running", "podIP": "10.1.2.3", "hostIP": "10.0.0.1", "startTime": "2026-01-01T00:00:00Z",
		"conditions": conditions, "containerStatuses": statuses,
	}})
	return b.send(ctx, "PATCH", inNamespace("v1", "pods", podName(i))+"/status", strategicPatch, patch)
}

func deletePod(b *bench, ctx context.Context, i int) (int64, error) {
	return b.send(ctx, "DELETE", inNamespace("v1", "pods", podName(i))+"?gracePeriodSeconds=0", "", nil)
}

func createConfigMap(b *bench, ctx context.Context, i int) (int64, error) {
	return b.send(ctx, "POST", inNamespace("v1", "configmaps", ""), acceptJSON, configMap(i, "created"))
}

func updateConfigMap(b *bench, ctx context.Context, i int) (int64, error) {
	return b.send(ctx, "PUT", inNamespace("v1", "configmaps", configMapName(i)), acceptJSON, configMap(i, "updated"))
}

func configMapName(i int) string { return fmt.Sprintf("config-%06d", i) }

func configMap(i int, how string) []byte {
	return mustEncode(object{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{"name": configMapName(i), "labels": object{"app": "bench"}},
		"data": object{"how": how, "config.yaml": "listen: :8080\nlog:\n  level: info\n  format: json\nworkers: 16\n"},
	})
}

func createLease(b *bench, ctx context.Context, i int) (int64, error) {
	name := leaseName(i)
	made, err := b.client.read(ctx, request{
		method: "POST", path: inNamespace("coordination.k8s.io/v1", "leases", ""), contentType: acceptJSON, accept: acceptJSON,
		body: lease(name, "", "2026-01-01T00:00:00.000000Z"),
	})
	if err != nil {
		return 0, err
	}
	var got struct {
		Metadata struct{ ResourceVersion string }
	}
	if err := json.Unmarshal(made, &got); err != nil {
		return 0, err
	}
	b.leases.Store(name, got.Metadata.ResourceVersion)
	return int64(len(made)), nil
}

// renewLease does what a node or a leader does every few seconds.
func renewLease(b *bench, ctx context.Context, i int) (int64, error) {
	name := leaseName(i)
	version, _ := b.leases.Load(name)
	path := inNamespace("coordination.k8s.io/v1", "leases", name)
	return b.send(ctx, "PUT", path, acceptJSON, lease(name, fmt.Sprint(version), "2026-01-01T00:00:10.000000Z"))
}

func leaseName(i int) string { return fmt.Sprintf("lease-%06d", i) }

func lease(name, version, renewed string) []byte {
	return mustEncode(object{
		"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": object{"name": name, "resourceVersion": version},
		"spec": object{"holderIdentity": "node-1", "leaseDurationSeconds": 40, "renewTime": renewed},
	})
}

// applyDeployment applies a Deployment with a number of replicas.
func applyDeployment(replicas int) func(*bench, context.Context, int) (int64, error) {
	return func(b *bench, ctx context.Context, i int) (int64, error) {
		name := fmt.Sprintf("deployment-%06d", i)
		labels := object{"app": "bench"}
		return b.send(ctx, "PATCH", inNamespace("apps/v1", "deployments", name)+"?fieldManager=bench&force=true", applyPatch, mustEncode(object{
			"apiVersion": "apps/v1", "kind": "Deployment", "metadata": object{"name": name, "labels": labels},
			"spec": object{
				"replicas": replicas, "selector": object{"matchLabels": labels},
				"template": object{"metadata": object{"labels": labels}, "spec": podSpec()},
			},
		}))
	}
}
