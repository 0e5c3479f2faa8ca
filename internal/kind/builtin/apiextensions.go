package builtin

import (
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	crd "k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition/tableconvertor"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// apiextensions has a scheme of its own in upstream, and its objects are stored as JSON, in v1beta1: some definitions would be
// too big in v1 (kubernetes/cmd/kube-apiserver/app/apiextensions.go, k8s.io/issue/82292).
func (b *builder) apiextensions() []*kind.Kind {
	scheme := apiextensionsScheme()
	codecs := serializer.NewCodecFactory(scheme)
	strategy := crd.NewStrategy(scheme)
	stored := apiextensionsv1beta1.SchemeGroupVersion
	return inGroup(apiextensions.GroupName, &kind.Kind{
		Resource: "customresourcedefinitions", Name: "CustomResourceDefinition", ShortNames: []string{"crd", "crds"},
		Categories: []string{"api-extensions"},
		Prefix:     "apiextensions.k8s.io/customresourcedefinitions",
		Storage:    stored,
		Codec:      newCodec(scheme, codecs, runtime.ContentTypeJSON, stored, stored.Group),
		New:        object[apiextensions.CustomResourceDefinition], NewList: object[apiextensions.CustomResourceDefinitionList],
		Create: strategy, Update: strategy,
		JSON:         true,
		Attributes:   crd.GetAttrs,
		Columns:      tableconvertor.New(),
		Terminate:    terminateDefinition,
		Terminated:   func(runtime.Object) bool { return true }, // from then on its finalizers decide
		Subresources: subresources(status(crd.NewStatusStrategy(scheme))),
	})
}

// apiextensionsScheme is made once: nobody changes it any more.
var apiextensionsScheme = sync.OnceValue(func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return withMeta(scheme)
})

// withMeta adds to a scheme what every API server's has: options and Status.
func withMeta(scheme *runtime.Scheme) *runtime.Scheme {
	unversioned := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(scheme, unversioned)
	scheme.AddUnversionedTypes(unversioned,
		&metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	return scheme
}

// terminateDefinition marks a definition whose objects are to be deleted before it goes itself
// (apiextensions-apiserver/pkg/registry/customresourcedefinition/etcd.go, Delete).
func terminateDefinition(existing runtime.Object, _ *metav1.DeleteOptions) {
	definition := existing.(*apiextensions.CustomResourceDefinition)
	if !definition.DeletionTimestamp.IsZero() {
		return
	}
	now := metav1.Now()
	definition.DeletionTimestamp = &now
	if !apiextensions.CRDHasFinalizer(definition, apiextensions.CustomResourceCleanupFinalizer) {
		definition.Finalizers = append(definition.Finalizers, apiextensions.CustomResourceCleanupFinalizer)
	}
	apiextensions.SetCRDCondition(definition, apiextensions.CustomResourceDefinitionCondition{
		Type:    apiextensions.Terminating,
		Status:  apiextensions.ConditionTrue,
		Reason:  "InstanceDeletionPending",
		Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
	})
}
