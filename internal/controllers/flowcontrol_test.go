package controllers_test

import (
	"context"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/flowcontrol"
	"k8s.io/utils/ptr"

	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/verb"
)

const autoUpdate = "apf.kubernetes.io/autoupdate-spec"

// What is mandatory is kept; what is suggested only until somebody says that it is theirs.
func TestChangedFlowSchemas(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.server(t)
	control := c.flowControl(a)
	ensure(t, control)
	for _, test := range []struct {
		name, annotation string
		kept             bool
	}{
		{"catch-all", "false", false}, // its spec cannot be changed by anybody
		{"exempt", "", false},
		{"service-accounts", "true", false},
		{"global-default", "false", true},
		{"kube-scheduler", "", true}, // its generation says that it was changed
	} {
		update(t, a, c.resource(flowSchemas), "", test.name, func(s *flowcontrol.FlowSchema) {
			s.Annotations[autoUpdate] = test.annotation
			if test.annotation == "" {
				delete(s.Annotations, autoUpdate)
			}
			if s.Name != "catch-all" && s.Name != "exempt" {
				s.Spec.Rules = nil
			}
		})
		ensure(t, control)
		schema := get[*flowcontrol.FlowSchema](t, a, c.resource(flowSchemas), test.name)
		if kept := len(schema.Spec.Rules) == 0; kept != test.kept {
			t.Errorf("%s with %q: the change was kept: %t, want %t", test.name, test.annotation, kept, test.kept)
		}
		want := "true"
		if test.kept {
			want = "false"
		}
		if got := schema.Annotations[autoUpdate]; got != want {
			t.Errorf("%s with %q: the annotation has become %q, want %q", test.name, test.annotation, got, want)
		}
	}
}

// How much the exempt level may lend is the operator's to say.
func TestExemptLevelKeepsItsShares(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.server(t)
	control := c.flowControl(a)
	ensure(t, control)
	update(t, a, c.resource(priorityLevels), "", "exempt", func(l *flowcontrol.PriorityLevelConfiguration) {
		l.Spec.Exempt.NominalConcurrencyShares = ptr.To[int32](7)
	})
	ensure(t, control)
	level := get[*flowcontrol.PriorityLevelConfiguration](t, a, c.resource(priorityLevels), "exempt")
	if *level.Spec.Exempt.NominalConcurrencyShares != 7 {
		t.Errorf("it has %d shares", *level.Spec.Exempt.NominalConcurrencyShares)
	}
}

func createSchema(t *testing.T, c *cluster, a *verb.API, name, level, annotation string) {
	t.Helper()
	schema := &flowcontrol.FlowSchema{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: flowcontrol.FlowSchemaSpec{
			MatchingPrecedence:         500,
			PriorityLevelConfiguration: flowcontrol.PriorityLevelConfigurationReference{Name: level},
		},
	}
	if annotation != "" {
		schema.Annotations = map[string]string{autoUpdate: annotation}
	}
	if _, err := a.CreateObject(verb.AsServer(t.Context()), c.resource(flowSchemas), "", schema); err != nil {
		t.Fatal(err)
	}
}

// What earlier versions had goes, what people have made stays.
func TestUnwantedFlowSchemas(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.server(t)
	stays := map[string]bool{"": true, "false": true, "nonsense": true, "true": false}
	for annotation := range stays {
		createSchema(t, c, a, "schema-"+annotation+"x", "system", annotation)
	}
	ensure(t, c.flowControl(a))
	for annotation, want := range stays {
		_, err := a.GetObject(t.Context(), c.resource(flowSchemas), "", "schema-"+annotation+"x")
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		if got := err == nil; got != want {
			t.Errorf("annotated %q it has stayed: %t, want %t", annotation, got, want)
		}
	}
}

// The status follows what happens to priority levels, while the controller runs.
func TestDanglingFlowSchema(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.server(t)
	control := c.flowControl(a)
	ensure(t, control)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		control.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	createSchema(t, c, a, "mine", "my-level", "")
	waitForCondition(t, c, a, flowcontrol.FlowSchemaCondition{
		Type: "Dangling", Status: "True", Reason: "NotFound",
		Message: `This FlowSchema references the PriorityLevelConfiguration object named "my-level" but there is no such object`,
	})
	level := get[*flowcontrol.PriorityLevelConfiguration](t, a, c.resource(priorityLevels), "system")
	level.ObjectMeta = metav1.ObjectMeta{Name: "my-level"}
	if _, err := a.CreateObject(verb.AsServer(t.Context()), c.resource(priorityLevels), "", level); err != nil {
		t.Fatal(err)
	}
	waitForCondition(t, c, a, flowcontrol.FlowSchemaCondition{
		Type: "Dangling", Status: "False", Reason: "Found",
		Message: `This FlowSchema references the PriorityLevelConfiguration object named "my-level" and it exists`,
	})
}

// waitForCondition waits until the flow schema "mine" has a condition, and no other.
func waitForCondition(t *testing.T, c *cluster, a *verb.API, want flowcontrol.FlowSchemaCondition) {
	t.Helper()
	key := c.resource(flowSchemas).Key(root, "", "mine")
	cursor, err := a.State.Watch(state.Filter{Prefix: key, Exact: true}, a.State.Snapshot().Revision())
	if err != nil {
		t.Fatal(err)
	}
	defer cursor.Close()
	for {
		conditions := get[*flowcontrol.FlowSchema](t, a, c.resource(flowSchemas), "mine").Status.Conditions
		if len(conditions) == 1 {
			got := conditions[0]
			got.LastTransitionTime = metav1.Time{}
			if got == want {
				return
			}
		}
		if _, _, err := cursor.Next(t.Context()); err != nil {
			t.Fatalf("it has the conditions %v, want %v: %v", conditions, want, err)
		}
	}
}

// Two servers that disagree about a status do not keep writing it.
func TestStatusIsNotFoughtOver(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.server(t)
	control := c.flowControl(a)
	ensure(t, control)
	writes := 1
	for range 20 {
		update(t, a, c.resource(flowSchemas), "status", "exempt", func(s *flowcontrol.FlowSchema) {
			s.Status.Conditions[0].Message = "another opinion"
		})
		ensure(t, control)
		if get[*flowcontrol.FlowSchema](t, a, c.resource(flowSchemas), "exempt").Status.Conditions[0].Message != "another opinion" {
			writes++
		}
	}
	if writes != 6 {
		t.Errorf("it was written %d times, want 6", writes)
	}
}
