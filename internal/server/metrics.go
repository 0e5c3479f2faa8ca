package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kayak-k8s/kayak/internal/request"
)

// Metrics are a server's own: nothing is registered globally, so that many servers can live in one process. Names and labels
// are upstream's stable ones (k8s.io/kubernetes/test/instrumentation/testdata/stable-metrics-list.yaml). Every label is taken
// from a bounded set, whatever a client sends.
type Metrics struct {
	Registry *prometheus.Registry

	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	sizes     *prometheus.HistogramVec
	stages    *prometheus.HistogramVec
	inflight  *prometheus.GaugeVec
	longRun   *prometheus.GaugeVec
}

// NewMetrics returns metrics of the process and of requests; others may be added to the registry.
func NewMetrics() *Metrics {
	labels := []string{"verb", "group", "version", "resource", "subresource", "scope", "component"}
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_request_total",
			Help: "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
		}, append([]string{"dry_run", "code"}, labels...)),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apiserver_request_duration_seconds",
			Help: "[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
			Buckets: []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3,
				4, 5, 6, 8, 10, 15, 20, 30, 45, 60},
		}, append([]string{"dry_run"}, labels...)),
		sizes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "apiserver_response_sizes",
			Help:    "[STABLE] Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.",
			Buckets: prometheus.ExponentialBuckets(1000, 10.0, 7),
		}, labels),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "kayak_stage_duration_seconds",
			Help:    "How long each stage of the pipeline took. The verb of a watch is not counted.",
			Buckets: prometheus.ExponentialBuckets(1e-6, 10, 8),
		}, []string{"stage"}),
		inflight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "apiserver_current_inflight_requests",
			Help: "[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
		}, []string{"request_kind"}),
		longRun: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "apiserver_longrunning_requests",
			Help: "[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.",
		}, labels),
	}
	m.Registry.MustRegister(m.requests, m.durations, m.sizes, m.stages, m.inflight, m.longRun,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves them.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// observe counts a request that has been answered.
func (s *Server) observe(x *exchange) {
	m := s.options.Metrics
	var total time.Duration
	for i, took := range x.took {
		total += took
		if x.info == nil || i < len(s.pipeline)-1 || !longRunning(x.info) {
			m.stages.WithLabelValues(s.pipeline[i].name).Observe(took.Seconds())
		}
	}
	labels := s.labels(x)
	dryRun := ""
	if x.r.URL.RawQuery != "" && x.r.URL.Query().Has("dryRun") {
		dryRun = "All"
	}
	m.requests.WithLabelValues(append([]string{dryRun, codeLabel(x.w.code)}, labels...)...).Inc()
	if x.info != nil && longRunning(x.info) {
		return
	}
	m.durations.WithLabelValues(append([]string{dryRun}, labels...)...).Observe(total.Seconds())
	m.sizes.WithLabelValues(labels...).Observe(float64(x.w.bytes))
}

func codeLabel(code int) string {
	if code < 100 || code > 599 {
		return "0" // the client has gone before it was answered
	}
	return strconv.Itoa(code)
}

// labels are verb, group, version, resource, subresource, scope and component.
func (s *Server) labels(x *exchange) []string {
	verb := methodLabel(x.r.Method)
	const component = "apiserver"
	info := x.info
	if info == nil || !info.IsResourceRequest {
		return []string{verb, "", "", "", "", "", component}
	}
	resource := s.options.Kinds.Resource(info.APIGroup, info.APIVersion, info.Resource)
	if resource == nil && s.options.Custom != nil {
		resource = s.options.Custom().Resource(info.APIGroup, info.APIVersion, info.Resource)
	}
	if resource == nil {
		return []string{verb, "", "", "", "", "", component}
	}
	switch info.Verb {
	case "list", "watch":
		verb = map[string]string{"list": "LIST", "watch": "WATCH"}[info.Verb]
	case "deletecollection":
		verb = "DELETECOLLECTION"
	}
	subresource := ""
	if resource.Subresources[info.Subresource] != nil {
		subresource = info.Subresource
	}
	return []string{verb, info.APIGroup, info.APIVersion, info.Resource, subresource, scope(info), component}
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
