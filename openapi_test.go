package kayak_test

import (
	"encoding/json"
	"slices"
	"testing"

	"k8s.io/client-go/openapi3"

	"github.com/kayak-k8s/kayak"
)

// The OpenAPI documents are there, and the index at "/" says so.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	discovery := client(t, start(t, kayak.Config{}).RESTConfig()).Discovery()
	root := openapi3.NewRoot(discovery.OpenAPIV3())
	versions, err := root.GroupVersions()
	if err != nil {
		t.Fatal(err)
	}
	if len(versions) == 0 {
		t.Error("no group version has a document")
	}
	for _, gv := range versions {
		if _, err := root.GVSpec(gv); err != nil {
			t.Errorf("%s: %v", gv, err)
		}
	}
	if _, err := discovery.OpenAPISchema(); err != nil {
		t.Error(err)
	}
	body, err := discovery.RESTClient().Get().AbsPath("/").Do(t.Context()).Raw()
	if err != nil {
		t.Fatal(err)
	}
	var index struct{ Paths []string }
	if err := json.Unmarshal(body, &index); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/openapi/v2", "/openapi/v3", "/openapi/v3/"} {
		if !slices.Contains(index.Paths, path) {
			t.Errorf("%s is not listed at /", path)
		}
	}
}
