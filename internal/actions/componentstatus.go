package actions

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"slices"
	"time"

	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/probe"
	probehttp "k8s.io/kubernetes/pkg/probe/http"
	"k8s.io/kubernetes/pkg/registry/core/componentstatus"
)

// probeTimeout is how long a component may take to say how it is. Upstream waits 20 seconds; what is on the same machine and
// has not answered by now is not well.
const probeTimeout = 5 * time.Second

// componentStatuses are upstream's, which asks all components at a time, in the order of their names.
type componentStatuses struct{ *componentstatus.REST }

var (
	_ rest.Getter = componentStatuses{}
	_ rest.Lister = componentStatuses{}
)

func newComponentStatuses(servers map[string]componentstatus.Server) componentStatuses {
	return componentStatuses{componentstatus.NewStorage(func() map[string]componentstatus.Server { return servers })}
}

// List asks all components. Upstream lists them as they answer.
func (c componentStatuses) List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	list, err := c.REST.List(ctx, options)
	if statuses, ok := list.(*api.ComponentStatusList); ok {
		slices.SortFunc(statuses.Items, func(a, b api.ComponentStatus) int { return cmp.Compare(a.Name, b.Name) })
	}
	return list, err
}

// components are those that upstream knows, where it looks for them (kubernetes/pkg/registry/core/rest/storage_core.go,
// serversToValidate), at their default ports: on this machine, with certificates of their own that nobody vouches for.
func components(stores []func(context.Context) error) map[string]componentstatus.Server {
	servers := map[string]componentstatus.Server{
		"controller-manager": newHealthz(10257),
		"scheduler":          newHealthz(10259),
	}
	for i, check := range stores {
		servers[fmt.Sprintf("etcd-%d", i)] = storeHealth(check)
	}
	return servers
}

// healthz asks a component at its /healthz.
type healthz struct {
	url    *url.URL
	prober probehttp.Prober
}

func newHealthz(port int) *healthz {
	return &healthz{
		url: &url.URL{Scheme: "https", Host: fmt.Sprintf("127.0.0.1:%d", port), Path: "/healthz"},
		// As upstream, but no redirect leads away from this machine.
		prober: probehttp.NewWithTLSConfig(&tls.Config{InsecureSkipVerify: true}, false),
	}
}

// DoServerCheck returns what the component says.
func (h *healthz) DoServerCheck() (probe.Result, string, error) {
	request, err := probehttp.NewProbeRequest(h.url, nil)
	if err != nil {
		return probe.Unknown, "", fmt.Errorf("failed to construct probe request: %w", err)
	}
	result, data, err := h.prober.Probe(request, probeTimeout)
	if err != nil {
		return probe.Unknown, "", err
	}
	return result, data, nil
}

// storeHealth asks a store.
type storeHealth func(context.Context) error

// DoServerCheck returns "ok" or the store's error.
func (s storeHealth) DoServerCheck() (probe.Result, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	if err := s(ctx); err != nil {
		return probe.Failure, "", err
	}
	return probe.Success, "ok", nil
}
