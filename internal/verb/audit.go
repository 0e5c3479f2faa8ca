package verb

import (
	"context"

	metainternalversionscheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// What the audit log has of a request's objects. A call that is not audited has no event; one whose level has no objects in it
// costs no encoding.

// auditRequest tells of the object in the body, before admission changes it.
func (c *Call) auditRequest(obj runtime.Object) {
	if c.Audit == nil {
		return
	}
	c.Audit.Request(obj, c.face().Version, c.Resource.GVR(), c.subresource(), func(obj runtime.Object) ([]byte, error) {
		bare, err := c.face().EncodeItem(obj, false)
		if err != nil {
			return nil, err
		}
		return wire.Object(wire.JSON, c.face().Frame(), bare)
	})
}

// auditDeleteOptions tells of options in the body.
func (c *Call) auditDeleteOptions(options *metav1.DeleteOptions, gv schema.GroupVersion) {
	if c.Audit == nil {
		return
	}
	c.Audit.Request(options, gv, c.Resource.GVR(), c.subresource(), func(options runtime.Object) ([]byte, error) {
		return runtime.Encode(metainternalversionscheme.Codecs.LegacyCodec(gv), options)
	})
}

// auditPatch tells of a patch; a configuration that is applied is told of as JSON.
func (c *Call) auditPatch(typ types.PatchType, patch []byte) {
	if c.Audit == nil {
		return
	}
	c.Audit.Patch(func() ([]byte, error) {
		if typ == types.ApplyYAMLPatchType {
			return yaml.ToJSON(patch)
		}
		return patch, nil
	})
}

// auditResponse tells of an object, list or Status of the hub version that is the answer.
func (a *API) auditResponse(ctx context.Context, c *Call, out wire.Output, obj runtime.Object) {
	if c.Audit == nil {
		return
	}
	if status, ok := obj.(*metav1.Status); ok {
		c.Audit.Status(status)
		return
	}
	c.Audit.Response(func() ([]byte, error) { return a.body(ctx, c, plain(out), obj) })
}

// auditRecord tells of a whole object that is the answer.
func (c *Call) auditRecord(record *state.Record) {
	if c.Audit == nil {
		return
	}
	c.Audit.Response(func() ([]byte, error) {
		bare, err := item(c.Resource, record, wire.JSON)
		if err != nil {
			return nil, err
		}
		return wire.Object(wire.JSON, c.Resource.Frame(), bare)
	})
}

// auditPage tells of an answer that is a list.
func (a *API) auditPage(ctx context.Context, c *Call, out wire.Output, p *page) {
	if c.Audit == nil {
		return
	}
	c.Audit.Response(func() ([]byte, error) {
		list, err := p.objects(c)
		if err != nil {
			return nil, err
		}
		return a.body(ctx, c, plain(out), list)
	})
}

// plain is an answer's form as it is in the audit log.
func plain(out wire.Output) wire.Output {
	out.Media, out.Pretty, out.Gzip = wire.JSON, false, false
	return out
}
