package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/kayak-k8s/kayak"
)

// auditFlags are the flags of auditing that are not fields of the configuration as they are.
type auditFlags struct {
	truncateLog, truncateWebhook bool
	logLimits, webhookLimits     *kayak.AuditTruncateConfig
}

// add adds kube-apiserver's flags of auditing, with its defaults.
func (a *auditFlags) add(flags *pflag.FlagSet, c *kayak.AuditConfig) {
	flags.StringVar(&c.PolicyFile, "audit-policy-file", "", "Path to the file that defines the audit policy configuration.")
	l := &c.Log
	flags.StringVar(&l.Path, "audit-log-path", "", "If set, all requests coming to the apiserver will be logged to this file. "+
		"'-' means standard out.")
	flags.IntVar(&l.MaxAge, "audit-log-maxage", 366, "The maximum number of days to retain old audit log files based on the "+
		"timestamp encoded in their filename. Setting a value of 0 means old audit log files are not removed based on age.")
	flags.IntVar(&l.MaxBackups, "audit-log-maxbackup", 100, "The maximum number of old audit log files to retain. Setting a value "+
		"of 0 will mean there's no restriction on the number of files.")
	flags.IntVar(&l.MaxSize, "audit-log-maxsize", 100, "The maximum size in megabytes of the audit log file before it gets rotated. "+
		"Setting to 0 disables rotation (not recommended).")
	flags.StringVar(&l.Format, "audit-log-format", "json", "Format of saved audits. \"legacy\" indicates 1-line text format for each "+
		"event. \"json\" indicates structured json format. Known formats are legacy,json.")
	flags.BoolVar(&l.Compress, "audit-log-compress", false, "If set, the rotated log files will be compressed using gzip.")
	w := &c.Webhook
	flags.StringVar(&w.ConfigFile, "audit-webhook-config-file", "", "Path to a kubeconfig formatted file that defines the audit "+
		"webhook configuration.")
	const backoff = "The amount of time to wait before retrying the first failed request."
	flags.DurationVar(&w.InitialBackoff, "audit-webhook-initial-backoff", 10*time.Second, backoff)
	flags.DurationVar(&w.InitialBackoff, "audit-webhook-batch-initial-backoff", 10*time.Second, backoff)
	_ = flags.MarkDeprecated("audit-webhook-batch-initial-backoff", // it is there: it was added above
		"Deprecated, use --audit-webhook-initial-backoff instead.")
	l.Batch, a.logLimits = kayak.DefaultAuditLogBatch(), kayak.DefaultAuditTruncate()
	addAuditBackendFlags(flags, "log", "blocking", &l.Mode, &l.Version, l.Batch, &a.truncateLog, a.logLimits)
	w.Batch, a.webhookLimits = kayak.DefaultAuditWebhookBatch(), kayak.DefaultAuditTruncate()
	addAuditBackendFlags(flags, "webhook", "batch", &w.Mode, &w.Version, w.Batch, &a.truncateWebhook, a.webhookLimits)
}

// addAuditBackendFlags adds the flags that both backends have.
func addAuditBackendFlags(flags *pflag.FlagSet, backend, defaultMode string, mode, version *string, batch *kayak.AuditBatchConfig, truncate *bool, limits *kayak.AuditTruncateConfig) {
	name := func(flag string) string { return fmt.Sprintf("audit-%s-%s", backend, flag) }
	flags.StringVar(mode, name("mode"), defaultMode, "Strategy for sending audit events. Blocking indicates sending events should "+
		"block server responses. Batch causes the backend to buffer and write events asynchronously. Known modes are "+
		strings.Join(kayak.AuditModes(), ",")+".")
	flags.StringVar(version, name("version"), "audit.k8s.io/v1", "API group and version used for serializing audit events written to "+
		backend+".")
	flags.IntVar(&batch.BufferSize, name("batch-buffer-size"), batch.BufferSize, "The size of the buffer to store events before "+
		"batching and writing. Only used in batch mode.")
	flags.IntVar(&batch.MaxBatchSize, name("batch-max-size"), batch.MaxBatchSize, "The maximum size of a batch. Only used in batch mode.")
	flags.DurationVar(&batch.MaxBatchWait, name("batch-max-wait"), batch.MaxBatchWait, "The amount of time to wait before force writing "+
		"the batch that hadn't reached the max size. Only used in batch mode.")
	flags.BoolVar(&batch.ThrottleEnable, name("batch-throttle-enable"), batch.ThrottleEnable, "Whether batching throttling is enabled. "+
		"Only used in batch mode.")
	flags.Float32Var(&batch.ThrottleQPS, name("batch-throttle-qps"), batch.ThrottleQPS, "Maximum average number of batches per second. "+
		"Only used in batch mode.")
	flags.IntVar(&batch.ThrottleBurst, name("batch-throttle-burst"), batch.ThrottleBurst, "Maximum number of requests sent at the same "+
		"moment if ThrottleQPS was not utilized before. Only used in batch mode.")
	flags.BoolVar(truncate, name("truncate-enabled"), false, "Whether event and batch truncating is enabled.")
	flags.Int64Var(&limits.MaxBatchSize, name("truncate-max-batch-size"), limits.MaxBatchSize, "Maximum size of the batch sent to the "+
		"underlying backend. Actual serialized size can be several hundreds of bytes greater. If a batch exceeds this limit, it is "+
		"split into several batches of smaller size.")
	flags.Int64Var(&limits.MaxEventSize, name("truncate-max-event-size"), limits.MaxEventSize, "Maximum size of the audit event sent to "+
		"the underlying backend. If the size of an event is greater than this number, first request and response are removed, and if "+
		"this doesn't reduce the size enough, event is discarded.")
}

func (a *auditFlags) apply(c *kayak.AuditConfig) {
	if a.truncateLog {
		c.Log.Truncate = a.logLimits
	}
	if a.truncateWebhook {
		c.Webhook.Truncate = a.webhookLimits
	}
}
