package custom

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	serializerjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	kjson "sigs.k8s.io/json"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/quickjson"
)

// objects makes and recognizes unstructured objects.
type objects struct{}

// New makes an object of a kind.
func (objects) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	obj := &unstructured.Unstructured{}
	obj.SetGroupVersionKind(gvk)
	return obj, nil
}

// ObjectKinds reads the kind of an object.
func (objects) ObjectKinds(obj runtime.Object) ([]schema.GroupVersionKind, bool, error) {
	if _, ok := obj.(runtime.Unstructured); !ok {
		return nil, false, runtime.NewNotRegisteredErrForType("custom resources", nil)
	}
	gvk := obj.GetObjectKind().GroupVersionKind()
	switch {
	case gvk.Kind == "":
		return nil, false, runtime.NewMissingKindErr("object has no kind field ")
	case gvk.Version == "":
		return nil, false, runtime.NewMissingVersionErr("object has no apiVersion field")
	}
	return []schema.GroupVersionKind{gvk}, false, nil
}

// Recognizes no kind in particular.
func (objects) Recognizes(schema.GroupVersionKind) bool { return false }

// mediaTypes are those of bodies. Protobuf is among them so that the error is upstream's.
var mediaTypes = sync.OnceValue(func() []runtime.SerializerInfo {
	newJSON := func(options serializerjson.SerializerOptions) runtime.Serializer {
		return serializerjson.NewSerializerWithOptions(serializerjson.DefaultMetaFactory, objects{}, objects{}, options)
	}
	return []runtime.SerializerInfo{
		{
			MediaType: "application/json", MediaTypeType: "application", MediaTypeSubType: "json", EncodesAsText: true,
			Serializer:       newJSON(serializerjson.SerializerOptions{}),
			StrictSerializer: newJSON(serializerjson.SerializerOptions{Strict: true}),
		},
		{
			MediaType: "application/yaml", MediaTypeType: "application", MediaTypeSubType: "yaml", EncodesAsText: true,
			Serializer:       newJSON(serializerjson.SerializerOptions{Yaml: true}),
			StrictSerializer: newJSON(serializerjson.SerializerOptions{Yaml: true, Strict: true}),
		},
		{
			MediaType: "application/vnd.kubernetes.protobuf", MediaTypeType: "application", MediaTypeSubType: "vnd.kubernetes.protobuf",
			Serializer: protobuf.NewSerializer(objects{}, objects{}),
		},
	}
})

// form is a version of a definition: how its objects are read, written and converted.
type form struct {
	compiler *compiler
	version  *headVersion
	gvk      schema.GroupVersionKind
}

func (f *form) compiled() (*compiledVersion, error) { return f.compiler.version(f.version.Name) }

func (f *form) codec() *kind.Codec {
	return &kind.Codec{
		Typer: objects{}, Creater: objects{}, Defaulter: defaulter{f}, Convertor: convertor{f}, Serializer: serializer{f},
		Parameters: metav1.ParameterCodec, Hub: f.gvk.GroupVersion(), Stored: storedEncoder{f}, Load: storedDecoder{f},
		Written: f.written, Accept: f.accept,
	}
}

// defaulter fills in what the schema of an object's own version has defaults for.
type defaulter struct{ form *form }

// Default does nothing to other objects, or when the schema cannot be had.
func (d defaulter) Default(obj runtime.Object) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return
	}
	s, err := d.form.compiler.schemas()
	if err != nil || u.GroupVersionKind().GroupKind() != d.form.gvk.GroupKind() {
		return
	}
	defaulting.Default(u.Object, s.structural[u.GroupVersionKind().Version])
}

// convertor converts between versions. Unlike upstream's it does not copy what needs no conversion.
type convertor struct{ form *form }

func (c convertor) Convert(in, out, context any) error {
	s, err := c.form.compiler.schemas()
	if err != nil {
		return err
	}
	return s.convertor.Convert(in, out, context)
}

func (c convertor) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	from := in.GetObjectKind().GroupVersionKind()
	if to, ok := target.KindForGroupVersionKinds([]schema.GroupVersionKind{from}); ok && to == from {
		return in, nil
	}
	s, err := c.form.compiler.schemas()
	if err != nil {
		return nil, err
	}
	return s.safeConvertor.ConvertToVersion(in, target)
}

func (c convertor) ConvertFieldLabel(gvk schema.GroupVersionKind, label, value string) (string, string, error) {
	switch {
	case label == "metadata.name", label == "metadata.namespace" && c.form.compiler.definition.namespaced():
		return label, value, nil
	}
	for _, v := range c.form.compiler.definition.Spec.Versions {
		for _, f := range v.SelectableFields {
			if v.Name == gvk.Version && label == selectableName(f) {
				return label, value, nil
			}
		}
	}
	return "", "", fmt.Errorf("field label not supported: %s", label)
}

// serializer reads bodies.
type serializer struct{ form *form }

func (s serializer) SupportedMediaTypes() []runtime.SerializerInfo { return mediaTypes() }

func (s serializer) EncoderForVersion(encoder runtime.Encoder, _ runtime.GroupVersioner) runtime.Encoder {
	return encoder
}

func (s serializer) DecoderToVersion(decoder runtime.Decoder, _ runtime.GroupVersioner) runtime.Decoder {
	body := bodyDecoder{form: s.form, decoder: decoder}
	if d, ok := decoder.(*serializerjson.Serializer); ok {
		body.strict = d.IsStrict()
		body.json = strings.Contains(string(d.Identifier()), `"yaml":"false"`)
	}
	return body
}

// bodyDecoder reads a body into an unstructured object, prunes it and fills in defaults.
type bodyDecoder struct {
	form    *form
	decoder runtime.Decoder
	strict  bool
	json    bool // nothing but JSON comes
}

func (d bodyDecoder) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	schemas, err := d.form.compiler.schemas()
	if err != nil {
		return nil, nil, err
	}
	d.form.compiler.ready(d.form.version.Name)
	obj, gvk, err := d.read(data, defaults, into)
	var strictErrs []error
	if err != nil {
		strictErr, ok := runtime.AsStrictDecodingError(err)
		if !ok || obj == nil {
			return nil, gvk, err
		}
		strictErrs = strictErr.Errors()
	}
	if u, ok := obj.(*unstructured.Unstructured); ok {
		if len(strictErrs) == 0 && schemas.settled(u, d.form.gvk, false) {
			return obj, gvk, nil
		}
		unknown, err := schemas.coerce(u, coercion{paths: d.strict})
		if err != nil {
			return nil, gvk, err
		}
		for _, path := range unknown {
			strictErrs = append(strictErrs, fmt.Errorf(`unknown field "%s"`, path))
		}
	}
	defaulter{d.form}.Default(obj)
	if len(strictErrs) > 0 && d.strict {
		return obj, gvk, runtime.NewStrictDecodingError(strictErrs)
	}
	return obj, gvk, nil
}

// read reads a body as it is. One of the form's kind that there is nothing to say about is read sooner.
func (d bodyDecoder) read(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if u, ok := into.(*unstructured.Unstructured); ok && d.json {
		if content, ok := quickjson.UnmarshalMap(data); ok && content["kind"] == d.form.gvk.Kind && content["apiVersion"] == d.form.gvk.GroupVersion().String() {
			u.Object = content
			gvk := d.form.gvk
			return u, &gvk, nil
		}
	}
	return d.decoder.Decode(data, defaults, into)
}

// accept is what a bodyDecoder does to an object that it has read, unless it would say something about it.
func (f *form) accept(obj runtime.Object) bool {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok || u.GroupVersionKind() != f.gvk {
		return false
	}
	s, err := f.compiler.schemas()
	if err != nil {
		return false
	}
	if s.settled(u, f.gvk, false) {
		return true
	}
	if unknown, err := s.coerce(u, coercion{paths: true}); err != nil || len(unknown) > 0 {
		return false
	}
	defaulter{f}.Default(u)
	return true
}

// storedEncoder writes an object as it is stored: in the storage version, as JSON.
type storedEncoder struct{ form *form }

func (e storedEncoder) Identifier() runtime.Identifier { return "custom" }

func (e storedEncoder) Encode(obj runtime.Object, w io.Writer) error {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("%T is no custom resource", obj)
	}
	storage := schema.GroupVersion{Group: e.form.gvk.Group, Version: e.form.compiler.definition.storageVersion()}
	if from := u.GroupVersionKind(); from.GroupVersion() != storage {
		schemas, err := e.form.compiler.schemas()
		if err != nil {
			return err
		}
		if u, err = schemas.convert(&unstructured.Unstructured{Object: maps.Clone(u.Object)}, storage); err != nil {
			return err
		}
	}
	return quickjson.With(u.Object, func(text []byte) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
}

// written is what storedDecoder would read after storedEncoder has written an object, if that is in the form's version and is made
// of nothing that JSON gives back otherwise.
func (f *form) written(obj runtime.Object, _ []byte) (read runtime.Object, asStored bool) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok || u.GroupVersionKind() != f.gvk || f.gvk.Version != f.compiler.definition.storageVersion() || !plain(u.Object) {
		return nil, false
	}
	s, err := f.compiler.schemas()
	if err != nil || s.settle(u) != nil {
		return nil, false
	}
	return u, false
}

// plain tells whether a value is one that is the same after a way through JSON.
func plain(value any) bool {
	switch value := value.(type) {
	case nil, bool, int64:
		return true
	case string:
		return utf8.ValidString(value)
	case []any:
		return value != nil && !slices.ContainsFunc(value, func(e any) bool { return !plain(e) })
	case map[string]any:
		for name, v := range value {
			if !utf8.ValidString(name) || !plain(v) {
				return false
			}
		}
		return value != nil
	}
	return false
}

// storedDecoder reads a stored object, of whatever version, into the form's version.
type storedDecoder struct{ form *form }

func (d storedDecoder) Decode(data []byte, _ *schema.GroupVersionKind, _ runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	schemas, err := d.form.compiler.schemas()
	if err != nil {
		return nil, nil, err
	}
	u, err := schemas.load(data)
	if err != nil {
		return nil, nil, err
	}
	if u.GroupVersionKind().GroupVersion() != d.form.gvk.GroupVersion() {
		if u, err = schemas.convert(u, d.form.gvk.GroupVersion()); err != nil {
			return nil, nil, err
		}
	}
	return u, &d.form.gvk, nil
}

// load reads a stored object in the version that it is stored in.
func (s *schemas) load(data []byte) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	var quick bool
	if u.Object, quick = quickjson.UnmarshalMap(data); !quick {
		if err := kjson.UnmarshalCaseSensitivePreserveInts(bytes.TrimSpace(data), &u.Object); err != nil {
			return nil, err
		}
	}
	if u.GetKind() == "" {
		return nil, runtime.NewMissingKindErr(string(data))
	}
	if err := s.settle(u); err != nil {
		return nil, err
	}
	return u, nil
}

// settle does to an object what is done to one that was read.
func (s *schemas) settle(u *unstructured.Unstructured) error {
	if s.settled(u, u.GroupVersionKind(), true) {
		return nil
	}
	if _, err := s.coerce(u, coercion{lenient: true}); err != nil {
		return err
	}
	if u.GroupVersionKind().GroupKind() == s.groupKind {
		defaulting.Default(u.Object, s.structural[u.GroupVersionKind().Version])
	}
	return nil
}

// convert converts an object, which may be changed, and prunes what its new version does not know.
func (s *schemas) convert(u *unstructured.Unstructured, to schema.GroupVersion) (*unstructured.Unstructured, error) {
	converted, err := s.convertor.ConvertToVersion(u, to)
	if err != nil {
		return nil, err
	}
	out, ok := converted.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("conversion to %v returned a %T", to, converted)
	}
	_, err = s.coerce(out, coercion{})
	return out, err
}

// coercion says how forgiving to be.
type coercion struct {
	// lenient drops malformed metadata, and gives a generation to those that are so old that they have none: stored objects.
	lenient bool
	// paths asks for the paths of unknown fields.
	paths bool
}

// coerce does to an object what decoding into a Go type does for other kinds: metadata is checked, unknown fields and nulls that
// may not be null go (customresource_handler.go, unstructuredSchemaCoercer).
func (s *schemas) coerce(u *unstructured.Unstructured, how coercion) (unknown []string, err error) {
	kindName, hasKind, err := unstructured.NestedString(u.Object, "kind")
	if err != nil {
		return nil, err
	}
	apiVersion, hasVersion, err := unstructured.NestedString(u.Object, "apiVersion")
	if err != nil {
		return nil, err
	}
	var metadata *metav1.ObjectMeta // nil when it may stay as it is
	if fields, ok := u.Object["metadata"].(map[string]any); !ok || !settledMetadata(fields) || how.lenient && fields["generation"] == nil {
		metadata, _, unknown, err = objectmeta.GetObjectMetaWithOptions(u.Object, objectmeta.ObjectMetaOptions{
			DropMalformedFields: how.lenient, ReturnUnknownFieldPaths: how.paths,
		})
		if err != nil {
			return nil, err
		}
	}
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, err
	}
	if gv.Group == s.groupKind.Group && kindName == s.groupKind.Kind {
		of := s.structural[gv.Version]
		if !s.preserveUnknown {
			unknown = append(unknown, pruning.PruneWithOptions(u.Object, of, true,
				structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: how.paths})...)
			defaulting.PruneNonNullableNullsWithoutDefaults(u.Object, of)
		}
		err, paths := objectmeta.CoerceWithOptions(nil, u.Object, of, false, objectmeta.CoerceOptions{
			DropInvalidFields: how.lenient, ReturnUnknownFieldPaths: how.paths,
		})
		if err != nil {
			return nil, err
		}
		unknown = append(unknown, paths...)
		if how.lenient && metadata != nil && metadata.Generation == 0 {
			metadata.Generation = 1
		}
	}
	if hasKind {
		u.SetKind(kindName)
	}
	if hasVersion {
		u.SetAPIVersion(apiVersion)
	}
	if metadata != nil {
		err = objectmeta.SetObjectMeta(u.Object, metadata)
	}
	return unknown, err
}
