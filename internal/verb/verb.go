// Package verb serves the verbs on objects: get, list, watch, create, update, patch, delete and deletecollection, a file each.
//
// Each verb is written once, for every kind (package kind). Reads come from the state (package state), writes go to the store
// (package store) as conditional writes of one key: read what is there, make of it what is to be, write it if nobody else has
// written meanwhile, otherwise start over with what they wrote (commit.go). No lock is held anywhere.
//
// A verb answers the request, or returns an error and has written nothing; the caller turns errors into Statuses in one
// place. The request's context carries what upstream's strategies and admission plugins look for there: the request info, the
// user, the namespace, a recorder of warnings. Verbs do not know how a user was found or how bytes reach them.
package verb

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/kayak-k8s/kayak/internal/audit"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/managedfields"
	"github.com/kayak-k8s/kayak/internal/request"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// API is what verbs need. All fields but Admission, Unconcerned, Governs, Fields, Turns and Endings are required. It is safe for concurrent use once it is filled in.
type API struct {
	State *state.State
	Store store.Store
	// Root is the prefix of all keys, with slashes at both ends: "/registry/".
	Root string
	// Admission may change and refuse writes; nil admits everything.
	Admission admission.Interface
	// Unconcerned, when set, reports whether Admission has nothing to do with a write, and counts that as admitted.
	Unconcerned func(admission.Attributes) bool
	// Governs says that admission goes by objects of a kind besides those that are marked so (kind.Kind.Governs).
	Governs func(*kind.Kind) bool
	// Fields keeps metadata.managedFields and merges what is applied; nil leaves managed fields as they are sent, and refuses
	// to apply.
	Fields *managedfields.Tracker
	// Authorizer is asked for what a write turns out to do besides: an update that creates.
	Authorizer authorizer.UnconditionalAuthorizer
	// EventTTL is how long events are kept.
	EventTTL time.Duration
	// MinRequestTimeout is the shortest time after which a watch that names no timeout ends; at most twice that.
	MinRequestTimeout time.Duration
	// DeleteCollectionWorkers is how many objects of a collection are deleted at a time; at least 1.
	DeleteCollectionWorkers int
	// Stopping is closed when the server begins to stop: watches end.
	Stopping <-chan struct{}
	// Turns are shared by all that write through the same store; nil for none.
	Turns *Turns
	// Endings are shared by all who watch by way of the same API; nil for none.
	Endings *Endings
}

// Call is one request for one resource.
type Call struct {
	Writer  http.ResponseWriter
	Request *http.Request
	// Query is the request's, parsed; nil if there is none.
	Query    url.Values
	Info     *request.Info
	Resource *kind.Resource
	// Sub is the subresource that is asked for, or nil.
	Sub *kind.Subresource
	// Audit is what the audit log is told of the request through; nil tells it nothing.
	Audit *audit.Event
	// Fail answers with an error, for what has been handed the connection and cannot return it.
	Fail func(error)

	// answer is the form of the answer to a write, once it is known; nil for writes that are not answered with what was written.
	answer *wire.Output
	// written is what has been encoded of the answer already.
	written written
}

// Serve runs the verb that the request asks for. The caller has checked that the resource has it.
func (a *API) Serve(c *Call) error {
	ctx := genericrequest.WithNamespace(c.Request.Context(), c.Info.Namespace)
	if connecter, ok := c.storage().(rest.Connecter); ok {
		return a.connect(ctx, c, connecter)
	}
	if s := c.Sub; s != nil && s.Update == nil && s.View == nil && s.Storage == nil {
		return notServed()
	}
	switch c.Info.Verb {
	case "create", "update", "patch", "delete":
		makeRoom(c.Request)
	}
	switch c.Info.Verb {
	case "get":
		return a.get(ctx, c)
	case "list":
		return a.list(ctx, c)
	case "watch":
		return a.watch(ctx, c)
	case "create":
		return a.create(ctx, c)
	case "update":
		return a.update(ctx, c)
	case "patch":
		return a.patch(ctx, c)
	case "delete":
		return a.delete(ctx, c)
	case "deletecollection":
		return a.deleteCollection(ctx, c)
	}
	return request.MethodNotAllowed()
}

// face is the kind of the bodies: that of the resource, unless the subresource has one of its own.
func (c *Call) face() *kind.Resource {
	if c.Sub != nil && c.Sub.Face != nil {
		return c.Sub.Face
	}
	return c.Resource
}

// negotiate picks the form of the answer.
func (c *Call) negotiate(stream bool) (wire.Output, error) {
	if c.face().Custom != nil {
		return wire.NegotiateUntyped(c.Request, stream)
	}
	return wire.Negotiate(c.Request, stream)
}

// bodyMedia is the form of the body. What is sent to a custom resource as protobuf is refused: upstream panics.
func (c *Call) bodyMedia() (wire.Media, error) {
	media, err := wire.BodyMedia(c.Request)
	if err == nil && media == wire.Protobuf && c.face().Custom != nil && c.Info.Verb != "delete" && c.Info.Verb != "deletecollection" {
		return media, request.UnsupportedMediaType([]string{wire.JSON.String(), wire.YAML.String()})
	}
	return media, err
}

func (c *Call) key(root string) string {
	return c.Resource.Key(root, c.Info.Namespace, c.Info.Name)
}

func (c *Call) notFound() error {
	return apierrors.NewNotFound(c.Resource.GroupResource(), c.Info.Name)
}

// storeError says to a client what a store's error means for the verb.
func storeError(err error, c *Call) error {
	return interpretStoreError(err, c.Resource.Kind, c.Info.Verb)
}

// objectInterfaces is what admission plugins may use to convert between versions.
type objectInterfaces struct{ codec *kind.Codec }

func (o objectInterfaces) GetObjectCreater() runtime.ObjectCreater     { return o.codec.Creater }
func (o objectInterfaces) GetObjectTyper() runtime.ObjectTyper         { return o.codec.Typer }
func (o objectInterfaces) GetObjectDefaulter() runtime.ObjectDefaulter { return o.codec.Defaulter }
func (o objectInterfaces) GetObjectConvertor() runtime.ObjectConvertor { return o.codec.Convertor }
func (o objectInterfaces) GetEquivalentResourceMapper() runtime.EquivalentResourceMapper {
	return runtime.NewEquivalentResourceRegistry()
}

func (c *Call) objectInterfaces() admission.ObjectInterfaces {
	return objectInterfaces{c.face().Codec}
}

func (c *Call) subresource() string {
	if c.Sub == nil {
		return ""
	}
	return c.Sub.Name
}

// attributes describes a write to admission plugins.
func (c *Call) attributes(ctx context.Context, obj, old runtime.Object, name string, op admission.Operation, options runtime.Object, dryRun bool) admission.Attributes {
	user, _ := genericrequest.UserFrom(ctx)
	return admission.NewAttributesRecord(obj, old, c.face().GVK(), genericrequest.NamespaceValue(ctx), name, c.Resource.GVR(),
		c.subresource(), op, options, dryRun, user)
}

// concerned reports whether admission has to be asked about a write.
func (a *API) concerned(attributes admission.Attributes) bool {
	return a.Admission != nil && (a.Unconcerned == nil || !a.Unconcerned(attributes))
}

// mutate lets admission change obj.
func (a *API) mutate(ctx context.Context, c *Call, attributes admission.Attributes) error {
	plugin, ok := a.Admission.(admission.MutationInterface)
	if !ok || !plugin.Handles(attributes.GetOperation()) {
		return nil
	}
	return keepValidFields(ctx, attributes.GetObject(), func() error {
		return plugin.Admit(ctx, attributes, c.objectInterfaces())
	})
}

// isDryRun reads the dryRun of validated options.
func isDryRun(values []string) bool { return len(values) > 0 }

func internalError(format string, args ...any) error {
	return apierrors.NewInternalError(fmt.Errorf(format, args...))
}
