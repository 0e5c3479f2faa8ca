package builtin

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	// Every group that kube-apiserver registers (kubernetes/pkg/controlplane/import_known_versions.go), also those that are
	// no longer served: objects that an older Kubernetes has stored are still decoded.
	_ "k8s.io/kubernetes/pkg/apis/admission/install"
	_ "k8s.io/kubernetes/pkg/apis/admissionregistration/install"
	_ "k8s.io/kubernetes/pkg/apis/apiserverinternal/install"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/authentication/install"
	_ "k8s.io/kubernetes/pkg/apis/authorization/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/certificates/install"
	_ "k8s.io/kubernetes/pkg/apis/coordination/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/discovery/install"
	_ "k8s.io/kubernetes/pkg/apis/events/install"
	_ "k8s.io/kubernetes/pkg/apis/extensions/install"
	_ "k8s.io/kubernetes/pkg/apis/flowcontrol/install"
	_ "k8s.io/kubernetes/pkg/apis/imagepolicy/install"
	_ "k8s.io/kubernetes/pkg/apis/lifecycle/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/node/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	_ "k8s.io/kubernetes/pkg/apis/rbac/install"
	_ "k8s.io/kubernetes/pkg/apis/resource/install"
	_ "k8s.io/kubernetes/pkg/apis/scheduling/install"
	_ "k8s.io/kubernetes/pkg/apis/storage/install"
	_ "k8s.io/kubernetes/pkg/apis/storagemigration/install"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// Schemes returns the schemes that know every group and version that exists, served or not. They must not be changed.
func Schemes() []*runtime.Scheme {
	return []*runtime.Scheme{legacyscheme.Scheme, apiextensionsScheme(), apiregistrationScheme()}
}

// codecKey is what codecs of upstream's one scheme differ in.
type codecKey struct {
	storage schema.GroupVersion
	group   string
}

// codec returns the kind's codec, which it shares with the other kinds that are stored in the same version.
func (b *builder) codec(k *kind.Kind) *kind.Codec {
	storage := k.Storage
	if !k.Stored() {
		storage = schema.GroupVersion{Group: k.Group, Version: k.Versions[0]}
	}
	return b.codecFor(storage, k.Group)
}

func (b *builder) codecFor(storage schema.GroupVersion, group string) *kind.Codec {
	key := codecKey{storage, group}
	if b.codecs[key] == nil {
		b.codecs[key] = newCodec(legacyscheme.Scheme, legacyscheme.Codecs, runtime.ContentTypeProtobuf, storage, group)
	}
	return b.codecs[key]
}

// newCodec makes a codec for objects of a group that are stored as mediaType in a version. The internal type is in the group
// of the stored form, which is another one for events.k8s.io: its Events are core Events. As in upstream
// (apiserver/pkg/server/storage/storage_codec.go), both groups lead there.
func newCodec(scheme *runtime.Scheme, codecs serializer.CodecFactory, mediaType string, storage schema.GroupVersion,
	group string) *kind.Codec {
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), mediaType) // every codec factory has it
	hub := toGroups(schema.GroupVersion{Group: storage.Group, Version: runtime.APIVersionInternal}, group)
	codec := &kind.Codec{
		Typer:      scheme,
		Creater:    scheme,
		Defaulter:  scheme,
		Convertor:  scheme,
		Serializer: codecs,
		Parameters: runtime.NewParameterCodec(scheme),
		Hub:        hub,
		Stored:     codecs.EncoderForVersion(info.Serializer, toGroups(storage, group)),
		Load:       codecs.DecoderToVersion(codecs.UniversalDeserializer(), hub),
	}
	if mediaType == runtime.ContentTypeProtobuf {
		codec.Written = written(codec, toGroups(storage, group))
	}
	return codec
}

// toGroups leads to a version from its own group and another one.
func toGroups(version schema.GroupVersion, group string) runtime.GroupVersioner {
	if group == version.Group {
		return version
	}
	return runtime.NewMultiGroupVersioner(version, schema.GroupKind{Group: version.Group}, schema.GroupKind{Group: group})
}
