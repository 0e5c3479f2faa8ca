package managedfields

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/core"
)

// TestUnlike: what certainly differs is not the same for upstream, and most changes are seen.
func TestUnlike(t *testing.T) {
	t.Parallel()
	d, equality := &unlikes{}, equalityWithoutTimes()
	seen, all := 0, 0
	for i, s := range subjects(t, New()) {
		c := newChanger(int64(i))
		for range 20 {
			before := c.object(s.resource)
			after := before.DeepCopyObject()
			if d.between(before, after) {
				t.Fatalf("%v: a copy differs", s)
			}
			c.changeObject(after)
			same := equality.DeepEqual(before, after)
			if !same {
				all++
			}
			if !d.between(before, after) {
				continue
			}
			seen++
			if same {
				t.Fatalf("%v: what is the same differs: %v, %v", s, before, after)
			}
		}
	}
	if seen*2 < all {
		t.Errorf("of %d unlikes only %d are seen", all, seen)
	}
}

// BenchmarkUnlike compares pods of which the status has changed, as each update by somebody who has written before does.
func BenchmarkUnlike(b *testing.B) {
	before := &core.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default", Labels: map[string]string{"app": "a"}},
		Spec:       core.PodSpec{Containers: make([]core.Container, 2), Volumes: make([]core.Volume, 2)},
	}
	after := before.DeepCopy()
	after.Status.Phase = core.PodRunning
	d, equality := &unlikes{}, equalityWithoutTimes()
	b.Run("unlike", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !d.between(before, after) {
				b.Fatal("not seen")
			}
		}
	})
	b.Run("upstream", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if equality.DeepEqual(before, after) {
				b.Fatal("not seen")
			}
		}
	})
}
