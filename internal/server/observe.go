package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kayak-k8s/kayak/internal/request"
)

// observe counts a request that has been answered.
func (s *Server) observe(x *exchange) {
	long := x.info != nil && longRunning(x.info)
	var total time.Duration
	for i, took := range x.took {
		total += took
		if !long || i < len(s.pipeline)-1 {
			s.stageTimes[i].Observe(took.Seconds())
		}
	}
	series := s.options.Metrics.of(s.labels(x))
	series.requests.Inc()
	if long {
		return
	}
	series.durations.Observe(total.Seconds())
	series.sizes.Observe(float64(x.w.bytes))
}

// seriesLabels are what requests are told apart by.
type seriesLabels struct {
	dryRun, code                                           string
	verb, group, version, resource, subresource, scopeName string
}

// values are verb, group, version, resource, subresource, scope and component.
func (l seriesLabels) values() []string {
	const component = "apiserver"
	return []string{l.verb, l.group, l.version, l.resource, l.subresource, l.scopeName, component}
}

// series are what is counted of requests with the same labels.
type series struct {
	requests         prometheus.Counter
	durations, sizes prometheus.Observer
}

// of returns the series for labels. To find them by each vector's own means takes as long as all other stages of a GET together.
func (m *Metrics) of(l seriesLabels) *series {
	m.mu.RLock()
	found := m.series[l]
	m.mu.RUnlock()
	if found != nil {
		return found
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	rest := l.values()
	made := &series{
		requests:  m.requests.WithLabelValues(append([]string{l.dryRun, l.code}, rest...)...),
		durations: m.durations.WithLabelValues(append([]string{l.dryRun}, rest...)...),
		sizes:     m.sizes.WithLabelValues(rest...),
	}
	m.series[l] = made
	return made
}

func codeLabel(code int) string {
	switch {
	case code == http.StatusOK:
		return "200"
	case code == http.StatusCreated:
		return "201"
	case code < 100 || code > 599:
		return "0" // the client has gone before it was answered
	}
	return strconv.Itoa(code)
}

// labels of a request. What is not served has none, so that clients cannot make series.
func (s *Server) labels(x *exchange) seriesLabels {
	l := seriesLabels{code: codeLabel(x.w.code), verb: methodLabel(x.r.Method)}
	if x.dryRun {
		l.dryRun = "All"
	}
	info := x.info
	if info == nil || !info.IsResourceRequest {
		return l
	}
	resource := s.options.Kinds.Resource(info.APIGroup, info.APIVersion, info.Resource)
	if resource == nil && s.options.Custom != nil {
		resource = s.options.Custom().Resource(info.APIGroup, info.APIVersion, info.Resource)
	}
	if resource == nil {
		return l
	}
	switch info.Verb {
	case "list":
		l.verb = "LIST"
	case "watch":
		l.verb = "WATCH"
	case "deletecollection":
		l.verb = "DELETECOLLECTION"
	}
	if resource.Subresources[info.Subresource] != nil {
		l.subresource = info.Subresource
	}
	l.group, l.version, l.resource, l.scopeName = info.APIGroup, info.APIVersion, info.Resource, scope(info)
	return l
}

func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions,
		http.MethodConnect, http.MethodTrace:
		return method
	}
	return "other"
}

func scope(info *request.Info) string {
	switch {
	case info.Name != "" || info.Verb == "create":
		return "resource"
	case info.Namespace != "":
		return "namespace"
	}
	return "cluster"
}
