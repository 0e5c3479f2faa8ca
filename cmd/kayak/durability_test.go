package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// noControllers leaves the objects to the test.
const noControllers = "--controllers="

// Every write that was acknowledged before kill -9 is there after it, unchanged, and nothing is there in half.
func TestAcknowledgedWritesSurviveKill(t *testing.T) {
	t.Parallel()
	const writers, most = 16, 1000
	dir := t.TempDir()
	p := serve(t, dir, noControllers)
	maps := p.client(t).CoreV1().ConfigMaps("default")

	var mu sync.Mutex // guards acknowledged
	acknowledged := map[string]*corev1.ConfigMap{}
	killAt := most/2 + rand.IntN(most/2)
	reached := make(chan struct{})
	ctx, cancel := context.WithCancel(deadline(t))
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				created, err := maps.Create(ctx, bigConfigMap(fmt.Sprintf("w%d-%d", w, i)), metav1.CreateOptions{})
				if err != nil {
					return // killed
				}
				mu.Lock()
				acknowledged[created.Name] = created
				if len(acknowledged) == killAt {
					close(reached)
				}
				mu.Unlock()
			}
		})
	}
	<-reached
	p.kill(t)
	cancel()
	wg.Wait()

	p = serve(t, dir, noControllers)
	list, err := p.client(t).CoreV1().ConfigMaps("default").List(deadline(t), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]*corev1.ConfigMap{}
	for i := range list.Items {
		stored[list.Items[i].Name] = &list.Items[i]
	}
	for name, want := range acknowledged {
		want.TypeMeta = metav1.TypeMeta{}
		if diff := cmp.Diff(want, stored[name]); diff != "" {
			t.Fatalf("%s was acknowledged (-acknowledged +stored):\n%s", name, diff)
		}
	}
	for name, got := range stored {
		if diff := cmp.Diff(bigConfigMap(name).Data, got.Data); diff != "" {
			t.Fatalf("%s is not what was sent (-sent +stored):\n%s", name, diff)
		}
	}
	t.Logf("killed after %d acknowledged creates; %d objects stored", len(acknowledged), len(stored))
}

// The same for every way to write: after kill -9 each object is what its only writer was told last, or what the write that was
// under way makes of it.
func TestEveryWaySurvivesKill(t *testing.T) {
	t.Parallel()
	const writers, most = 8, 400
	dir := t.TempDir()
	p := serve(t, dir, noControllers)
	maps := p.client(t).CoreV1().ConfigMaps("default")
	var acknowledged atomic.Int64
	killAt := most/2 + rand.Int64N(most/2)
	reached := make(chan struct{})
	ctx, cancel := context.WithCancel(deadline(t))
	told, underWay := make([]string, writers), make([]string, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				value, write := nextWrite(maps, fmt.Sprintf("w%d", w), i)
				underWay[w] = value
				if write(ctx) != nil {
					return // killed
				}
				told[w] = value
				if acknowledged.Add(1) == killAt {
					close(reached)
				}
			}
		})
	}
	<-reached
	p.kill(t)
	cancel()
	wg.Wait()

	p = serve(t, dir, noControllers)
	maps = p.client(t).CoreV1().ConfigMaps("default")
	for w := range writers {
		got, err := maps.Get(deadline(t), fmt.Sprintf("w%d", w), metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		if value := got.Data["value"]; value != told[w] && value != underWay[w] {
			t.Errorf("object %d holds %q, its writer was told %q and was at %q", w, value, told[w], underWay[w])
		}
	}
}

// nextWrite is the write of a round, and the value that the object has after it: a create, an update, patches, a delete, and again.
func nextWrite(maps typedcorev1.ConfigMapInterface, name string, round int) (value string, write func(context.Context) error) {
	value = fmt.Sprintf("%s-%d", name, round)
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"value": value}}
	switch round % 5 {
	case 0:
		return value, func(ctx context.Context) error {
			_, err := maps.Create(ctx, object, metav1.CreateOptions{})
			return err
		}
	case 1:
		return value, func(ctx context.Context) error {
			_, err := maps.Update(ctx, object, metav1.UpdateOptions{})
			return err
		}
	case 2:
		return value, func(ctx context.Context) error {
			patch := fmt.Appendf(nil, `{"data":{"value":%q}}`, value)
			_, err := maps.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
			return err
		}
	case 3:
		return value, func(ctx context.Context) error {
			config := applycorev1.ConfigMap(name, "default").WithData(object.Data)
			_, err := maps.Apply(ctx, config, metav1.ApplyOptions{FieldManager: "m", Force: true})
			return err
		}
	}
	return "", func(ctx context.Context) error { return maps.Delete(ctx, name, metav1.DeleteOptions{}) }
}

func bigConfigMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Data:       map[string]string{"name": name, "filler": strings.Repeat(name+" ", 300)},
	}
}

// What is in the embedded etcd has upstream's keys and form, and can be looked at through the socket in the data directory.
func TestEtcdHoldsUpstreamsForm(t *testing.T) {
	t.Parallel()
	p := serve(t, t.TempDir(), noControllers)
	c := p.client(t)
	ctx := deadline(t)
	if _, err := c.CoreV1().ConfigMaps("default").Create(ctx, bigConfigMap("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	if _, err := c.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	etcd, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{"unix://" + filepath.Join(p.dataDir, "etcd", "etcd.sock")},
		DialTimeout: 10 * time.Second, Logger: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer etcd.Close()
	answer, err := etcd.Get(ctx, "", clientv3.WithFromKey())
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, kv := range answer.Kvs {
		if string(kv.Key) == "compact_rev_key" {
			continue // the compactor's, as upstream's
		}
		if !ofEveryCluster(string(kv.Key)) {
			keys = append(keys, string(kv.Key))
		}
		if strings.HasPrefix(string(kv.Key), "/registry/apiregistration.k8s.io/") {
			continue // JSON, as upstream's
		}
		if !strings.HasPrefix(string(kv.Value), "k8s\x00\n") {
			t.Errorf("%s begins with %q", kv.Key, kv.Value[:min(8, len(kv.Value))])
		}
	}
	want := []string{
		"/registry/configmaps/default/a",
		"/registry/minions/n",
		"/registry/namespaces/default",
		"/registry/namespaces/kube-node-lease",
		"/registry/namespaces/kube-public",
		"/registry/namespaces/kube-system",
	}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

// ofEveryCluster reports whether a key is of something that the server itself keeps, besides the namespaces. What it is, is
// tested where it is made (internal/controllers).
func ofEveryCluster(key string) bool {
	return slices.ContainsFunc([]string{
		"flowschemas/", "prioritylevelconfigurations/", "priorityclasses/", "servicecidrs/", "ipaddresses/", "ranges/", "masterleases/",
		"services/specs/default/kubernetes", "services/endpoints/default/kubernetes", "endpointslices/default/kubernetes",
		"configmaps/kube-system/extension-apiserver-authentication",
		"configmaps/kube-system/kube-apiserver-legacy-service-account-token-tracking", "apiregistration.k8s.io/apiservices/", "clusterroles/", "clusterrolebindings/", "roles/", "rolebindings/",
		"serviceaccounts/", "configmaps/default/kube-root-ca.crt", "configmaps/kube-node-lease/kube-root-ca.crt",
		"configmaps/kube-public/kube-root-ca.crt", "configmaps/kube-system/kube-root-ca.crt",
	}, func(prefix string) bool { return strings.HasPrefix(key, "/registry/"+prefix) })
}

// SIGTERM with open watches ends the process by itself and without an error.
func TestTerminateWithOpenWatches(t *testing.T) {
	t.Parallel()
	p := serve(t, t.TempDir())
	c := p.client(t)
	for range 10 {
		w, err := c.CoreV1().Pods("").Watch(deadline(t), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
	}
	if err := p.terminate(); err != nil {
		t.Fatalf("%v: %s", err, p.stderr.String())
	}
}
