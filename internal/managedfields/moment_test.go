package managedfields

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// TestTimes: times are the same, or not, as they are in JSON, whatever their zones and however close.
func TestTimes(t *testing.T) {
	t.Parallel()
	type times struct {
		Time  metav1.Time
		Micro metav1.MicroTime
	}
	random := rand.New(rand.NewPCG(1, 2))
	zones := []*time.Location{time.UTC, time.FixedZone("", 5400), time.Local}
	one := func() times {
		at := time.Unix(random.Int64N(3)-1, random.Int64N(4)*600+random.Int64N(2)).In(zones[random.IntN(len(zones))])
		if random.IntN(8) == 0 {
			at = time.Time{}
		}
		return times{metav1.Time{Time: at}, metav1.MicroTime{Time: at}}
	}
	same := 0
	for range 20_000 {
		a, b := one(), one()
		for i := range 2 {
			l, r := reflect.ValueOf(&a).Elem().Field(i), reflect.ValueOf(&b).Elem().Field(i)
			got := sameLeaf(l, r)
			x, err1 := value.NewValueReflect(l.Addr().Interface())
			y, err2 := value.NewValueReflect(r.Addr().Interface())
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			if want := value.Equals(x, y); got != want {
				t.Fatalf("%v and %v: the same %t, want %t", l, r, got, want)
			}
			if got != sameLeaf(l.Addr(), r.Addr()) {
				t.Fatalf("%v and %v: through pointers, it is otherwise", l, r)
			}
			if got {
				same++
			}
		}
	}
	if same < 1000 {
		t.Errorf("only %d were the same", same)
	}
}
