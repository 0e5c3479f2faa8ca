package discovery

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"sync"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// group has the documents of one group. They depend on its kinds and nothing else.
type group struct {
	name     string
	kinds    []*kind.Kind
	versions []*groupVersion // the preferred first
	info     metav1.APIGroup // as in the list at /apis
	document *document       // /apis/{group}

	// aggregated is the group's part of the aggregated document, in JSON and in protobuf.
	aggregated func() (encodedItem, error)
}

// groupVersion has the document of one version of a group.
type groupVersion struct {
	name      string
	resources []metav1.APIResource
	document  *document // /apis/{group}/{version}
}

type encodedItem struct{ json, protobuf []byte }

func newGroup(name string, kinds []*kind.Kind) *group {
	g := &group{name: name, kinds: kinds, info: metav1.APIGroup{Name: name}}
	for _, v := range servedVersions(kinds) {
		gv := schema.GroupVersion{Group: name, Version: v}
		g.versions = append(g.versions, newGroupVersion(gv, kinds))
		g.info.Versions = append(g.info.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: v})
	}
	g.info.PreferredVersion = g.info.Versions[0]
	g.document = typedDocument(metav1.Unversioned.WithKind("APIGroup"), func() marshaler {
		document := g.info
		document.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
		return &document
	})
	g.aggregated = sync.OnceValues(func() (encodedItem, error) { return encodeItem(g.discovery()) })
	return g
}

// servedVersions lists the versions that kinds are served in, the preferred first. Within all of upstream's groups the order of
// priorities is that of stability and number.
func servedVersions(kinds []*kind.Kind) []string {
	var versions []string
	for _, k := range kinds {
		versions = append(versions, k.Versions...)
	}
	slices.Sort(versions)
	versions = slices.Compact(versions)
	slices.SortFunc(versions, func(a, b string) int { return version.CompareKubeAwareVersionStrings(b, a) })
	return versions
}

func newGroupVersion(gv schema.GroupVersion, kinds []*kind.Kind) *groupVersion {
	v := &groupVersion{name: gv.Version, resources: apiResources(gv, kinds)}
	gvk := metav1.Unversioned.WithKind("APIResourceList")
	if gv.Group == "" {
		gvk.Version = "" // as Kubernetes 1.1 did it
	}
	v.document = typedDocument(gvk, func() marshaler {
		return &metav1.APIResourceList{
			TypeMeta:     metav1.TypeMeta{Kind: gvk.Kind, APIVersion: gvk.Version},
			GroupVersion: gv.String(),
			APIResources: v.resources,
		}
	})
	return v
}

// apiResources lists the resources and subresources of a version, sorted by name.
func apiResources(gv schema.GroupVersion, kinds []*kind.Kind) []metav1.APIResource {
	resources := []metav1.APIResource{}
	for _, k := range kinds {
		if !slices.Contains(k.Versions, gv.Version) {
			continue
		}
		resources = append(resources, metav1.APIResource{
			Name:               k.Resource,
			SingularName:       k.Singular,
			Namespaced:         k.Namespaced,
			Kind:               k.Name,
			Verbs:              discovered(k),
			ShortNames:         k.ShortNames,
			Categories:         k.Categories,
			StorageVersionHash: storageVersionHash(k),
		})
		for _, s := range k.Subresources {
			resources = append(resources, apiSubresource(gv, k, s))
		}
	}
	slices.SortFunc(resources, func(a, b metav1.APIResource) int { return strings.Compare(a.Name, b.Name) })
	return resources
}

// apiSubresource describes a subresource. It is read and written as the object that it is a part of, unless it has a kind of its
// own, whose group and version are told where they are not the resource's.
func apiSubresource(gv schema.GroupVersion, k *kind.Kind, s *kind.Subresource) metav1.APIResource {
	result := metav1.APIResource{
		Name:       k.Resource + "/" + s.Name,
		Namespaced: k.Namespaced,
		Kind:       k.Name,
		Verbs:      sorted(s.Verbs),
	}
	if s.Face != nil {
		result.Kind = s.Face.Name
		if s.Face.Version != gv {
			result.Group, result.Version = s.Face.Version.Group, s.Face.Version.Version
		}
	}
	return result
}

func discovered(k *kind.Kind) []string {
	if k.Discovered != nil {
		return k.Discovered
	}
	return sorted(k.Verbs)
}

func sorted(verbs []string) []string { return slices.Sorted(slices.Values(verbs)) }

// storageVersionHash lets storage migrators see that the stored form of a kind has changed. What is not stored has none.
func storageVersionHash(k *kind.Kind) string {
	if k.Storage.Version == "" {
		return ""
	}
	hash := sha256.Sum256([]byte(k.Storage.Group + "/" + k.Storage.Version + "/" + k.Name))
	return base64.StdEncoding.EncodeToString(hash[:8])
}

// discovery returns the group's part of the aggregated document.
func (g *group) discovery() *apidiscovery.APIGroupDiscovery {
	result := &apidiscovery.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: g.name}}
	for _, v := range g.versions {
		result.Versions = append(result.Versions, apidiscovery.APIVersionDiscovery{
			Version:   v.name,
			Resources: discoveryResources(v.resources),
			Freshness: apidiscovery.DiscoveryFreshnessCurrent,
		})
	}
	return result
}

// discoveryResources gives resources the form of the aggregated document, where subresources are within their resource.
func discoveryResources(list []metav1.APIResource) []apidiscovery.APIResourceDiscovery {
	resources := []apidiscovery.APIResourceDiscovery{}
	index := map[string]int{}
	for _, r := range list {
		parent, name, isSub := strings.Cut(r.Name, "/")
		kind := &metav1.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
		if isSub {
			// Sorted by name, a resource comes before its subresources.
			in := &resources[index[parent]]
			in.Subresources = append(in.Subresources, apidiscovery.APISubresourceDiscovery{
				Subresource: name, ResponseKind: kind, Verbs: r.Verbs,
			})
			continue
		}
		index[r.Name] = len(resources)
		resources = append(resources, apidiscovery.APIResourceDiscovery{
			Resource:         r.Name,
			ResponseKind:     kind,
			Scope:            scope(r.Namespaced),
			SingularResource: r.SingularName,
			Verbs:            r.Verbs,
			ShortNames:       r.ShortNames,
			Categories:       r.Categories,
		})
	}
	return resources
}

func scope(namespaced bool) apidiscovery.ResourceScope {
	if namespaced {
		return apidiscovery.ScopeNamespace
	}
	return apidiscovery.ScopeCluster
}

func encodeItem(item *apidiscovery.APIGroupDiscovery) (encodedItem, error) {
	asJSON, err := json.Marshal(item)
	if err != nil {
		return encodedItem{}, err
	}
	asProtobuf, err := item.Marshal()
	return encodedItem{asJSON, asProtobuf}, err
}

// compareGroups orders groups by the priorities of upstream's APIServices, and by name where these are equal
// (kube-apiserver/app/aggregator.go, controlplane/apiserver/aggregator.go).
func compareGroups(a, b *group) int {
	return cmp.Or(cmp.Compare(priority(b.name), priority(a.name)), strings.Compare(a.name, b.name))
}

// Priorities are those of the APIService of a group and version.
func Priorities(gv schema.GroupVersion) (group, version int32) {
	if gv.Group == "" {
		return 18000, 1
	}
	if priority(gv.Group) == customPriority {
		return customPriority, customVersionPriority
	}
	return int32(priority(gv.Group)), versionPriority(gv)
}

// customVersionPriority is that of the versions of CustomResourceDefinitions: they are put in order by their names.
const customVersionPriority = 100

// versionPriority returns the priority of a version in its group.
func versionPriority(gv schema.GroupVersion) int32 {
	switch gv {
	case schema.GroupVersion{Group: "autoscaling", Version: "v2"}:
		return 30
	case schema.GroupVersion{Group: "flowcontrol.apiserver.k8s.io", Version: "v1"}, schema.GroupVersion{Group: "resource.k8s.io", Version: "v1"}:
		return 21
	case schema.GroupVersion{Group: "resource.k8s.io", Version: "v1beta2"}:
		return 15
	case schema.GroupVersion{Group: "coordination.k8s.io", Version: "v1beta1"}:
		return 13
	case schema.GroupVersion{Group: "admissionregistration.k8s.io", Version: "v1beta1"},
		schema.GroupVersion{Group: "coordination.k8s.io", Version: "v1alpha2"}:
		return 12
	case schema.GroupVersion{Group: "scheduling.k8s.io", Version: "v1alpha3"}:
		return 3
	case schema.GroupVersion{Group: "resource.k8s.io", Version: "v1alpha3"}, schema.GroupVersion{Group: "lifecycle.k8s.io", Version: "v1alpha1"}:
		return 1
	}
	if gv.Version == "v1" {
		return 15
	}
	return 9
}

// customPriority is that of the groups of CustomResourceDefinitions.
const customPriority = 1000

// priority returns the priority of a group.
func priority(group string) int {
	switch group {
	case "apiregistration.k8s.io":
		return math.MaxInt // whatever others say of theirs
	case "apps":
		return 17800
	case "events.k8s.io":
		return 17750
	case "authentication.k8s.io":
		return 17700
	case "authorization.k8s.io":
		return 17600
	case "autoscaling":
		return 17500
	case "batch":
		return 17400
	case "certificates.k8s.io":
		return 17300
	case "networking.k8s.io":
		return 17200
	case "policy":
		return 17100
	case "rbac.authorization.k8s.io":
		return 17000
	case "storage.k8s.io":
		return 16800
	case "admissionregistration.k8s.io", "apiextensions.k8s.io":
		return 16700
	case "scheduling.k8s.io":
		return 16600
	case "coordination.k8s.io":
		return 16500
	case "node.k8s.io":
		return 16300
	case "discovery.k8s.io", "resource.k8s.io":
		return 16200
	case "flowcontrol.apiserver.k8s.io":
		return 16100
	case "internal.apiserver.k8s.io":
		return 16000
	case "storagemigration.k8s.io":
		return 15800
	case "lifecycle.k8s.io":
		return 15700
	}
	return customPriority
}
