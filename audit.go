package kayak

import "github.com/kayak-k8s/kayak/internal/audit"

// AuditConfig says what is audited, and where events go; its fields are named after kube-apiserver's flags. The zero value audits
// nothing.
type AuditConfig = audit.Config

// The parts of AuditConfig.
type (
	// AuditLogConfig writes events to a file, one a line.
	AuditLogConfig = audit.Log
	// AuditWebhookConfig sends events to a server.
	AuditWebhookConfig = audit.Webhook
	// AuditBatchConfig says how events are gathered; AuditTruncateConfig says what is too large.
	AuditBatchConfig    = audit.Batch
	AuditTruncateConfig = audit.Truncate
)

// AuditModes lists the modes in which events are taken: batch gathers them, blocking keeps a request waiting until its event is written,
// blocking-strict refuses it where that fails.
func AuditModes() []string { return audit.Modes() }

// DefaultAuditLogBatch returns how the log gathers events in the mode batch, unless a configuration says otherwise.
func DefaultAuditLogBatch() *AuditBatchConfig { return audit.DefaultLogBatch() }

// DefaultAuditWebhookBatch returns how the webhook does.
func DefaultAuditWebhookBatch() *AuditBatchConfig { return audit.DefaultWebhookBatch() }

// DefaultAuditTruncate returns kube-apiserver's limits.
func DefaultAuditTruncate() *AuditTruncateConfig { return audit.DefaultTruncate() }

// openAudit opens what events go to.
func (s *Server) openAudit() (err error) {
	s.audit, err = audit.Open(s.config.Audit, s.log)
	return err
}
