package verb

import (
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	api "k8s.io/kubernetes/pkg/apis/core"
)

func TestKeptRow(t *testing.T) {
	t.Parallel()
	created := time.Unix(1_000_000, 0)
	row := &metav1.TableRow{
		Cells:      []any{"a<b", int64(3), "5s", "last"},
		Conditions: []metav1.TableRowCondition{{Type: metav1.RowCompleted, Status: metav1.ConditionTrue}},
	}
	for _, test := range []struct {
		age  int
		now  time.Duration
		want string
	}{
		{2, 7 * time.Second, `{"cells":["a\u003cb",3,"7s","last"],"conditions":[{"type":"Completed","status":"True"}]`},
		{2, 2 * time.Hour, `{"cells":["a\u003cb",3,"120m","last"],"conditions":[{"type":"Completed","status":"True"}]`},
		{-1, time.Hour, `{"cells":["a\u003cb",3,"5s","last"],"conditions":[{"type":"Completed","status":"True"}]`},
	} {
		kept, err := encodeRow(row, test.age, created.Unix())
		if err != nil {
			t.Fatal(err)
		}
		if got := string(keptRow(kept).appendTo(nil, keptRow(kept).age(created.Add(test.now)))); got != test.want {
			t.Errorf("after %s: %s, want %s", test.now, got, test.want)
		}
	}
}

// TestShiftTimes: all times of an object move, wherever they are, once, and nothing else does.
func TestShiftTimes(t *testing.T) {
	t.Parallel()
	at, by := metav1.Unix(1_000_000, 0), -time.Hour
	moved := metav1.NewTime(at.Add(by))
	pod := func(at metav1.Time) *api.Pod {
		p := &api.Pod{Status: api.PodStatus{
			StartTime:         &at,
			Conditions:        []api.PodCondition{{LastTransitionTime: at, Reason: "x"}, {}},
			ContainerStatuses: []api.ContainerStatus{{State: api.ContainerState{Running: &api.ContainerStateRunning{StartedAt: at}}, RestartCount: 3}},
		}}
		p.CreationTimestamp = at
		p.Labels = map[string]string{"a": "b"}
		return p
	}
	got := pod(at)
	times{}.shift(reflect.ValueOf(got), by)
	if want := pod(moved); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	byName := map[string]metav1.MicroTime{"a": metav1.NewMicroTime(at.Time), "zero": {}}
	times{}.shift(reflect.ValueOf(&byName), by)
	if m := byName["a"]; !m.Time.Equal(moved.Time) || !byName["zero"].Time.IsZero() {
		t.Errorf("in a map: %v", byName)
	}
}
