package verb

import (
	"encoding/json"
	"reflect"
	"slices"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "sigs.k8s.io/json"

	"github.com/kayak-k8s/kayak/internal/quickjson"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// applyMergeInPart applies a JSON merge patch to the part of the object that it touches. It returns nil if the patch touches
// everything, or has anything that the client is to be told about: then it is to be applied as a whole, which finds the words.
func (p *patcher) applyMergeInPart(existing runtime.Object) runtime.Object {
	r := p.call.face()
	if r.Custom != nil {
		return p.applyMergeToMaps(existing)
	}
	patch, ok := quickjson.UnmarshalMap(p.body)
	if !ok {
		patch = map[string]any{}
		if strictErrs, err := kjson.UnmarshalStrict(p.body, &patch); err != nil || len(strictErrs) > 0 {
			return nil
		}
	}
	versioned, err := r.Convert(existing)
	if err != nil || reflect.TypeOf(versioned).Elem().Kind() != reflect.Struct {
		return nil
	}
	part := touchedBy(patch, versioned)
	if part == nil {
		return nil
	}
	document, err := part.document(versioned)
	if err != nil {
		return nil
	}
	text, err := json.Marshal(document)
	if err != nil {
		return nil
	}
	patched, err := jsonpatch.MergePatch(text, p.body)
	if err != nil || checkQuantities(r, wire.JSON, patched) != nil {
		return nil
	}
	target, err := r.Codec.Creater.New(r.GVK())
	if err != nil {
		return nil
	}
	if !quickjson.Unmarshal(patched, target) {
		if target, err = r.Codec.Creater.New(r.GVK()); err != nil {
			return nil
		}
		if strictErrs, err := kjson.UnmarshalStrict(patched, target); err != nil || len(strictErrs) > 0 {
			return nil
		}
	}
	target = part.completed(target, versioned)
	r.Codec.Defaulter.Default(target)
	obj, err := r.Codec.Sharing().ConvertToVersion(target, r.Codec.Hub)
	if err != nil {
		return nil
	}
	return obj
}

// applyMergeToMaps is applyMergeInPart for an object that is made of maps, and a patch that takes nothing away.
func (p *patcher) applyMergeToMaps(existing runtime.Object) runtime.Object {
	codec := p.call.face().Codec
	u, ok := existing.(*unstructured.Unstructured)
	if !ok || codec.Accept == nil {
		return nil
	}
	patch, ok := quickjson.UnmarshalMap(p.body)
	if !ok || hasNull(patch) || patch["kind"] != nil || patch["apiVersion"] != nil {
		return nil
	}
	obj := u.DeepCopy()
	mergeMaps(obj.Object, patch)
	if !codec.Accept(obj) {
		return nil
	}
	return obj
}

// mergeMaps merges a patch without nulls into a document.
func mergeMaps(document, patch map[string]any) {
	for name, value := range patch {
		within, ok := document[name].(map[string]any)
		if patched, isObject := value.(map[string]any); ok && isObject {
			mergeMaps(within, patched)
		} else {
			document[name] = value
		}
	}
}

// hasNull tells whether there is a null in a document.
func hasNull(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case []any:
		return slices.ContainsFunc(value, hasNull)
	case map[string]any:
		for _, v := range value {
			if hasNull(v) {
				return true
			}
		}
	}
	return false
}
