package admission

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/component-base/metrics/legacyregistry"
)

// metrics are how long steps and plugins take, with upstream's names (apiserver/pkg/admission/metrics). They are a server's own;
// what webhooks and policies count in upstream's code is the process's.
type metrics struct {
	step    *prometheus.HistogramVec
	summary *prometheus.SummaryVec
	plugin  *prometheus.HistogramVec
}

func newMetrics() *metrics {
	buckets := []float64{0.005, 0.025, 0.1, 0.5, 1.0, 2.5}
	labels := []string{"type", "operation", "rejected"}
	return &metrics{
		step: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apiserver_admission_step_admission_duration_seconds",
			Help: "[STABLE] Admission sub-step latency histogram in seconds, broken out for each operation and API resource and " +
				"step type (validate or admit).",
			Buckets: buckets,
		}, labels),
		summary: prometheus.NewSummaryVec(prometheus.SummaryOpts{
			Name: "apiserver_admission_step_admission_duration_seconds_summary",
			Help: "[ALPHA] Admission sub-step latency summary in seconds, broken out for each operation and API resource and step " +
				"type (validate or admit).",
			MaxAge: 5 * time.Hour,
		}, labels),
		plugin: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apiserver_admission_controller_admission_duration_seconds",
			Help: "[STABLE] Admission controller latency histogram in seconds, identified by name and broken out for each operation " +
				"and API resource and type (validate or admit).",
			Buckets: buckets,
		}, append([]string{"name"}, labels...)),
	}
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.step, m.summary, m.plugin}
}

// ProcessMetrics are what upstream's code counts of webhooks, policies and audit events, for all servers in the process together.
func ProcessMetrics() prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := legacyregistry.DefaultGatherer.Gather()
		return slices.DeleteFunc(families, func(f *dto.MetricFamily) bool {
			name := f.GetName()
			return !slices.ContainsFunc([]string{
				"apiserver_admission_webhook_", "apiserver_admission_match_condition_", "apiserver_validating_admission_policy_",
				"apiserver_mutating_admission_policy_", "apiserver_cel_", "apiserver_manifest_admission_config_controller_",
				"pod_security_", "apiserver_audit_",
			}, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		}), err
	})
}

// observers are the series of a plugin, or of a step, each looked up when it is first needed.
type observers struct {
	find  func(operation, rejected string) []prometheus.Observer
	cells [operations][2]atomic.Pointer[[]prometheus.Observer]
}

// operations is how many operations there are.
const operations = 4

func operationIndex(op admission.Operation) int {
	switch op {
	case admission.Create:
		return 0
	case admission.Update:
		return 1
	case admission.Delete:
		return 2
	}
	return 3 // admission.Connect
}

func (o *observers) observe(op admission.Operation, began time.Time, err error) {
	rejected, text := 0, "false"
	if err != nil {
		rejected, text = 1, "true"
	}
	cell := &o.cells[operationIndex(op)][rejected]
	found := cell.Load()
	if found == nil {
		list := o.find(string(op), text)
		found = &list
		cell.Store(found)
	}
	took := time.Since(began).Seconds()
	for _, observer := range *found {
		observer.Observe(took)
	}
}

func (m *metrics) ofStep(step string) *observers {
	return &observers{find: func(operation, rejected string) []prometheus.Observer {
		return []prometheus.Observer{
			m.step.WithLabelValues(step, operation, rejected), m.summary.WithLabelValues(step, operation, rejected),
		}
	}}
}

func (m *metrics) ofPlugin(name, step string) *observers {
	return &observers{find: func(operation, rejected string) []prometheus.Observer {
		return []prometheus.Observer{m.plugin.WithLabelValues(name, step, operation, rejected)}
	}}
}
