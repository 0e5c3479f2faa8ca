package kayaktest

import (
	"strings"
	"testing"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
)

// sequential is an environment variable that nobody reads. Setting one is how a test says that it is not parallel: package testing
// does not let those that are do it, nor lets this one become parallel.
const sequential = "KAYAKTEST_FEATURE_GATES"

// setGates sets feature gates until the test ends.
func setGates(t testing.TB, settings []string) {
	t.Helper()
	if len(settings) == 0 {
		return
	}
	t.Setenv(sequential, strings.Join(settings, ","))
	gates := utilfeature.DefaultMutableFeatureGate
	before, explicit := map[string]bool{}, map[string]bool{}
	for name := range gates.GetAll() {
		before[string(name)] = gates.Enabled(name)
		explicit[string(name)] = gates.ExplicitlySet(name)
	}
	t.Cleanup(func() {
		if err := restoreGates(gates, before, explicit); err != nil {
			t.Errorf("kayaktest: cannot set the feature gates back: %v", err)
		}
	})
	if err := gates.Set(strings.Join(settings, ",")); err != nil {
		t.Fatalf("kayaktest: cannot set feature gates: %v", err)
	}
}

// restoreGates sets those back that are otherwise than they were.
func restoreGates(gates featuregate.MutableVersionedFeatureGate, before, explicit map[string]bool) error {
	changed := map[string]bool{}
	for name, was := range before {
		if gates.Enabled(featuregate.Feature(name)) != was {
			changed[name] = was
		}
	}
	if err := gates.SetFromMap(changed); err != nil { // all at once: some depend on others
		return err
	}
	for name := range before {
		if gates.ExplicitlySet(featuregate.Feature(name)) && !explicit[name] {
			if err := gates.ResetFeatureValueToDefault(featuregate.Feature(name)); err != nil {
				return err
			}
		}
	}
	return nil
}
