// Package builtin is the table of Kubernetes' own kinds.
//
// What a Pod is comes from Kubernetes' modules: Go types and protobuf from k8s.io/api, defaults and conversion from
// k8s.io/kubernetes/pkg/apis, validation through the strategies in k8s.io/kubernetes/pkg/registry, columns from its printers.
// This package only connects them: a kind is one entry. What upstream sets up in its storage packages (NewREST) and nowhere
// else, such as short names, is repeated in the entry.
package builtin

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/capabilities"
	"k8s.io/kubernetes/pkg/printers"
	printersinternal "k8s.io/kubernetes/pkg/printers/internalversion"
	printerstorage "k8s.io/kubernetes/pkg/printers/storage"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// Kinds returns the built-in kinds, in the order in which discovery lists their groups. Each call makes new values, so servers
// in one process share nothing that is theirs.
func Kinds() ([]*kind.Kind, error) {
	// Upstream keeps this in a process-wide variable; the first caller decides, and kayak has only one opinion.
	capabilities.Setup(true, 0)
	columns := printerstorage.TableConvertor{TableGenerator: printers.NewTableGenerator().With(printersinternal.AddHandlers)}
	kinds := append(coreKinds(), appsKinds()...)
	for _, k := range kinds {
		codec, err := codecFor(k.Storage)
		if err != nil {
			return nil, err
		}
		k.Codec = codec
		k.Columns = columns
	}
	return kinds, nil
}

func codecFor(storage schema.GroupVersion) (*kind.Codec, error) {
	codecs := legacyscheme.Codecs
	protobuf, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok {
		return nil, fmt.Errorf("the scheme has no serializer for %s", runtime.ContentTypeProtobuf)
	}
	hub := schema.GroupVersion{Group: storage.Group, Version: runtime.APIVersionInternal}
	return &kind.Codec{
		Typer:      legacyscheme.Scheme,
		Creater:    legacyscheme.Scheme,
		Defaulter:  legacyscheme.Scheme,
		Convertor:  legacyscheme.Scheme,
		Serializer: codecs,
		Parameters: legacyscheme.ParameterCodec,
		Hub:        hub,
		Stored:     codecs.EncoderForVersion(protobuf.Serializer, storage),
		Load:       codecs.DecoderToVersion(codecs.UniversalDeserializer(), hub),
	}, nil
}

// subresources indexes subresources by name.
func subresources(list ...*kind.Subresource) map[string]*kind.Subresource {
	m := map[string]*kind.Subresource{}
	for _, s := range list {
		m[s.Name] = s
	}
	return m
}

func status(strategy rest.RESTUpdateStrategy) *kind.Subresource {
	return &kind.Subresource{Name: "status", Update: strategy}
}
