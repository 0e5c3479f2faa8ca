package controllers_test

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/networking"
)

func TestDefaultServiceCIDR(t *testing.T) {
	t.Parallel()
	single, dual := []string{"10.0.0.0/24"}, []string{"10.0.0.0/24", "fd00::/108"}
	for _, test := range []struct {
		name                string
		first, second, want []string
		ready               int // how many conditions there are in the end
	}{
		{"the same again", single, single, single, 1},
		{"a family more", single, dual, dual, 1},
		{"a family less", dual, single, dual, 1},
		{"another range", single, []string{"10.1.0.0/24"}, single, 1},
		{"not masked", []string{"10.0.0.7/24"}, single, single, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			a := c.server(t)
			ensure(t, c.serviceCIDR(a, test.first...))
			ensure(t, c.serviceCIDR(a, test.second...))
			got := get[*networking.ServiceCIDR](t, a, c.resource(serviceCIDRs), "kubernetes")
			if !slices.Equal(got.Spec.CIDRs, test.want) || len(got.Status.Conditions) != test.ready {
				t.Errorf("it has %v and %v", got.Spec.CIDRs, got.Status.Conditions)
			}
		})
	}
}

// Whoever says that it is not ready knows why; who takes the condition away gets it back.
func TestReadyConditionOfOthers(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.server(t)
	cidr := c.serviceCIDR(a, "10.0.0.0/24")
	ensure(t, cidr)
	for _, test := range []struct{ given, want metav1.ConditionStatus }{
		{metav1.ConditionFalse, metav1.ConditionFalse},
		{metav1.ConditionUnknown, metav1.ConditionTrue},
		{"", metav1.ConditionTrue},
	} {
		update(t, a, c.resource(serviceCIDRs), "status", "kubernetes", func(o *networking.ServiceCIDR) {
			o.Status.Conditions = nil
			if test.given != "" {
				o.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: test.given, LastTransitionTime: metav1.Now()}}
			}
		})
		ensure(t, cidr)
		conditions := get[*networking.ServiceCIDR](t, a, c.resource(serviceCIDRs), "kubernetes").Status.Conditions
		if len(conditions) != 1 || conditions[0].Status != test.want {
			t.Errorf("given %q the conditions are %v, want %s", test.given, conditions, test.want)
		}
	}
}
