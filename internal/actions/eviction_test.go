package actions

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/policy"

	"github.com/kayak-k8s/kayak/internal/verb"
)

const (
	pods    = "/api/v1/namespaces/default/pods"
	budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
)

// runningPod makes a pod that is ready, and stays for a while when it is deleted.
func (f *fixture) runningPod(t *testing.T, name string) {
	t.Helper()
	f.must(t, "POST", pods, fmt.Sprintf(`{"metadata":{"name":%q,"labels":{"app":"a"}},
		"spec":{"nodeName":"n","containers":[{"name":"c","image":"i"}]}}`, name))
	f.must(t, "PATCH", pods+"/"+name+"/status", `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`)
}

func (f *fixture) budget(t *testing.T, allowed int) {
	t.Helper()
	f.must(t, "POST", budgets, `{"metadata":{"name":"b"},"spec":{"minAvailable":1,"selector":{"matchLabels":{"app":"a"}}}}`)
	f.must(t, "PATCH", budgets+"/b/status", fmt.Sprintf(
		`{"status":{"observedGeneration":1,"disruptionsAllowed":%d,"currentHealthy":50,"desiredHealthy":45,"expectedPods":50}}`, allowed))
}

func (f *fixture) object(t *testing.T, group, resource, name string) runtime.Object {
	t.Helper()
	obj, err := f.GetObject(t.Context(), f.table.Resource(group, "v1", resource), "default", name)
	if err != nil {
		t.Fatal(err)
	}
	return obj
}

func evictionOf(name string) string {
	return fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q}}`, name)
}

// However many evictions race, a budget lets through what it allows, neither more nor less.
func TestBudgetUnderRace(t *testing.T) {
	t.Parallel()
	const all, allowed = 50, 5
	f := newFixture(t, TokenOptions{})
	f.budget(t, allowed)
	for i := range all {
		f.runningPod(t, fmt.Sprintf("p%d", i))
	}
	var evicted atomic.Int32
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range all {
		group.Go(func() {
			<-start
			name := fmt.Sprintf("p%d", i)
			w := f.do(t.Context(), "POST", pods+"/"+name+"/eviction", evictionOf(name))
			switch w.Code {
			case http.StatusCreated:
				evicted.Add(1)
			case http.StatusTooManyRequests:
			default:
				t.Errorf("%s: %d %s", name, w.Code, w.Body)
			}
		})
	}
	close(start)
	group.Wait()
	status := f.object(t, "policy", "poddisruptionbudgets", "b").(*policy.PodDisruptionBudget).Status
	if evicted.Load() != allowed || status.DisruptionsAllowed != 0 || len(status.DisruptedPods) != allowed {
		t.Errorf("%d evicted, status %+v", evicted.Load(), status)
	}
	going := 0
	for i := range all {
		pod := f.object(t, "", "pods", fmt.Sprintf("p%d", i)).(*api.Pod)
		_, condition := podutil.GetPodCondition(&pod.Status, api.DisruptionTarget)
		if (condition != nil) != (pod.DeletionTimestamp != nil) {
			t.Errorf("%s: deleted %v, condition %v", pod.Name, pod.DeletionTimestamp, condition)
		}
		if pod.DeletionTimestamp != nil {
			going++
		}
	}
	if going != allowed {
		t.Errorf("%d pods are going", going)
	}
}

// Neither the budget nor the pod notices a dry run.
func TestEvictionDryRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t, TokenOptions{})
	f.budget(t, 1)
	f.runningPod(t, "p")
	before := f.object(t, "", "pods", "p").(*api.Pod).ResourceVersion
	budget := f.object(t, "policy", "poddisruptionbudgets", "b").(*policy.PodDisruptionBudget).ResourceVersion
	f.must(t, "POST", pods+"/p/eviction?dryRun=All", evictionOf("p"))
	f.must(t, "POST", pods+"/p/eviction", strings.TrimSuffix(evictionOf("p"), "}")+`,"deleteOptions":{"dryRun":["All"]}}`)
	if after := f.object(t, "", "pods", "p").(*api.Pod).ResourceVersion; after != before {
		t.Error("the pod has changed")
	}
	if after := f.object(t, "policy", "poddisruptionbudgets", "b").(*policy.PodDisruptionBudget).ResourceVersion; after != budget {
		t.Error("the budget has changed")
	}
}

// A pod that is pending while its status changes again and again is evicted all the same, and one that has become ready in
// between is protected.
func TestEvictionOfChangingPod(t *testing.T) {
	t.Parallel()
	f := newFixture(t, TokenOptions{})
	f.budget(t, 0)
	f.must(t, "POST", pods, `{"metadata":{"name":"p","labels":{"app":"a"}},"spec":{"nodeName":"n","containers":[{"name":"c","image":"i"}]}}`)
	e := &eviction{objects{api: f.API, resource: f.table.Resource}}
	ctx := verb.AsServer(t.Context())
	seen := f.object(t, "", "pods", "p").(*api.Pod)
	f.must(t, "PATCH", pods+"/p/status", `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`)
	if err := e.deletePod(ctx, seen, atVersion(&metav1.DeleteOptions{}, seen)); err == nil {
		t.Fatal("a pod was deleted that is not what it was")
	}
	if _, err := e.evict(ctx, "default", "p", &metav1.DeleteOptions{}); err == nil || !strings.Contains(err.Error(), "disruption budget") {
		t.Fatalf("a ready pod was evicted: %v", err)
	}
	if _, err := e.evictUnready(ctx, seen, "b", &metav1.DeleteOptions{}); err == nil || !strings.Contains(err.Error(), "disruption budget") {
		t.Fatalf("clients are not told to try again: %v", err)
	}
	if pod := f.object(t, "", "pods", "p").(*api.Pod); pod.DeletionTimestamp != nil {
		t.Fatal("the pod is going")
	}
}

func TestBrokenBudgets(t *testing.T) {
	t.Parallel()
	many := map[string]metav1.Time{}
	for i := range maxDisrupted + 1 {
		many[fmt.Sprint(i)] = metav1.Time{}
	}
	for want, status := range map[string]policy.PodDisruptionBudgetStatus{
		`poddisruptionbudget.policy "b" is forbidden: pdb disruptions allowed is negative`: {DisruptionsAllowed: -1},
		`poddisruptionbudget.policy "b" is forbidden: DisruptedPods map too big - ` +
			`too many evictions not confirmed by PDB controller`: {DisruptionsAllowed: 1, DisruptedPods: many},
	} {
		budget := &policy.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Status: status}
		if err := checkBudget(budget); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
