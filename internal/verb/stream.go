package verb

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/flushwriter"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// Connects reports whether a subresource takes over the connection, and with which methods.
func Connects(sub *kind.Subresource) (methods []string, ok bool) {
	if sub == nil {
		return nil, false
	}
	connecter, ok := sub.Storage.(rest.Connecter)
	if !ok {
		return nil, false
	}
	return connecter.ConnectMethods(), true
}

// connect hands the connection to what serves the subresource: exec, attach, port-forward, a proxy.
func (a *API) connect(ctx context.Context, c *Call, connecter rest.Connecter) error {
	if c.Query.Has("dryRun") {
		return apierrors.NewBadRequest("dryRun is not supported")
	}
	options, subpath, key := connecter.NewConnectOptions()
	if err := c.subresourceOptions(options, subpath, key); err != nil {
		return err
	}
	if err := a.admitConnect(ctx, c, options); err != nil {
		return err
	}
	ctx, cancel := a.untilStopping(ctx)
	defer cancel()
	handler, err := connecter.Connect(ctx, c.Info.Name, options, &responder{ctx: ctx, api: a, call: c})
	if err != nil {
		return storeError(err, c)
	}
	handler.ServeHTTP(c.Writer, c.Request.WithContext(ctx))
	return nil
}

// untilStopping returns a context that also ends when the server stops.
func (a *API) untilStopping(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-a.Stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// admitConnect lets admission refuse: there is no object, only the options.
func (a *API) admitConnect(ctx context.Context, c *Call, options runtime.Object) error {
	if a.Admission == nil || !a.Admission.Handles(admission.Connect) {
		return nil
	}
	attributes := c.attributes(ctx, options, nil, c.Info.Name, admission.Connect, nil, false)
	if err := a.mutate(ctx, c, attributes); err != nil {
		return err
	}
	if plugin, ok := a.Admission.(admission.ValidationInterface); ok {
		return plugin.Validate(ctx, attributes, c.objectInterfaces())
	}
	return nil
}

// subresourceOptions reads the query, and what stands in the path behind the subresource, into options of the resource's
// version (endpoints/handlers/get.go, getRequestOptions).
func (c *Call) subresourceOptions(into runtime.Object, subpath bool, key string) error {
	if into == nil {
		return nil
	}
	query := maps.Clone(c.Query)
	if subpath {
		if query == nil {
			query = url.Values{}
		}
		query[key] = []string{c.subpath()}
	}
	if err := c.Resource.Codec.Parameters.DecodeParameters(query, c.Resource.Version, into); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return nil
}

// subpath is what follows the subresource, with a slash before it, and one behind it if the request has that.
func (c *Call) subpath() string {
	const before = 3 // resource, name, subresource
	path := strings.Join(c.Info.Parts[before:], "/")
	if path != "" && !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	if strings.HasSuffix(c.Info.Path, "/") && !strings.HasSuffix(path, "/") {
		path += "/"
	}
	return path
}

// responder answers for a Connecter whose connection turns out not to be taken over.
type responder struct {
	ctx  context.Context
	api  *API
	call *Call
}

func (r *responder) Object(code int, obj runtime.Object) {
	out, err := wire.Negotiate(r.call.Request, false)
	if err == nil {
		err = r.api.respond(r.ctx, r.call, out, code, obj)
	}
	if err != nil {
		r.Error(err)
	}
}

func (r *responder) Error(err error) { r.call.Fail(err) }

// stream answers with what a storage reads: as it comes, when it says so.
func (a *API) stream(ctx context.Context, c *Call, storage rest.GetterWithOptions) error {
	options, subpath, key := storage.NewGetOptions()
	if err := c.subresourceOptions(options, subpath, key); err != nil {
		return err
	}
	ctx, cancel := a.untilStopping(ctx)
	defer cancel()
	obj, err := storage.Get(ctx, c.Info.Name, options)
	if err != nil {
		return storeError(err, c)
	}
	streamer, ok := obj.(rest.ResourceStreamer)
	if !ok {
		return internalError("%T is not a stream", obj)
	}
	in, flush, contentType, err := streamer.InputStream(ctx, c.Resource.Version.String(), c.Request.Header.Get("Accept"))
	if err != nil {
		return storeError(err, c)
	}
	if in == nil {
		c.Writer.WriteHeader(http.StatusNoContent)
		return nil
	}
	defer in.Close()
	if wsstream.IsWebSocketRequest(c.Request) {
		// The reader has answered by itself; what went wrong it has told its client.
		_ = wsstream.NewReader(in, true, wsstream.NewDefaultReaderProtocols()).Copy(c.Writer, c.Request)
		return nil
	}
	copyStream(c.Writer, in, flush, contentType)
	return nil
}

func copyStream(w http.ResponseWriter, in io.Reader, flush bool, contentType string) {
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush() // a client that follows a quiet log wants to see that it is served
	var out io.Writer = w
	if flush {
		out = flushwriter.Wrap(w)
	}
	_, _ = io.Copy(out, in) // the header is sent: whoever hung up knows
}
