package translations

import (
	"strings"
	"testing"
)

func TestIsKubectl(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]bool{
		"kayak serve": false, "/usr/bin/kubectl get pods": true, "kayak kubectl get pods": true, "etcd": false, "": false,
		"kayak serve kubectl": false,
	} {
		if got := isKubectl(strings.Fields(args)); got != want {
			t.Errorf("%q: %v", args, got)
		}
	}
}
