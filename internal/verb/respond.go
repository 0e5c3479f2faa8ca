package verb

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	metav1beta1 "k8s.io/apimachinery/pkg/apis/meta/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/storage"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/request"
	"github.com/kayak-k8s/kayak/internal/wire"
)

const (
	// writeGrace is how much longer than the request a write may take, so that what ends in time ends cleanly.
	writeGrace = 2 * time.Second
	// buffered is about what a connection takes without its client reading.
	buffered = 64 << 10
)

// send answers with a complete body.
func send(ctx context.Context, c *Call, out wire.Output, code int, body []byte) error {
	if len(body) > buffered {
		defer boundWrites(ctx, c.Writer)()
	}
	wire.Write(c.Writer, out, code, body)
	return nil
}

// boundWrites lets a write to a client that does not read fail soon after the request's time is over: until then it waits, and
// holds what it has yet to send. The returned function takes the bound off the connection again.
func boundWrites(ctx context.Context, w http.ResponseWriter) (undo func()) {
	deadline, _ := ctx.Deadline()
	return boundWritesUntil(deadline, w)
}

// boundWritesUntil is boundWrites for something that ends at a time; zero: never.
func boundWritesUntil(deadline time.Time, w http.ResponseWriter) (undo func()) {
	connection := http.NewResponseController(w)
	if !deadline.IsZero() {
		_ = connection.SetWriteDeadline(deadline.Add(writeGrace)) // what is not a connection needs none
	}
	return func() { _ = connection.SetWriteDeadline(time.Time{}) }
}

// respond answers with an object, or a list, of the hub version, or with a Status, in the shape that the client wants.
func (a *API) respond(ctx context.Context, c *Call, out wire.Output, code int, obj runtime.Object) error {
	if _, status := obj.(*metav1.Status); !status && out.Shape == wire.Whole && out.Media == wire.JSON && !meta.IsListType(obj) {
		return a.respondJSON(ctx, c, out, code, obj)
	}
	body, err := a.body(ctx, c, out, obj)
	if err != nil {
		return err
	}
	a.auditResponse(ctx, c, out, obj)
	return send(ctx, c, out, code, body)
}

// respondJSON answers with a whole object, by way of a buffer that is used again: what is sent is not kept.
func (a *API) respondJSON(ctx context.Context, c *Call, out wire.Output, code int, obj runtime.Object) error {
	buffer := bodies.Get().(*[]byte)
	body, err := wire.AppendObject((*buffer)[:0], c.face().Frame(), func(b []byte) ([]byte, error) {
		if item := c.written.item(obj, out.Media); item != nil {
			return append(b, item...), nil
		}
		return c.face().AppendItem(b, obj, false)
	})
	if err != nil {
		return err
	}
	a.auditResponse(ctx, c, out, obj)
	err = send(ctx, c, out, code, body)
	if cap(body) <= buffered {
		*buffer = body
		bodies.Put(buffer)
	}
	return err
}

// bodies are the buffers of answers.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

func (a *API) body(ctx context.Context, c *Call, out wire.Output, obj runtime.Object) ([]byte, error) {
	if status, ok := obj.(*metav1.Status); ok {
		status.Kind, status.APIVersion = "Status", "v1"
		return wire.Typed(out.Media, metav1.Unversioned.WithKind("Status"), status)
	}
	switch out.Shape {
	case wire.Table:
		options, err := c.tableOptions()
		if err != nil {
			return nil, err
		}
		table, err := tableOf(ctx, c, out, obj, options)
		if err != nil {
			return nil, err
		}
		return encodeMeta(out, table)
	case wire.Metadata, wire.MetadataList:
		partial, err := partialMetadata(out, obj)
		if err != nil {
			return nil, err
		}
		return encodeMeta(out, partial)
	}
	if meta.IsListType(obj) {
		return listBody(c, out, obj)
	}
	bare, err := c.written.item(obj, out.Media), error(nil)
	if bare == nil {
		bare, err = c.face().EncodeItem(obj, out.Media == wire.Protobuf)
	}
	if err != nil {
		return nil, err
	}
	return wire.Object(out.Media, c.face().Frame(), bare)
}

// listEnvelope is what is around the items of a list of whole objects.
func listEnvelope(r *kind.Resource) wire.Envelope {
	return wire.Envelope{Kind: r.Version.WithKind(r.ListName), Untyped: r.Custom != nil}
}

func listBody(c *Call, out wire.Output, list runtime.Object) ([]byte, error) {
	listMeta, err := meta.ListAccessor(list)
	if err != nil {
		return nil, err
	}
	var items [][]byte
	err = meta.EachListItem(list, func(obj runtime.Object) error {
		bare, err := c.face().EncodeItem(obj, out.Media == wire.Protobuf)
		items = append(items, bare)
		return err
	})
	if err != nil {
		return nil, err
	}
	return wire.List(out.Media, listEnvelope(c.face()), metav1.ListMeta{
		ResourceVersion:    listMeta.GetResourceVersion(),
		Continue:           listMeta.GetContinue(),
		RemainingItemCount: listMeta.GetRemainingItemCount(),
	}, items)
}

// tableOptions reads includeObject and noHeaders.
func (c *Call) tableOptions() (*metav1.TableOptions, error) {
	options := &metav1.TableOptions{}
	err := metainternalversion.ParameterCodec.DecodeParameters(c.Query, metav1.SchemeGroupVersion, options)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	switch errs := metav1validation.ValidateTableOptions(options); len(errs) {
	case 0:
		return options, nil
	case 1:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("Unable to convert to Table as requested: %v", errs[0].Error()))
	default:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("Unable to convert to Table as requested: %v", errs))
	}
}

// tableOf makes the table of an object or list. Its rows carry the objects' metadata, unless includeObject says otherwise.
func tableOf(ctx context.Context, c *Call, out wire.Output, obj runtime.Object, options *metav1.TableOptions) (*metav1.Table, error) {
	table, err := c.face().Table(ctx, obj, options)
	if err != nil {
		return nil, err
	}
	gv := schema.GroupVersion{Group: metav1.GroupName, Version: out.Version}
	table.SetGroupVersionKind(gv.WithKind("Table"))
	for i := range table.Rows {
		row := &table.Rows[i].Object
		include := options.IncludeObject
		if include == metav1.IncludeNone {
			end, err := storage.HasInitialEventsEndBookmarkAnnotation(row.Object)
			if err != nil {
				return nil, apierrors.NewInternalError(err)
			}
			if end {
				include = metav1.IncludeMetadata // nothing else tells the client that it has everything
			}
		}
		switch include {
		case metav1.IncludeObject:
			if row.Object, err = c.face().Convert(row.Object); err != nil {
				return nil, err
			}
		case metav1.IncludeNone:
			row.Object = nil
		case metav1.IncludeMetadata, "":
			if row.Object, err = metadataOf(row.Object, gv); err != nil {
				return nil, err
			}
		default:
			return nil, apierrors.NewBadRequest(fmt.Sprintf("unrecognized includeObject value: %q", include))
		}
	}
	return table, nil
}

func metadataOf(obj runtime.Object, gv schema.GroupVersion) (*metav1.PartialObjectMetadata, error) {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	partial := meta.AsPartialObjectMetadata(accessor)
	partial.SetGroupVersionKind(gv.WithKind("PartialObjectMetadata"))
	return partial, nil
}

// partialMetadata returns the metadata of an object or of a list's objects; a client must have asked for the one it gets.
func partialMetadata(out wire.Output, obj runtime.Object) (runtime.Object, error) {
	gv := schema.GroupVersion{Group: metav1.GroupName, Version: out.Version}
	if !meta.IsListType(obj) {
		if out.Shape == wire.MetadataList {
			return nil, request.NotAcceptableBecause(
				fmt.Sprintf("you requested PartialObjectMetadataList, but the requested object is not a list (%T)", obj))
		}
		return metadataOf(obj, gv)
	}
	if out.Shape == wire.Metadata {
		return nil, request.NotAcceptableBecause(
			fmt.Sprintf("you requested PartialObjectMetadata, but the requested object is a list (%T)", obj))
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(gv.WithKind("PartialObjectMetadataList"))
	listMeta, err := meta.ListAccessor(obj)
	if err != nil {
		return nil, err
	}
	list.ResourceVersion = listMeta.GetResourceVersion()
	list.Continue = listMeta.GetContinue()
	list.RemainingItemCount = listMeta.GetRemainingItemCount()
	err = meta.EachListItem(obj, func(obj runtime.Object) error {
		partial, err := metadataOf(obj, gv)
		if err == nil {
			list.Items = append(list.Items, *partial)
		}
		return err
	})
	return list, err
}

// encodeMeta encodes a Table or PartialObjectMetadata, whose kind and apiVersion are set.
func encodeMeta(out wire.Output, obj runtime.Object) ([]byte, error) {
	gvk := obj.GetObjectKind().GroupVersionKind()
	if out.Media != wire.Protobuf {
		return wire.Typed(out.Media, gvk, obj)
	}
	if list, ok := obj.(*metav1.PartialObjectMetadataList); ok && gvk.Version == "v1beta1" {
		obj = &metav1beta1.PartialObjectMetadataList{ListMeta: list.ListMeta, Items: list.Items}
	}
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return wire.Typed(out.Media, gvk, obj)
}
