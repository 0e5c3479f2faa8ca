package server

import (
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are a server's own: nothing is registered globally, so that many servers can live in one process. Names and labels
// are upstream's stable ones (k8s.io/kubernetes/test/instrumentation/testdata/stable-metrics-list.yaml). Every label is taken
// from a bounded set, whatever a client sends.
type Metrics struct {
	Registry *prometheus.Registry
	// Others are gathered as well: what upstream's packages count for the whole process.
	Others []prometheus.Gatherer

	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	sizes     *prometheus.HistogramVec
	stages    *prometheus.HistogramVec
	inflight  *prometheus.GaugeVec
	longRun   *prometheus.GaugeVec

	readOnly, mutating prometheus.Gauge // of inflight

	mu     sync.RWMutex // guards the following field
	series map[seriesLabels]*series
}

// NewMetrics returns metrics of the process and of requests; others may be added to the registry.
func NewMetrics() *Metrics {
	names := []string{"verb", "group", "version", "resource", "subresource", "scope", "component"}
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		series:   map[seriesLabels]*series{},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_request_total",
			Help: "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
		}, append([]string{"dry_run", "code"}, names...)),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apiserver_request_duration_seconds",
			Help: "[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
			Buckets: []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3,
				4, 5, 6, 8, 10, 15, 20, 30, 45, 60},
		}, append([]string{"dry_run"}, names...)),
		sizes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "apiserver_response_sizes",
			Help:    "[STABLE] Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.",
			Buckets: prometheus.ExponentialBuckets(1000, 10.0, 7),
		}, names),
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
		}, names),
	}
	m.readOnly, m.mutating = m.inflight.WithLabelValues("readOnly"), m.inflight.WithLabelValues("mutating")
	m.Registry.MustRegister(m.requests, m.durations, m.sizes, m.stages, m.inflight, m.longRun,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves them.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(append(prometheus.Gatherers{m.Registry}, m.Others...), promhttp.HandlerOpts{EnableOpenMetrics: true})
}
