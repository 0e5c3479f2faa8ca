package verb

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	kjson "sigs.k8s.io/json"

	"github.com/kayak-k8s/kayak/internal/quickjson"
)

// applyStrategic applies a strategic merge patch, which follows the patch strategies of the version's Go type. It works on a
// document; only what the patch touches is made one.
func (p *patcher) applyStrategic(existing runtime.Object) (runtime.Object, error) {
	r := p.call.face()
	versioned, err := r.Convert(existing)
	if err != nil {
		return nil, err
	}
	patch, quick := quickjson.UnmarshalMap(p.body)
	var strictErrs []error
	if !quick {
		patch = map[string]any{}
		if strictErrs, err = p.decodeStrategic(&patch); err != nil {
			return nil, err
		}
	}
	part := touchedBy(patch, versioned)
	document, err := part.document(versioned)
	if err != nil {
		return nil, err
	}
	target, err := r.Codec.Creater.New(r.GVK())
	if err != nil {
		return nil, err
	}
	patched, err := strategicpatch.StrategicMergeMapPatch(document, patch, target)
	if err != nil {
		return nil, strategicError(err)
	}
	if err := checkPatchedQuantities(r, p.body, patched); err != nil {
		return nil, invalidPatch(fmt.Sprintf("%+v", patch), err)
	}
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(patched, target, strict(p.options.FieldValidation))
	if err != nil {
		strictErr, ok := runtime.AsStrictDecodingError(err)
		if !ok {
			return nil, invalidPatch(fmt.Sprintf("%+v", patch), err)
		}
		strictErrs = append(strictErrs, strictErr.Errors()...)
	}
	if len(strictErrs) > 0 {
		if err := p.strictErrors(strictErrs, fmt.Sprintf("%+v", patch)); err != nil {
			return nil, err
		}
	}
	target = part.completed(target, versioned)
	r.Codec.Defaulter.Default(target)
	return r.Codec.Sharing().ConvertToVersion(target, r.Codec.Hub)
}

func (p *patcher) decodeStrategic(patch *map[string]any) ([]error, error) {
	if !strict(p.options.FieldValidation) {
		if err := kjson.UnmarshalCaseSensitivePreserveInts(p.body, patch); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return nil, nil
	}
	strictErrs, err := kjson.UnmarshalStrict(p.body, patch)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return strictErrs, nil
}

func strategicError(err error) error {
	switch {
	case errors.Is(err, mergepatch.ErrBadJSONDoc), errors.Is(err, mergepatch.ErrBadPatchFormatForPrimitiveList),
		errors.Is(err, mergepatch.ErrBadPatchFormatForRetainKeys), errors.Is(err, mergepatch.ErrBadPatchFormatForSetElementOrderList),
		errors.Is(err, mergepatch.ErrUnsupportedStrategicMergePatchFormat):
		return apierrors.NewBadRequest(err.Error())
	case errors.Is(err, mergepatch.ErrNoListOfLists), errors.Is(err, mergepatch.ErrPatchContentNotMatchRetainKeys):
		return unprocessable(err)
	}
	return err
}
