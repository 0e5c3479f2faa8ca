package builtin

import (
	resourcev1beta2 "k8s.io/api/resource/v1beta2"
	"k8s.io/kubernetes/pkg/apis/resource"
	"k8s.io/kubernetes/pkg/registry/resource/deviceclass"
	"k8s.io/kubernetes/pkg/registry/resource/devicetaintrule"
	"k8s.io/kubernetes/pkg/registry/resource/resourceclaim"
	"k8s.io/kubernetes/pkg/registry/resource/resourceclaimtemplate"
	"k8s.io/kubernetes/pkg/registry/resource/resourcepoolstatusrequest"
	"k8s.io/kubernetes/pkg/registry/resource/resourceslice"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) resource() []*kind.Kind {
	versions := []string{"v1", "v1beta2", "v1beta1"}
	namespaces := namespaces{Options: b.Options}
	claim := resourceclaim.NewStrategy(namespaces, b.mustAuthorize())
	claimTemplate := resourceclaimtemplate.NewStrategy(namespaces)
	return inGroup(resource.GroupName, &kind.Kind{
		Resource: "deviceclasses", Name: "DeviceClass", Versions: versions,
		New: object[resource.DeviceClass], NewList: object[resource.DeviceClassList],
		Create: deviceclass.Strategy, Update: deviceclass.Strategy,
		ReturnDeleted: true,
	}, &kind.Kind{
		Resource: "devicetaintrules", Name: "DeviceTaintRule",
		Storage: resourcev1beta2.SchemeGroupVersion, Versions: []string{"v1", "v1beta2", "v1alpha3"},
		New: object[resource.DeviceTaintRule], NewList: object[resource.DeviceTaintRuleList],
		Create: devicetaintrule.Strategy, Update: devicetaintrule.Strategy,
		// Upstream answers a delete with the object in the versions before v1, and with a Status in v1.
		ReturnDeleted: false,
		Subresources:  subresources(status(devicetaintrule.StatusStrategy)),
	}, &kind.Kind{
		Resource: "resourceclaims", Name: "ResourceClaim", Namespaced: true, Versions: versions,
		New: object[resource.ResourceClaim], NewList: object[resource.ResourceClaimList],
		Create: claim, Update: claim,
		Attributes:    resourceclaim.GetAttrs,
		ReturnDeleted: true,
		Subresources:  subresources(status(resourceclaim.NewStatusStrategy(claim))),
	}, &kind.Kind{
		Resource: "resourceclaimtemplates", Name: "ResourceClaimTemplate", Namespaced: true, Versions: versions,
		New: object[resource.ResourceClaimTemplate], NewList: object[resource.ResourceClaimTemplateList],
		Create: claimTemplate, Update: claimTemplate,
		Attributes:    resourceclaimtemplate.GetAttrs,
		ReturnDeleted: true,
	}, &kind.Kind{
		Resource: "resourcepoolstatusrequests", Name: "ResourcePoolStatusRequest", Versions: []string{"v1alpha3"},
		New: object[resource.ResourcePoolStatusRequest], NewList: object[resource.ResourcePoolStatusRequestList],
		Create: resourcepoolstatusrequest.Strategy, Update: resourcepoolstatusrequest.Strategy,
		ReturnDeleted: true,
		Subresources:  subresources(status(resourcepoolstatusrequest.StatusStrategy)),
	}, &kind.Kind{
		Resource: "resourceslices", Name: "ResourceSlice", Versions: versions,
		New: object[resource.ResourceSlice], NewList: object[resource.ResourceSliceList],
		Create: resourceslice.Strategy, Update: resourceslice.Strategy,
		Attributes:    resourceslice.GetAttrs,
		Fields:        []kind.Field{{Name: "spec.nodeName"}, {Name: "spec.driver"}, {Name: "spec.pool.name"}},
		Index:         []string{"spec.nodeName"},
		ReturnDeleted: true,
	})
}
