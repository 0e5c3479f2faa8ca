package discovery

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"github.com/kayak-k8s/kayak/internal/version"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// client returns client-go's discovery client of a server that serves h, and a count of its requests.
func client(t *testing.T, h *Handler) (*discovery.DiscoveryClient, *atomic.Int64) {
	t.Helper()
	requests := &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		switch err := h.Serve(w, r); {
		case errors.Is(err, ErrNotFound):
			http.NotFound(w, r)
		case err != nil:
			wire.WriteError(w, r, err)
		}
	}))
	t.Cleanup(server.Close)
	c, err := discovery.NewDiscoveryClientForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return c, requests
}

// What client-go makes of the documents is the same in both forms, and is what the table has.
func TestClientGo(t *testing.T) {
	t.Parallel()
	table := builtinTable(t)
	h := New(table, Options{ServerAddress: address})
	aggregated, requests := client(t, h)
	groups, resources, err := aggregated.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("the client made %d requests: it did not take the aggregated documents", n)
	}
	legacy, requests := client(t, h)
	legacy.UseLegacyDiscovery = true
	legacyGroups, legacyResources, err := legacy.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	if n := requests.Load(); n <= 2 {
		t.Errorf("the client made %d requests: it did not take the single documents", n)
	}
	if diff := cmp.Diff(withoutAddresses(legacyGroups), withoutAddresses(groups)); diff != "" {
		t.Errorf("groups (-single documents +aggregated):\n%s", diff)
	}
	if diff := cmp.Diff(withoutDetails(legacyResources), withoutDetails(resources)); diff != "" {
		t.Errorf("resources (-single documents +aggregated):\n%s", diff)
	}
	var served []string
	for _, list := range resources {
		for _, r := range list.APIResources {
			served = append(served, list.GroupVersion+" "+r.Name)
		}
	}
	for _, k := range table.Kinds() {
		for _, v := range k.Versions {
			gv := schema.GroupVersion{Group: k.Group, Version: v}
			if !slices.Contains(served, gv.String()+" "+k.Resource) {
				t.Errorf("the client does not see %s in %s", k.Resource, gv)
			}
		}
	}
	got, err := aggregated.ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(version.Info(), *got); diff != "" {
		t.Errorf("version (-want +got):\n%s", diff)
	}
}

// withoutAddresses leaves out what only the single documents have.
func withoutAddresses(groups []*metav1.APIGroup) []metav1.APIGroup {
	var list []metav1.APIGroup
	for _, g := range groups {
		c := *g
		c.TypeMeta, c.ServerAddressByClientCIDRs = metav1.TypeMeta{}, nil
		list = append(list, c)
	}
	return list
}

// withoutDetails leaves out what the forms do not share: the hash of the storage version, and kind and version of a list.
// In the aggregated form, the client lends subresources the group and version of the list.
func withoutDetails(lists []*metav1.APIResourceList) []metav1.APIResourceList {
	var result []metav1.APIResourceList
	for _, list := range lists {
		c := metav1.APIResourceList{GroupVersion: list.GroupVersion}
		for _, r := range list.APIResources {
			r.StorageVersionHash, r.Group, r.Version = "", "", ""
			r.SingularName = "" // the client gives subresources that of their resource
			c.APIResources = append(c.APIResources, r)
		}
		result = append(result, c)
	}
	// The client keeps the aggregated documents' in a map.
	slices.SortFunc(result, func(a, b metav1.APIResourceList) int { return strings.Compare(a.GroupVersion, b.GroupVersion) })
	return result
}
