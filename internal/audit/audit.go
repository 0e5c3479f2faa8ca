// Package audit keeps the audit log: who did what, when, and what became of it, for as much as a policy wants to know.
//
//	auditor, err := audit.Open(config, logger)   nil when nothing is to be audited
//	event, err := auditor.Received(...)          a request, at the first stage; nil when the policy wants nothing of it
//	event.Answering(code); event.Done()          its further stages
//	err = auditor.Close(ctx)                     everything has been written
//
// # What is upstream's
//
// The policy and its rules, events and how they are written, the log and webhook backends, batches and truncation are
// k8s.io/apiserver's packages, used as they are. So flags, formats and what a receiver sees are kube-apiserver's. What is ours is
// which moment of a request is which stage (Event, and package server), and what of it is worth telling (package verb).
//
// # What it costs
//
// Without auditing a request has no event, and nothing is done for one: every method of Event works on nil. With it, a
// request that the policy wants nothing of costs the evaluation of the rules; bodies are encoded for requests whose level has them
// in the event and for no other.
//
// # Stages
//
// RequestReceived, when the user is known and before anything is decided; ResponseStarted, when the header of a long-running
// request's answer is sent; ResponseComplete; or Panic, which stands for every answer that was broken off. Who is not
// authenticated has one event, ResponseStarted, as with kube-apiserver.
//
// In the modes blocking and blocking-strict an event is written before the request goes on. Close waits for the batches that are
// under way, for ten seconds: a receiver that is away must not keep a server from ending.
//
// # What has no events
//
// What the server does without a request: the objects that every cluster has, which kube-apiserver makes through a client of its
// own, as system:apiserver. Its controllers do make requests, as the service accounts that they have in a cluster.
package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/apis/audit/validation"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
)

// Auditor audits the requests of a server. It is safe for concurrent use.
type Auditor struct {
	policy  audit.PolicyRuleEvaluator
	backend audit.Backend
	files   []io.Closer
	// stopping is closed when no more events will come.
	stopping chan struct{}
}

// Open reads the policy and opens what events go to. It returns nil if nothing is to be audited.
func Open(config Config, logger *slog.Logger) (_ *Auditor, err error) {
	rules, err := config.policy()
	if err != nil {
		return nil, err
	}
	config = config.withDefaults()
	a := &Auditor{stopping: make(chan struct{})}
	if err := a.addBackends(&config); err != nil {
		return nil, errors.Join(err, a.closeFiles())
	}
	switch {
	case a.backend == nil:
		return nil, nil
	case rules == nil:
		logger.Warn("there is no audit policy, so no events are recorded", "backend", a.backend.String())
		return nil, a.closeFiles()
	}
	a.policy = policy.NewPolicyRuleEvaluator(rules)
	if err := a.backend.Run(a.stopping); err != nil {
		return nil, errors.Join(fmt.Errorf("failed to run the audit backend: %w", err), a.closeFiles())
	}
	return a, nil
}

func (a *Auditor) addBackends(config *Config) error {
	log, file, err := config.Log.open()
	if err != nil {
		return err
	}
	if file != nil {
		a.files = append(a.files, file)
	}
	webhook, err := config.Webhook.open()
	if err != nil {
		return err
	}
	switch {
	case log != nil && webhook != nil:
		a.backend = audit.Union(log, webhook)
	case log != nil:
		a.backend = log
	default:
		a.backend = webhook
	}
	return nil
}

// policy returns the rules; nil if there are none. They are the caller's to change.
func (c *Config) policy() (*auditinternal.Policy, error) {
	if c.Policy == nil {
		if c.PolicyFile == "" {
			return nil, nil
		}
		rules, err := policy.LoadPolicyFromFile(c.PolicyFile)
		if err != nil {
			return nil, fmt.Errorf("loading audit policy file: %w", err)
		}
		return rules, nil
	}
	rules := &auditinternal.Policy{}
	if err := auditv1.Convert_v1_Policy_To_audit_Policy(c.Policy.DeepCopy(), rules, nil); err != nil {
		return nil, err
	}
	if errs := validation.ValidatePolicy(rules); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	return rules, nil
}

// flushTime is how long Close waits for a receiver, whatever its context says: an event that is lost is lost for good.
const flushTime = 10 * time.Second

// errUndelivered is why Close returned before everything was written.
var errUndelivered = errors.New("audit events could not be delivered in time")

// Close waits until all events are where they belong. No requests must be under way any more.
func (a *Auditor) Close(ctx context.Context) error {
	if a == nil {
		return nil
	}
	close(a.stopping)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.backend.Shutdown()
	}()
	select {
	case <-done:
		return a.closeFiles()
	case <-ctx.Done():
		return errors.Join(errUndelivered, a.closeFiles())
	}
}

func (a *Auditor) closeFiles() error {
	var errs []error
	for _, file := range a.files {
		errs = append(errs, file.Close())
	}
	return errors.Join(errs...)
}
