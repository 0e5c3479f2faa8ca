package verb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/registry/rest"
	kjson "sigs.k8s.io/json"

	"github.com/kayak-k8s/kayak/internal/request"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// maxPatchOperations is how many operations a JSON patch may have (endpoints/handlers/patch.go).
const maxPatchOperations = 10000

// The library has no other way to bound what "copy" operations may add up to (the fix of CVE-2019-1002100).
func init() { jsonpatch.AccumulatedCopySizeLimit = maxBody }

// PatchTypes are the media types of patches, in the order in which a 415 lists them.
var PatchTypes = []string{
	string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType),
}

// patch changes an object by a description of the change, in the version of the path: the existing object is converted to
// that version, patched, given defaults and converted back; from there on it is an update.
func (a *API) patch(ctx context.Context, c *Call) error {
	p, err := a.newPatcher(ctx, c)
	if err != nil {
		return err
	}
	out, err := c.negotiate(false)
	if err != nil {
		return err
	}
	if p.body, err = c.readBody(ctx); err != nil {
		return err
	}
	options, err := c.patchOptions(p.typ)
	if err != nil {
		return err
	}
	if err := p.checkSyntax(); err != nil {
		return err
	}
	c.auditPatch(p.typ, p.body)
	p.options = options
	c.answer = &out
	return a.change(ctx, c, out, &change{
		next: p.next, applies: p.applies(),
		options: &metav1.UpdateOptions{
			TypeMeta: optionsType("UpdateOptions"), DryRun: options.DryRun,
			FieldManager: options.FieldManager, FieldValidation: options.FieldValidation,
		},
	})
}

// patcher applies one patch. It can do so again when the object has changed meanwhile.
type patcher struct {
	ctx     context.Context
	api     *API
	call    *Call
	typ     types.PatchType
	body    []byte
	options *metav1.PatchOptions
	// configuration is what body applies, when it has been read already. It is never changed.
	configuration map[string]any
}

func (a *API) newPatcher(ctx context.Context, c *Call) (*patcher, error) {
	contentType, _, _ := strings.Cut(c.Request.Header.Get("Content-Type"), ";")
	supported := PatchTypes
	if c.Resource.Custom != nil { // a strategic merge patch follows a Go type
		supported = slices.DeleteFunc(slices.Clone(supported), func(t string) bool { return t == string(types.StrategicMergePatchType) })
	}
	if a.Fields == nil {
		supported = slices.DeleteFunc(slices.Clone(supported), func(t string) bool { return t == string(types.ApplyYAMLPatchType) })
	}
	if !slices.Contains(supported, contentType) {
		return nil, request.UnsupportedMediaType(supported)
	}
	return &patcher{ctx: ctx, api: a, call: c, typ: types.PatchType(contentType)}, nil
}

// checkSyntax refuses a patch that cannot be read, whatever it is for.
func (p *patcher) checkSyntax() error {
	if p.applies() {
		if p.configuration = plainConfiguration(p.body); p.configuration != nil {
			return nil
		}
		if _, err := yaml.ToJSON(p.body); err != nil {
			return apierrors.NewBadRequest(fmt.Sprintf("error encoding patch: %v", err))
		}
		return nil
	}
	if !json.Valid(p.body) {
		return apierrors.NewBadRequest("invalid JSON patch")
	}
	return nil
}

// next is the change that the patch makes.
func (p *patcher) next(existing runtime.Object) (runtime.Object, error) {
	accessor, err := meta.Accessor(existing)
	if err != nil {
		return nil, err
	}
	exists := accessor.GetUID() != ""
	if !exists && !p.applies() {
		return nil, p.call.notFound()
	}
	var obj runtime.Object
	switch p.typ {
	case types.ApplyYAMLPatchType:
		obj, err = p.applyConfiguration(existing, exists)
	case types.StrategicMergePatchType:
		obj, err = p.applyStrategic(existing)
	default:
		obj, err = p.applyJSON(existing)
	}
	if err != nil {
		return nil, err
	}
	if accessor, err = meta.Accessor(obj); err != nil {
		return nil, err
	}
	if uid := accessor.GetUID(); uid != "" && !exists {
		return nil, apierrors.NewConflict(p.call.Resource.GroupResource(), p.call.Info.Name,
			fmt.Errorf("uid mismatch: the provided object specified uid %s, and no existing object was found", uid))
	}
	if err := rest.EnsureObjectNamespaceMatchesRequestNamespace(p.call.objectNamespace(), accessor); err != nil {
		return nil, err
	}
	return obj, p.call.checkName(obj)
}

// applyJSON applies a JSON patch or a JSON merge patch to the object's JSON.
func (p *patcher) applyJSON(existing runtime.Object) (runtime.Object, error) {
	if p.typ == types.MergePatchType {
		if obj := p.applyMergeInPart(existing); obj != nil {
			return obj, nil
		}
	}
	return p.applyJSONAsAWhole(existing)
}

func (p *patcher) applyJSONAsAWhole(existing runtime.Object) (runtime.Object, error) {
	r := p.call.face()
	item, err := r.EncodeItem(existing, false)
	if err != nil {
		return nil, err
	}
	versioned, err := wire.Object(wire.JSON, r.Frame(), item)
	if err != nil {
		return nil, err
	}
	patched, strictErrs, err := p.applyToJSON(versioned)
	if err != nil {
		return nil, err
	}
	serializer, err := p.call.serializer(wire.JSON, p.options.FieldValidation)
	if err != nil {
		return nil, err
	}
	if err := checkQuantities(r, wire.JSON, patched); err != nil {
		return nil, invalidPatch(string(patched), err)
	}
	obj := r.New()
	err = runtime.DecodeInto(r.Codec.Serializer.DecoderToVersion(serializer, r.Codec.Hub), patched, obj)
	if err != nil {
		strictErr, ok := runtime.AsStrictDecodingError(err)
		if !ok {
			return nil, invalidPatch(string(patched), err)
		}
		strictErrs = append(strictErrs, strictErr.Errors()...)
	}
	return obj, p.strictErrors(strictErrs, string(patched))
}

// applyToJSON returns the patched document, and what the patch itself has that it should not have.
func (p *patcher) applyToJSON(document []byte) ([]byte, []error, error) {
	if p.typ == types.MergePatchType {
		strictErrs, err := p.checkJSON(&map[string]any{})
		if err != nil {
			return nil, nil, err
		}
		patched, err := jsonpatch.MergePatch(document, p.body)
		if errors.Is(err, jsonpatch.ErrBadJSONPatch) {
			return nil, nil, apierrors.NewBadRequest(err.Error())
		}
		return patched, strictErrs, err
	}
	strictErrs, err := p.checkJSON(&[]jsonPatchOp{})
	if err != nil {
		return nil, nil, err
	}
	for i, err := range strictErrs {
		strictErrs[i] = fmt.Errorf("json patch %v", err)
	}
	operations, err := jsonpatch.DecodePatch(p.body)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	if len(operations) > maxPatchOperations {
		return nil, nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf(
			"The allowed maximum operations in a JSON patch is %d, got %d", maxPatchOperations, len(operations)))
	}
	patched, err := applyOperations(operations, document)
	if err != nil {
		return nil, nil, unprocessable(err)
	}
	return patched, strictErrs, nil
}

// applyOperations keeps a panic of the library from becoming one of the request: it has one for a test of the whole document
// that names no value.
func applyOperations(operations jsonpatch.Patch, document []byte) (patched []byte, err error) {
	defer func() {
		if broken := recover(); broken != nil {
			err = fmt.Errorf("the patch cannot be applied: %v", broken)
		}
	}()
	return operations.Apply(document)
}

// jsonPatchOp lists what an operation may have (RFC 6902).
type jsonPatchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	From  string `json:"from"`
	Value any    `json:"value"`
}

func (p *patcher) checkJSON(into any) ([]error, error) {
	if !strict(p.options.FieldValidation) {
		return nil, nil
	}
	strictErrs, err := kjson.UnmarshalStrict(p.body, into)
	if err != nil {
		// The decoder's text names the Go type that it fills, which is in another package upstream.
		text := strings.ReplaceAll(err.Error(), "verb.jsonPatchOp", "handlers.jsonPatchOp")
		return nil, apierrors.NewBadRequest("error decoding patch: " + text)
	}
	return strictErrs, nil
}

// strictErrors warns of fields that are not known, or refuses them.
func (p *patcher) strictErrors(errs []error, patch string) error {
	if len(errs) == 0 {
		return nil
	}
	if warns(p.options.FieldValidation) {
		addStrictWarnings(p.ctx, errs)
		return nil
	}
	return invalidPatch(patch, runtime.NewStrictDecodingError(errs))
}

func invalidPatch(patch string, err error) error {
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), patch, err.Error())})
}

func unprocessable(err error) error {
	return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
}
