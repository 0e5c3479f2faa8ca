package builtin

import (
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/apis/storage"
	"k8s.io/kubernetes/pkg/registry/storage/csidriver"
	"k8s.io/kubernetes/pkg/registry/storage/csinode"
	"k8s.io/kubernetes/pkg/registry/storage/csistoragecapacity"
	"k8s.io/kubernetes/pkg/registry/storage/storageclass"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattachment"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattributesclass"

	"github.com/kayak-k8s/kayak/internal/kind"
)

func (b *builder) storage() []*kind.Kind {
	return inGroup(storage.GroupName, &kind.Kind{
		Resource: "csidrivers", Name: "CSIDriver",
		New: object[storage.CSIDriver], NewList: object[storage.CSIDriverList],
		Create: csidriver.Strategy, Update: csidriver.Strategy,
		ReturnDeleted: true,
	}, &kind.Kind{
		Resource: "csinodes", Name: "CSINode",
		New: object[storage.CSINode], NewList: object[storage.CSINodeList],
		Create: csinode.Strategy, Update: csinode.Strategy,
		ReturnDeleted: true,
		Subresources:  subresources(status(csinode.StatusStrategy)),
	}, &kind.Kind{
		Resource: "csistoragecapacities", Name: "CSIStorageCapacity", Namespaced: true,
		New: object[storage.CSIStorageCapacity], NewList: object[storage.CSIStorageCapacityList],
		Create: csistoragecapacity.Strategy, Update: csistoragecapacity.Strategy,
		Columns: rest.NewDefaultTableConvertor(storage.Resource("csistoragecapacities")),
	}, &kind.Kind{
		Resource: "storageclasses", Name: "StorageClass", ShortNames: []string{"sc"},
		New: object[storage.StorageClass], NewList: object[storage.StorageClassList],
		Create: storageclass.Strategy, Update: storageclass.Strategy,
		ReturnDeleted: true,
	}, &kind.Kind{
		Resource: "volumeattachments", Name: "VolumeAttachment",
		New: object[storage.VolumeAttachment], NewList: object[storage.VolumeAttachmentList],
		Create: volumeattachment.Strategy, Update: volumeattachment.Strategy,
		ReturnDeleted: true,
		Subresources:  subresources(status(volumeattachment.StatusStrategy)),
	}, &kind.Kind{
		Resource: "volumeattributesclasses", Name: "VolumeAttributesClass", ShortNames: []string{"vac"},
		New: object[storage.VolumeAttributesClass], NewList: object[storage.VolumeAttributesClassList],
		Create: volumeattributesclass.Strategy, Update: volumeattributesclass.Strategy,
		ReturnDeleted: true,
	})
}
