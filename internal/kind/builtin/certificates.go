package builtin

import (
	"slices"

	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/generic"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/kubernetes/pkg/apis/certificates"
	"k8s.io/kubernetes/pkg/features"
	csr "k8s.io/kubernetes/pkg/registry/certificates/certificates"
	"k8s.io/kubernetes/pkg/registry/certificates/clustertrustbundle"
	"k8s.io/kubernetes/pkg/registry/certificates/podcertificaterequest"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) certificates() []*kind.Kind {
	return inGroup(certificates.GroupName, slices.Concat([]*kind.Kind{{
		Resource: "certificatesigningrequests", Name: "CertificateSigningRequest", ShortNames: []string{"csr"},
		New: object[certificates.CertificateSigningRequest], NewList: object[certificates.CertificateSigningRequestList],
		Create: csr.Strategy, Update: csr.Strategy,
		Attributes: csr.GetAttrs,
		Fields:     []kind.Field{{Name: "spec.signerName"}},
		Subresources: subresources(status(csr.StatusStrategy),
			&kind.Subresource{Name: "approval", Update: csr.ApprovalStrategy}),
	}},
		gated(utilfeature.DefaultFeatureGate.Enabled(features.ClusterTrustBundle), clusterTrustBundles()),
		gated(utilfeature.DefaultFeatureGate.Enabled(features.PodCertificateRequest), b.podCertificateRequests()),
	)...)
}

func clusterTrustBundles() *kind.Kind {
	return &kind.Kind{
		Resource: "clustertrustbundles", Name: "ClusterTrustBundle",
		Storage: certificatesv1beta1.SchemeGroupVersion, Versions: []string{"v1", "v1beta1"},
		New: object[certificates.ClusterTrustBundle], NewList: object[certificates.ClusterTrustBundleList],
		Create: clustertrustbundle.Strategy, Update: clustertrustbundle.Strategy,
		Attributes: clusterTrustBundleAttributes,
		Fields:     []kind.Field{{Name: "spec.signerName"}},
	}
}

func (b *builder) podCertificateRequests() *kind.Kind {
	strategy := podcertificaterequest.NewStrategy()
	return &kind.Kind{
		Resource: "podcertificaterequests", Name: "PodCertificateRequest", Namespaced: true,
		Storage: certificatesv1beta1.SchemeGroupVersion, Versions: []string{"v1", "v1beta1"},
		New: object[certificates.PodCertificateRequest], NewList: object[certificates.PodCertificateRequestList],
		Create: strategy, Update: strategy,
		Attributes:   podCertificateRequestAttributes,
		Fields:       []kind.Field{{Name: "spec.signerName"}, {Name: "spec.podName"}, {Name: "spec.nodeName"}},
		Subresources: subresources(status(podcertificaterequest.NewStatusStrategy(strategy, b.mustAuthorize(), b.Clock))),
	}
}

// Upstream has the following two in its storage packages, where they cannot be had.

func clusterTrustBundleAttributes(obj runtime.Object) (labels.Set, fields.Set, error) {
	bundle := obj.(*certificates.ClusterTrustBundle)
	selectable := generic.AddObjectMetaFieldsSet(fields.Set{"spec.signerName": bundle.Spec.SignerName}, &bundle.ObjectMeta, false)
	return bundle.Labels, selectable, nil
}

func podCertificateRequestAttributes(obj runtime.Object) (labels.Set, fields.Set, error) {
	request := obj.(*certificates.PodCertificateRequest)
	selectable := generic.AddObjectMetaFieldsSet(fields.Set{
		"spec.signerName": request.Spec.SignerName,
		"spec.podName":    request.Spec.PodName,
		"spec.nodeName":   string(request.Spec.NodeName),
	}, &request.ObjectMeta, true)
	return request.Labels, selectable, nil
}
