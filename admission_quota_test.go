package kayak_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// 100 writers on two servers, and a quota of 50: exactly 50 get through, and the others are told why they do not.
func TestQuotaNeverOverAdmits(t *testing.T) {
	t.Parallel()
	const limit, writers = 50, 100
	shared := startEtcd(t)
	clients := []kubernetes.Interface{
		client(t, start(t, shared.config()).RESTConfig()), client(t, start(t, shared.config()).RESTConfig()),
	}
	hard := corev1.ResourceList{"count/configmaps": resource.MustParse(fmt.Sprint(limit))}
	quotas := clients[0].CoreV1().ResourceQuotas("default")
	q, err := quotas.Create(t.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: hard},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// The quota controller would do this.
	q.Status = corev1.ResourceQuotaStatus{Hard: hard, Used: corev1.ResourceList{"count/configmaps": resource.MustParse("0")}}
	if _, err := quotas.UpdateStatus(t.Context(), q, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	// A dry run is told what would be, and charged nothing.
	if _, err := clients[0].CoreV1().ConfigMaps("default").Create(t.Context(), configMap("dry"), metav1.CreateOptions{DryRun: []string{"All"}}); err != nil {
		t.Fatal(err)
	}
	var admitted, refused, conflicts atomic.Int64
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			maps := clients[i%2].CoreV1().ConfigMaps("default")
			for {
				_, err := maps.Create(t.Context(), configMap(fmt.Sprintf("m%d", i)), metav1.CreateOptions{})
				switch {
				case err == nil:
					admitted.Add(1)
				case apierrors.IsConflict(err):
					conflicts.Add(1) // of the quota's status with the other server; a client tries again
					continue
				case strings.Contains(err.Error(), "exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=50, limited: count/configmaps=50"):
					refused.Add(1)
				default:
					t.Errorf("writer %d: %v", i, err)
				}
				return
			}
		})
	}
	wg.Wait()
	list, err := clients[1].CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	created := 0
	for _, m := range list.Items {
		if strings.HasPrefix(m.Name, "m") {
			created++
		}
	}
	if created != limit || admitted.Load() != limit || refused.Load() != writers-limit {
		t.Errorf("%d are stored, %d were admitted, %d refused", created, admitted.Load(), refused.Load())
	}
	t.Logf("%d conflicts reached clients", conflicts.Load())
}
