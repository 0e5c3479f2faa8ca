package controllers_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	api "k8s.io/kubernetes/pkg/apis/core"

	"github.com/kayak-k8s/kayak/internal/controllers"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// The date is there after the first start, stays, comes back, and is mended.
func TestLegacyTokens(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.server(t)
	maps := c.resource(resource{"", "configmaps"})
	tracking := &controllers.LegacyTokens{API: a, ConfigMaps: maps, Logger: quiet()}
	const name = "kube-apiserver-legacy-service-account-token-tracking"
	since := func() string {
		t.Helper()
		ensure(t, tracking)
		obj, err := a.GetObject(t.Context(), maps, "kube-system", name)
		if err != nil {
			t.Fatal(err)
		}
		return obj.(*api.ConfigMap).Data["since"]
	}
	set := func(data map[string]string) {
		t.Helper()
		_, err := a.UpdateObject(verb.AsServer(t.Context()), maps, "", "kube-system", name, &metav1.UpdateOptions{},
			func(obj runtime.Object) (runtime.Object, error) {
				obj.(*api.ConfigMap).Data = data
				return obj, nil
			})
		if err != nil {
			t.Fatal(err)
		}
	}
	recent := func(date string) bool {
		at, err := time.Parse(time.DateOnly, date)
		return err == nil && time.Since(at) < 48*time.Hour && time.Since(at) > -24*time.Hour
	}
	if got := since(); !recent(got) {
		t.Errorf("at first it is %q", got)
	}
	set(map[string]string{"since": "2020-02-02"})
	if got := since(); got != "2020-02-02" {
		t.Errorf("the date has become %q", got)
	}
	for _, data := range []map[string]string{nil, {"since": "yesterday"}} {
		set(data)
		if got := since(); !recent(got) {
			t.Errorf("%v was mended to %q", data, got)
		}
	}
	if _, _, err := a.DeleteObject(verb.AsServer(t.Context()), maps, "kube-system", name, &metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := since(); !recent(got) {
		t.Errorf("it came back as %q", got)
	}
}
