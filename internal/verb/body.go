package verb

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"

	"github.com/kayak-k8s/kayak/internal/wire"
)

// maxBody is the largest body of a request, in bytes (upstream's MaxRequestBodyBytes).
const maxBody = 3 << 20

// readBody reads the body, for as long as the request may take: a client that sends slowly must not keep its place for ever.
func (c *Call) readBody(ctx context.Context) ([]byte, error) {
	r := c.Request
	defer r.Body.Close()
	if deadline, ok := ctx.Deadline(); ok && r.Body != http.NoBody {
		// What cannot set one, such as a recorder in a test, does not need it.
		_ = http.NewResponseController(c.Writer).SetReadDeadline(deadline)
	}
	if r.ContentLength > maxBody {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
	}
	var body bytes.Buffer
	if r.ContentLength > 0 { // what is large must arrive before it gets its room
		body.Grow(int(min(r.ContentLength, 64<<10)) + bytes.MinRead) // with room to see the end
	}
	_, err := body.ReadFrom(io.LimitReader(r.Body, maxBody+1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0)
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if body.Len() > maxBody {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
	}
	return body.Bytes(), nil
}

// serializer returns the resource's serializer for a media type; with strictness on, it reports unknown and duplicate fields.
func (c *Call) serializer(media wire.Media, fieldValidation string) (runtime.Serializer, error) {
	info, ok := runtime.SerializerInfoForMediaType(c.face().Codec.Serializer.SupportedMediaTypes(), media.String())
	if !ok {
		return nil, internalError("no serializer defined for %v", media)
	}
	if strict(fieldValidation) && info.StrictSerializer != nil {
		return info.StrictSerializer, nil
	}
	return info.Serializer, nil
}

func strict(fieldValidation string) bool { return fieldValidation != metav1.FieldValidationIgnore }

// warns reports whether fields that are not known are only warned of, which is the default.
func warns(fieldValidation string) bool {
	return fieldValidation == "" || fieldValidation == metav1.FieldValidationWarn
}

// decodeBody decodes a body as an object of the resource, in the hub version with defaults. A body without kind or apiVersion
// is taken for what the path says.
func (c *Call) decodeBody(ctx context.Context, media wire.Media, body []byte, fieldValidation string) (runtime.Object, error) {
	serializer, err := c.serializer(media, fieldValidation)
	if err != nil {
		return nil, err
	}
	face := c.face()
	gvk := face.GVK()
	if media == wire.Protobuf {
		if err := checkNesting(bytes.TrimPrefix(body, []byte("k8s\x00"))); err != nil {
			return nil, c.decodeError(err, &gvk, body)
		}
	}
	if err := checkQuantities(face, media, body); err != nil {
		return nil, c.decodeError(err, &gvk, body)
	}
	if obj := c.quickBody(media, body); obj != nil {
		return obj, nil
	}
	obj, got, err := c.decoder(media, fieldValidation, serializer).Decode(body, &gvk, face.New())
	if err != nil {
		// Errors are upstream's to word, and to find.
		obj, got, err = face.Codec.Serializer.DecoderToVersion(serializer, face.Codec.Hub).Decode(body, &gvk, face.New())
	}
	if err != nil {
		strictErr, ok := runtime.AsStrictDecodingError(err)
		if !ok || obj == nil || !warns(fieldValidation) {
			return nil, c.decodeError(err, got, body)
		}
		addStrictWarnings(ctx, strictErr.Errors())
	}
	if !c.accepts(got.GroupVersion()) {
		return nil, apierrors.NewBadRequest(fmt.Sprintf(
			"the API version in the data (%s) does not match the expected API version (%s)", got.GroupVersion(), gvk.GroupVersion()))
	}
	return obj, nil
}

// decoder returns what decodes a body into the hub version. For JSON it gives the same as upstream's does, sooner, where there is
// no error.
func (c *Call) decoder(media wire.Media, fieldValidation string, serializer runtime.Serializer) runtime.Decoder {
	codec := c.face().Codec
	if _, ok := serializer.(*jsonserializer.Serializer); !ok || media != wire.JSON {
		return codec.Serializer.DecoderToVersion(serializer, codec.Hub)
	}
	options := jsonserializer.SerializerOptions{Strict: strict(fieldValidation)}
	kept, ok := codec.Bodies.Load(options.Strict)
	if !ok {
		quick := jsonserializer.NewSerializerWithOptions(quickMeta{}, codec.Creater, codec.Typer, options)
		kept, _ = codec.Bodies.LoadOrStore(options.Strict, codec.Serializer.DecoderToVersion(quick, codec.Hub))
	}
	return kept.(runtime.Decoder)
}

// accepts reports whether a body may be in a version: the one of the path, or what an action takes besides, as an eviction does.
func (c *Call) accepts(gv schema.GroupVersion) bool {
	if acceptor, ok := c.storage().(rest.GroupVersionAcceptor); ok {
		return acceptor.AcceptsGroupVersion(gv)
	}
	return gv == c.face().Version
}

// decodeError words a body that cannot be read as upstream does (endpoints/handlers/rest.go, transformDecodeError).
func (c *Call) decodeError(err error, got *schema.GroupVersionKind, body []byte) error {
	if got != nil && got.Kind != "" {
		return apierrors.NewBadRequest(fmt.Sprintf(
			"%s in version %q cannot be handled as a %s: %v", got.Kind, got.Version, c.face().Name, err))
	}
	return apierrors.NewBadRequest(fmt.Sprintf(
		"the object provided is unrecognized (must be of type %s): %v (%s)", c.face().Name, err, summarize(body)))
}

func summarize(body []byte) string {
	const most = 30
	if len(body) == 0 {
		return "<empty>"
	}
	more := ""
	if len(body) > most {
		body, more = body[:most], " ..."
	}
	if body[0] == '{' {
		return string(body) + more
	}
	return hex.EncodeToString(body) + more
}

// The YAML decoder reports all its strict errors in one text, behind one of these.
const (
	yamlErrors      = "error unmarshaling JSON: while decoding JSON: "
	yamlErrorPrefix = `error converting YAML to JSON: yaml: unmarshal errors:` + "\n"
	yamlShort       = `yaml: unmarshal errors:` + "\n"
)

func addStrictWarnings(ctx context.Context, errs []error) {
	for _, err := range errs {
		text := err.Error()
		for _, prefix := range []string{yamlErrorPrefix, yamlShort} {
			text = strings.TrimPrefix(text, prefix)
		}
		for line := range strings.SplitSeq(strings.TrimPrefix(text, yamlErrors), "\n") {
			warning.AddWarning(ctx, "", strings.TrimSpace(line))
		}
	}
}

// checkName makes sure that the object is the one that the path names.
func (c *Call) checkName(obj runtime.Object) error {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf(
			"the name of the object (%s based on URL) was undeterminable: %v", c.Info.Name, err))
	}
	if accessor.GetName() == "" {
		return apierrors.NewBadRequest(fmt.Sprintf(
			"the name of the object (%s based on URL) was undeterminable: name must be provided", c.Info.Name))
	}
	if accessor.GetName() != c.Info.Name {
		return apierrors.NewBadRequest(fmt.Sprintf(
			"the name of the object (%s) does not match the name on the URL (%s)", accessor.GetName(), c.Info.Name))
	}
	namespace := c.objectNamespace()
	if own := accessor.GetNamespace(); namespace != "" && own != "" && own != namespace {
		return apierrors.NewBadRequest(fmt.Sprintf(
			"the namespace of the object (%s) does not match the namespace on the request (%s)", own, namespace))
	}
	return nil
}

// objectNamespace is the namespace that an object of the request must be in: none for a namespace itself.
func (c *Call) objectNamespace() string {
	if !c.Resource.Namespaced {
		return ""
	}
	return c.Info.Namespace
}

const (
	duplicateOwnersWarning = ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, " +
		"and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: %v"
	duplicateOwnersAfterWarning = ".metadata.ownerReferences contains duplicate entries after mutating admission happens; " +
		"API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; " +
		"please fix your requests; duplicate UID(s) observed: %v"
)

// dedupOwners drops owner references that are there twice, with a warning (endpoints/handlers/rest.go).
func dedupOwners(ctx context.Context, obj runtime.Object, format string) {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return
	}
	owners := accessor.GetOwnerReferences()
	if len(owners) < 2 {
		return
	}
	var kept []metav1.OwnerReference
	var duplicates []string
	seen := map[types.UID]bool{}
	for _, owner := range owners {
		if seen[owner.UID] && containsOwner(kept, owner) {
			duplicates = append(duplicates, string(owner.UID))
			continue
		}
		seen[owner.UID] = true
		kept = append(kept, owner)
	}
	if len(duplicates) > 0 {
		warning.AddWarning(ctx, "", fmt.Sprintf(format, strings.Join(duplicates, ", ")))
		accessor.SetOwnerReferences(kept)
	}
}

func containsOwner(owners []metav1.OwnerReference, owner metav1.OwnerReference) bool {
	for _, o := range owners {
		if apiequality.Semantic.DeepEqual(o, owner) {
			return true
		}
	}
	return false
}
