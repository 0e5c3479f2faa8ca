package edit

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func TestServed(t *testing.T) {
	t.Parallel()
	table := kind.NewTable(&kind.Kind{
		Group: "g", Resource: "things", Name: "Thing", Versions: []string{"v1"}, Verbs: []string{"get", "list"},
		Subresources: map[string]*kind.Subresource{"exec": {Name: "exec", Verbs: []string{"create"}}},
		Codec:        &kind.Codec{Creater: runtime.NewScheme()},
	})
	for call, want := range map[string]bool{
		"get /version/": true, "get /version/x": false, "get /logs/": false, "get /api/": true, "get /api/v1/": false,
		"get /apis/": true, "get /apis/g/": true, "get /apis/h/": false, "get /apis/g/v1/": true, "get /apis/g/v2/": false,
		"list /apis/g/v1/things": true, "list /apis/g/v1/namespaces/{namespace}/things": true, "list /apis/g/v2/things": false,
		"get /apis/g/v1/namespaces/{namespace}/things/{name}":         true,
		"delete /apis/g/v1/namespaces/{namespace}/things/{name}":      false,
		"create /apis/g/v1/namespaces/{namespace}/things/{name}/exec": true,
		"get /apis/g/v1/namespaces/{namespace}/things/{name}/exec":    false,
		"get /apis/g/v1/namespaces/{namespace}/things/{name}/log":     false,
		"watch /apis/g/v1/watch/things":                               false, "list /apis/g/v1/other": false,
	} {
		verb, path, _ := strings.Cut(call, " ")
		if got := served(table, path, verb); got != want {
			t.Errorf("%s: %v", call, got)
		}
	}
	for from, want := range map[[2]string]string{
		{"connect", "post"}: "create", {"connect", "head"}: "get", {"connect", "options"}: "get", {"connect", "put"}: "update",
		{"connect", "delete"}: "delete", {"watchlist", "get"}: "watch", {"deletecollection", "delete"}: "deletecollection",
	} {
		if got := verbOf(from[0], from[1]); got != want {
			t.Errorf("%v is %s", from, got)
		}
	}
}
