package kayak_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/kayak-k8s/kayak"
)

// A thousand writers of one object, in all the ways there are, lose no update; and those who send a patch without a
// resourceVersion never hear of a conflict.
func TestThousandWritersOfOneObject(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	eachStore(t, func(t *testing.T, server *kayak.Server) {
		const writers = 1000
		maps := client(t, server.RESTConfig()).CoreV1().ConfigMaps("default")
		if _, err := maps.Create(t.Context(), configMap("counter"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		patches := []func(context.Context, typedcorev1.ConfigMapInterface, string) error{
			patchKey(types.MergePatchType), patchKey(types.StrategicMergePatchType), patchKeyJSON,
		}
		var wg sync.WaitGroup
		// A write has 34 seconds, and on a busy machine all of them together take longer; so not all wait for their turn at once.
		underWay := make(chan struct{}, 200)
		for w := range writers {
			wg.Go(func() {
				underWay <- struct{}{}
				defer func() { <-underWay }()
				way := patches[w%len(patches)]
				switch w % 50 {
				case 0: // few: each is a manager more, whose fields every further write has to look at
					way = applyKey
				case 10, 20, 30, 40: // few: each begins again, with a GET, whenever another was faster
					way = appendKey
				}
				if err := way(t.Context(), maps, fmt.Sprintf("k%d", w)); err != nil {
					t.Errorf("writer %d: %v", w, err)
				}
			})
		}
		wg.Wait()
		counter, err := maps.Get(t.Context(), "counter", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(counter.Data) != writers+1 {
			t.Errorf("%d of %d writes are there", len(counter.Data)-1, writers)
		}
	})
}

func patchKey(of types.PatchType) func(context.Context, typedcorev1.ConfigMapInterface, string) error {
	return func(ctx context.Context, maps typedcorev1.ConfigMapInterface, key string) error {
		patch := fmt.Appendf(nil, `{"data":{%q:"v"}}`, key)
		_, err := maps.Patch(ctx, "counter", of, patch, metav1.PatchOptions{})
		return err
	}
}

func patchKeyJSON(ctx context.Context, maps typedcorev1.ConfigMapInterface, key string) error {
	patch := fmt.Appendf(nil, `[{"op":"add","path":"/data/%s","value":"v"}]`, key)
	_, err := maps.Patch(ctx, "counter", types.JSONPatchType, patch, metav1.PatchOptions{})
	return err
}

// applyKey is one of a few managers that apply; what each applied before stays only if it says so again, so each key has its own.
func applyKey(ctx context.Context, maps typedcorev1.ConfigMapInterface, key string) error {
	config := applycorev1.ConfigMap("counter", "default").WithData(map[string]string{key: "v"})
	_, err := maps.Apply(ctx, config, metav1.ApplyOptions{FieldManager: key})
	if apierrors.IsConflict(err) {
		return fmt.Errorf("a conflict over fields that nobody else has: %w", err)
	}
	return err
}
