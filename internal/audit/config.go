package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/audit/buffered"
	pluginlog "k8s.io/apiserver/plugin/pkg/audit/log"
	"k8s.io/apiserver/plugin/pkg/audit/truncate"
	pluginwebhook "k8s.io/apiserver/plugin/pkg/audit/webhook"
)

// Config says what is audited, and where events go; its fields are named after kube-apiserver's flags. The zero value audits nothing.
type Config struct {
	// PolicyFile has the policy; Policy is one that needs no file.
	PolicyFile string
	Policy     *auditv1.Policy
	// Log and Webhook are where events go, to both if both are there.
	Log     Log
	Webhook Webhook
}

// The modes in which a backend takes events.
const (
	// ModeBatch gathers events, and writes them while requests go on. When there are too many they are dropped.
	ModeBatch = "batch"
	// ModeBlocking keeps a request waiting until its event is written.
	ModeBlocking = "blocking"
	// ModeBlockingStrict refuses a request whose first event cannot be written.
	ModeBlockingStrict = "blocking-strict"
)

// Modes lists them.
func Modes() []string { return []string{ModeBatch, ModeBlocking, ModeBlockingStrict} }

// Log writes events to a file, one a line.
type Log struct {
	// Path is the file; "-" is standard output. Writer, unless it is nil, is written to in place of a file, an event at a time.
	Path   string
	Writer io.Writer
	// MaxSize is the size, in megabytes, at which the file is renamed and another one begun; 0 is none. Of those that were renamed,
	// those older than MaxAge days are removed, and all but MaxBackups; 0 removes none. Compress compresses them.
	MaxSize, MaxAge, MaxBackups int
	Compress                    bool
	// Format is json, the default, or legacy; Version the version of the events, which is audit.k8s.io/v1.
	Format, Version string
	// Mode is one of Modes; default blocking.
	Mode string
	// Batch is for ModeBatch; nil is DefaultLogBatch.
	Batch *Batch
	// Truncate cuts what is too large; nil leaves it as it is.
	Truncate *Truncate
}

// Webhook sends events to a server.
type Webhook struct {
	// ConfigFile is a kubeconfig that says where it is.
	ConfigFile string
	// InitialBackoff is how long after a failure is tried again, for the first time; default 10 seconds.
	InitialBackoff time.Duration
	// Version is the version of the events, which is audit.k8s.io/v1.
	Version string
	// Mode is one of Modes; default batch.
	Mode string
	// Batch is for ModeBatch; nil is DefaultWebhookBatch.
	Batch *Batch
	// Truncate cuts what is too large; nil leaves it as it is.
	Truncate *Truncate
}

// Batch says how events are gathered.
type Batch = buffered.BatchConfig

// Truncate says what is too large.
type Truncate = truncate.Config

// DefaultLogBatch is kube-apiserver's for the log (apiserver/pkg/server/options/audit.go).
func DefaultLogBatch() *Batch { return &Batch{BufferSize: 10000, MaxBatchSize: 1} }

// DefaultWebhookBatch is kube-apiserver's for the webhook.
func DefaultWebhookBatch() *Batch {
	return &Batch{
		BufferSize: 10000, MaxBatchSize: 400, MaxBatchWait: 30 * time.Second,
		ThrottleEnable: true, ThrottleQPS: 10, ThrottleBurst: 15, AsyncDelegate: true,
	}
}

// DefaultTruncate is kube-apiserver's, where truncating is switched on.
func DefaultTruncate() *Truncate { return &Truncate{MaxBatchSize: 10 << 20, MaxEventSize: 100 << 10} }

func (c *Log) given() bool     { return c.Path != "" || c.Writer != nil }
func (c *Webhook) given() bool { return c.ConfigFile != "" }

func (c *Config) withDefaults() Config {
	d := *c
	def(&d.Log.Format, pluginlog.FormatJson)
	def(&d.Log.Version, auditv1.SchemeGroupVersion.String())
	def(&d.Log.Mode, ModeBlocking)
	if d.Log.Batch == nil {
		d.Log.Batch = DefaultLogBatch()
	}
	def(&d.Webhook.Version, auditv1.SchemeGroupVersion.String())
	def(&d.Webhook.Mode, ModeBatch)
	def(&d.Webhook.InitialBackoff, pluginwebhook.DefaultInitialBackoffDelay)
	if d.Webhook.Batch == nil {
		d.Webhook.Batch = DefaultWebhookBatch()
	}
	return d
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Check reports what is wrong with a configuration, in kube-apiserver's words.
func (c *Config) Check() error {
	d := c.withDefaults()
	var errs []error
	if l := &d.Log; l.given() {
		errs = append(errs, checkBackend(pluginlog.PluginName, l.Mode, l.Version, l.Batch, l.Truncate))
		if !slices.Contains(pluginlog.AllowedFormats, l.Format) {
			errs = append(errs, fmt.Errorf("invalid audit log format %s, allowed formats are %q", l.Format, strings.Join(pluginlog.AllowedFormats, ",")))
		}
		for _, bound := range []struct {
			name  string
			value int
		}{{"maxage", l.MaxAge}, {"maxbackup", l.MaxBackups}, {"maxsize", l.MaxSize}} {
			if bound.value < 0 {
				errs = append(errs, fmt.Errorf("--audit-log-%s %v can't be a negative number", bound.name, bound.value))
			}
		}
	}
	if w := &d.Webhook; w.given() {
		errs = append(errs, checkBackend(pluginwebhook.PluginName, w.Mode, w.Version, w.Batch, w.Truncate))
	}
	return errors.Join(errs...)
}

func checkBackend(name, mode, version string, batch *Batch, cut *Truncate) error {
	var errs []error
	if !slices.Contains(Modes(), mode) {
		errs = append(errs, fmt.Errorf("invalid audit %s mode %s, allowed modes are %q", name, mode, strings.Join(Modes(), ",")))
	}
	if mode == ModeBatch {
		errs = append(errs, checkBatch(name, batch))
	}
	if cut != nil && cut.MaxEventSize <= 0 {
		errs = append(errs, fmt.Errorf("invalid audit truncate %s max event size %v, must be a positive number", name, cut.MaxEventSize))
	} else if cut != nil && cut.MaxBatchSize < cut.MaxEventSize {
		errs = append(errs, fmt.Errorf("invalid audit truncate %s max batch size %v, must be greater than max event size (%v)",
			name, cut.MaxBatchSize, cut.MaxEventSize))
	}
	known := []schema.GroupVersion{auditv1.SchemeGroupVersion}
	if gv, err := schema.ParseGroupVersion(version); err != nil {
		errs = append(errs, err)
	} else if !slices.Contains(known, gv) {
		errs = append(errs, fmt.Errorf("invalid group version, allowed versions are %q", known))
	}
	return errors.Join(errs...)
}

func checkBatch(name string, b *Batch) error {
	switch {
	case b.BufferSize <= 0:
		return fmt.Errorf("invalid audit batch %s buffer size %v, must be a positive number", name, b.BufferSize)
	case b.MaxBatchSize <= 0:
		return fmt.Errorf("invalid audit batch %s max batch size %v, must be a positive number", name, b.MaxBatchSize)
	case b.ThrottleEnable && b.ThrottleQPS <= 0:
		return fmt.Errorf("invalid audit batch %s throttle QPS %v, must be a positive number", name, b.ThrottleQPS)
	case b.ThrottleEnable && b.ThrottleBurst <= 0:
		return fmt.Errorf("invalid audit batch %s throttle burst %v, must be a positive number", name, b.ThrottleBurst)
	}
	return nil
}

// open returns the backend, and what is to be closed after it; nil if there is none.
func (c *Log) open() (audit.Backend, io.Closer, error) {
	if !c.given() {
		return nil, nil, nil
	}
	var log *file
	out := c.Writer
	switch {
	case out != nil:
		out = &inTurn{w: out}
	case c.Path == "-":
		out = os.Stdout
	default:
		var err error
		if log, err = openFile(*c); err != nil {
			return nil, nil, fmt.Errorf("cannot open the audit log: %w", err)
		}
		out = log
	}
	backend := pluginlog.NewBackend(out, c.Format, auditv1.SchemeGroupVersion)
	backend = truncated(wrapped(backend, c.Mode, c.Batch), c.Truncate)
	if log == nil {
		return backend, nil, nil
	}
	return backend, log, nil
}

// inTurn is a writer for many requests at a time.
type inTurn struct {
	mu sync.Mutex
	w  io.Writer
}

func (i *inTurn) Write(b []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.w.Write(b)
}

func (c *Webhook) open() (audit.Backend, error) {
	if !c.given() {
		return nil, nil
	}
	backoff := webhook.DefaultRetryBackoffWithInitialDelay(c.InitialBackoff)
	backend, err := pluginwebhook.NewBackend(c.ConfigFile, auditv1.SchemeGroupVersion, backoff, nil)
	if err != nil {
		return nil, fmt.Errorf("initializing audit webhook: %w", err)
	}
	return truncated(wrapped(backend, c.Mode, c.Batch), c.Truncate), nil
}

func wrapped(backend audit.Backend, mode string, batch *Batch) audit.Backend {
	switch mode {
	case ModeBatch:
		return buffered.NewBackend(backend, *batch)
	case ModeBlocking:
		return forgiving{backend}
	}
	return backend
}

func truncated(backend audit.Backend, cut *Truncate) audit.Backend {
	if cut == nil {
		return backend
	}
	return truncate.NewBackend(backend, *cut, auditv1.SchemeGroupVersion)
}

// forgiving takes every event for written.
type forgiving struct{ audit.Backend }

func (f forgiving) ProcessEvents(events ...*auditinternal.Event) bool {
	f.Backend.ProcessEvents(events...)
	return true
}

func (f forgiving) String() string { return fmt.Sprintf("ignoreErrors<%s>", f.Backend) }
