package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
)

// Event is what is told of one request. Its methods do nothing on nil, which is the event of a request that is not audited.
// It belongs to the goroutine that serves the request.
type Event struct {
	ctx    context.Context
	told   *audit.AuditContext
	config audit.RequestAuditConfig
	// long says that the answer goes on for a while, so that its beginning is a stage.
	long bool
	// begun says that the answer's code is known.
	begun bool
	// refused says that the beginning of the answer is the only stage.
	refused bool
}

// Context returns a context that takes what is said of a request by whoever handles it: annotations, impersonation. Who is not
// audited in the end has said it in vain.
func Context(ctx context.Context, id string) context.Context {
	if audit.AuditContextFrom(ctx) != nil {
		ctx = outside{ctx} // a request that another one makes within this process is one of its own
	}
	ctx = audit.WithAuditContext(ctx)
	audit.WithAuditID(ctx, types.UID(id))
	return ctx
}

// outside is a context without the event that its parent has.
type outside struct{ context.Context }

func (o outside) Value(key any) any {
	value := o.Context.Value(key)
	if _, ok := value.(*audit.AuditContext); ok {
		return nil
	}
	return value
}

// ErrNotStored is the answer to a request whose first event cannot be written, in the mode in which that matters.
var ErrNotStored = errors.New("failed to store audit event")

// Received is the stage RequestReceived. The request's context must be one of Context's. What it returns is nil where the policy
// wants nothing to be told.
func (a *Auditor) Received(r *http.Request, received time.Time, attributes authorizer.Attributes, long bool) (*Event, error) {
	e, err := a.begin(r, received, attributes)
	if e == nil || err != nil {
		return nil, err
	}
	e.long = long
	if attributes.GetVerb() != "watch" { // which is slow on purpose
		e.ctx = genericrequest.WithLatencyTrackers(e.ctx)
	}
	if !e.told.ProcessEventStage(e.ctx, auditinternal.StageRequestReceived) {
		audit.ApiserverAuditDroppedCounter.WithContext(e.ctx).Inc()
		return nil, ErrNotStored
	}
	return e, nil
}

// Context is what the rest of the request is to be handled with.
func (e *Event) Context() context.Context { return e.ctx }

// Refused is for a request that came to an end before its user was known. It is told of in one stage, ResponseStarted.
func (a *Auditor) Refused(r *http.Request, received time.Time, attributes authorizer.Attributes, message string) (*Event, error) {
	e, err := a.begin(r, received, attributes)
	if e == nil || err != nil {
		return nil, err
	}
	e.long, e.refused = true, true
	e.told.SetEventResponseStatus(&metav1.Status{Message: message})
	return e, nil
}

func (a *Auditor) begin(r *http.Request, received time.Time, attributes authorizer.Attributes) (*Event, error) {
	ctx := r.Context()
	e := &Event{ctx: ctx, told: audit.AuditContextFrom(ctx), config: a.policy.EvaluatePolicyRule(attributes)}
	audit.ObservePolicyLevel(ctx, e.config.Level)
	if err := e.told.Init(e.config, a.backend); err != nil {
		return nil, fmt.Errorf("failed to create audit event: %w", err)
	}
	if e.config.Level == auditinternal.LevelNone {
		return nil, nil
	}
	audit.LogRequestMetadata(ctx, r, received, attributes)
	return e, nil
}

// Answering says that the header of the answer is about to be sent.
func (e *Event) Answering(code int) {
	if e == nil || e.begun {
		return
	}
	e.begun = true
	e.told.SetEventResponseStatusCode(int32(code)) //nolint:gosec // three digits
	if e.long {
		e.told.ProcessEventStage(e.ctx, auditinternal.StageResponseStarted)
	}
}

// Done is the stage ResponseComplete.
func (e *Event) Done() {
	if e == nil || e.refused {
		return
	}
	if e.told.GetEventResponseStatus() == nil {
		e.told.SetEventResponseStatus(&metav1.Status{
			Code: http.StatusOK, Status: metav1.StatusSuccess, Message: "Connection closed early",
		})
		if e.long {
			e.told.ProcessEventStage(e.ctx, auditinternal.StageResponseStarted)
		}
	}
	e.addLatencies()
	e.told.ProcessEventStage(e.ctx, auditinternal.StageResponseComplete)
}

// Panicked is the stage Panic.
func (e *Event) Panicked(cause any) {
	if e == nil || e.refused {
		return
	}
	e.told.SetEventResponseStatus(&metav1.Status{
		Code: http.StatusInternalServerError, Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError,
		Message: fmt.Sprintf("APIServer panic'd: %v", cause),
	})
	e.told.ProcessEventStage(e.ctx, auditinternal.StagePanic)
}

// slow is how long a request takes of which it is told where the time went (apiserver/pkg/endpoints/filters/audit.go).
const slow = 500 * time.Millisecond

// addLatencies annotates the event of a slow request with what took how long.
func (e *Event) addLatencies() {
	total := time.Since(e.told.GetEventRequestReceivedTimestamp().Time)
	if total <= slow {
		return
	}
	latencies := genericrequest.AuditAnnotationsFromLatencyTrackers(e.ctx)
	if len(latencies) == 0 {
		return
	}
	latencies["apiserver.latency.k8s.io/total"] = total.String()
	e.Annotate(latencies)
}

// Annotate adds annotations.
func (e *Event) Annotate(annotations map[string]string) {
	if e != nil {
		audit.AddAuditAnnotationsMap(e.ctx, annotations)
	}
}

// wants reports whether the event is of a level or one that has more.
func (e *Event) wants(level auditinternal.Level) bool {
	return e != nil && e.config.Level.GreaterOrEqual(level)
}

// Request tells of the object in the request's body. Where the event is to have it, encode makes JSON of it, in the version gv;
// otherwise it is only looked at for its name.
func (e *Event) Request(obj runtime.Object, gv schema.GroupVersion, resource schema.GroupVersionResource, subresource string, encode func(runtime.Object) ([]byte, error)) {
	if e == nil {
		return
	}
	if !e.wants(auditinternal.LevelRequest) {
		encode = func(runtime.Object) ([]byte, error) { return nil, nil }
	}
	audit.LogRequestObject(e.ctx, obj, gv, resource, subresource, encoding{encode: encode})
}

// Patch tells of the patch in the request's body, which must be JSON.
func (e *Event) Patch(patch func() ([]byte, error)) {
	if !e.wants(auditinternal.LevelRequest) {
		return
	}
	// What is no patch is refused for that. An event with something that is not JSON in it could not be written: kube-apiserver has
	// none for it.
	if b, err := patch(); err == nil && json.Valid(b) {
		e.told.LogRequestPatch(b)
	}
}

// Status tells of a Status that is the answer.
func (e *Event) Status(status *metav1.Status) {
	if e == nil {
		return
	}
	e.response(status, func() ([]byte, error) { return json.Marshal(status) })
}

// Response tells of an object, or list, that is the answer. encode, which makes JSON of it, is called where the event is to have it.
func (e *Event) Response(encode func() ([]byte, error)) {
	if e.wants(auditinternal.LevelRequestResponse) {
		e.response(nil, encode)
	}
}

func (e *Event) response(status *metav1.Status, encode func() ([]byte, error)) {
	var answer *runtime.Unknown
	if e.wants(auditinternal.LevelRequestResponse) {
		b, err := encode()
		if err == nil && e.config.OmitManagedFields && status == nil {
			b, err = withoutManagedFields(b)
		}
		if err == nil {
			answer = &runtime.Unknown{Raw: b, ContentType: runtime.ContentTypeJSON}
		}
	}
	e.told.LogResponseObject(status, answer)
}

// Attempted says what credentials a request has that were not accepted (apiserver/pkg/endpoints/filters/authn_audit.go).
func Attempted(r *http.Request) string {
	var methods []string
	if _, _, ok := r.BasicAuth(); ok {
		methods = append(methods, "basic")
	}
	if scheme, _, ok := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " "); ok && strings.EqualFold(scheme, "bearer") {
		methods = append(methods, "bearer")
	}
	if strings.TrimSpace(r.URL.Query().Get("access_token")) != "" {
		methods = append(methods, "access_token")
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		methods = append(methods, "x509")
	}
	if len(methods) == 0 {
		return "Authentication failed, no credentials provided"
	}
	return "Authentication failed, attempted: " + strings.Join(methods, ", ")
}

// encoding is a function as the serializer that upstream wants to have.
type encoding struct {
	encode func(runtime.Object) ([]byte, error)
}

func (e encoding) SupportedMediaTypes() []runtime.SerializerInfo {
	return []runtime.SerializerInfo{{MediaType: runtime.ContentTypeJSON}}
}

func (e encoding) EncoderForVersion(runtime.Encoder, runtime.GroupVersioner) runtime.Encoder {
	return e
}

func (e encoding) DecoderToVersion(runtime.Decoder, runtime.GroupVersioner) runtime.Decoder {
	return nil // nobody reads with it
}

func (e encoding) Encode(obj runtime.Object, w io.Writer) error {
	b, err := e.encode(obj)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

func (e encoding) Identifier() runtime.Identifier { return "audit" }
