package verb

import (
	"context"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kayak-k8s/kayak/internal/wire"
)

// get answers with one object. A whole object is the record's encoding, shared with lists and watches; nothing is decoded.
func (a *API) get(ctx context.Context, c *Call) error {
	if c.storage() != nil {
		return a.getElsewhere(ctx, c)
	}
	out, err := c.negotiate(false)
	if err != nil {
		return err
	}
	options, err := c.getOptions()
	if err != nil {
		return err
	}
	revision, any, err := parseRevision(options.ResourceVersion)
	if err != nil {
		return invalidResourceVersion(options.ResourceVersion, err)
	}
	snapshot, err := a.snapshot(ctx, revision, any)
	if err != nil {
		return storeError(err, c)
	}
	record := snapshot.Get(c.key(a.Root))
	if record == nil {
		return c.notFound()
	}
	if out.Shape != wire.Whole || c.face() != c.Resource {
		obj, err := decode(c.Resource.Kind, record)
		if err != nil {
			return a.corrupt(err, record.Key)
		}
		if c.Sub != nil && c.Sub.View != nil && c.Sub.View.Check != nil {
			if err := c.Sub.View.Check(obj); err != nil {
				return err
			}
		}
		if obj, err = c.view(obj); err != nil {
			return err
		}
		return a.respond(ctx, c, out, http.StatusOK, obj)
	}
	bare, err := item(c.Resource, record, out.Media)
	if err != nil {
		return a.corrupt(err, record.Key)
	}
	body, err := wire.Object(out.Media, c.Resource.Frame(), bare)
	if err != nil {
		return err
	}
	c.auditRecord(record)
	return send(ctx, c, out, http.StatusOK, body)
}

// getOptions reads the options of a get. The parameter of an export is refused, with what upstream says for anything but no: that
// would be another object.
func (c *Call) getOptions() (*metav1.GetOptions, error) {
	options := &metav1.GetOptions{}
	if err := c.parameters(options); err != nil {
		return nil, err
	}
	if values := c.Query["export"]; len(values) > 0 {
		var export bool
		_ = runtime.Convert_Slice_string_To_bool(&values, &export, nil) // cannot fail
		if export {
			return nil, apierrors.NewBadRequest("the export parameter, deprecated since v1.14, is no longer supported")
		}
	}
	return options, nil
}

// invalidResourceVersion is the answer to a get or watch. Upstream lets the same text through as an error 500, which bad input
// is not.
func invalidResourceVersion(value string, err error) error {
	return apierrors.NewBadRequest(revisionError(value, err).Error())
}

func revisionError(value string, err error) error {
	return field.Invalid(field.NewPath("resourceVersion"), value, err.Error())
}
