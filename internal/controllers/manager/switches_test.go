package manager

import (
	"slices"
	"strings"
	"testing"
)

func TestSwitches(t *testing.T) {
	t.Parallel()
	var byDefault []string
	all, off := Names()
	for _, name := range all {
		if !slices.Contains(off, name) {
			byDefault = append(byDefault, name)
		}
	}
	for _, test := range []struct {
		switches []string
		want     []string
		err      string
	}{
		{nil, byDefault, ""},
		{[]string{}, nil, ""},
		{None(), nil, ""},
		{[]string{"*"}, byDefault, ""},
		{[]string{"*", "deployment"}, append(slices.Clone(byDefault), "deployment-controller"), ""},
		{[]string{"garbagecollector"}, []string{"garbage-collector-controller"}, ""},
		{[]string{"-namespace-controller", "namespace"}, nil, ""}, // the first one decides
		{[]string{"namespace", "-namespace"}, []string{"namespace-controller"}, ""},
		{[]string{"*", "-nonsense"}, nil, `"nonsense" is not in the list of known controllers`},
	} {
		on, err := selected(test.switches)
		var got []string
		for _, d := range on {
			got = append(got, d.name)
		}
		if err != nil && err.Error() != test.err || err == nil && test.err != "" {
			t.Errorf("%q: error %v, want %q", test.switches, err, test.err)
		} else if !slices.Equal(got, test.want) {
			t.Errorf("%q switches on %q, want %q", test.switches, got, test.want)
		}
	}
	if len(byDefault) < 6 || !strings.HasSuffix(byDefault[0], "-controller") {
		t.Errorf("by default there are %q", byDefault)
	}
}
