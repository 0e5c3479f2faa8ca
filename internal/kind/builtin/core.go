package builtin

import (
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	pvcutil "k8s.io/kubernetes/pkg/api/persistentvolumeclaim"
	"k8s.io/kubernetes/pkg/apis/authentication"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/event"
	"k8s.io/kubernetes/pkg/registry/core/limitrange"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/node"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolume"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim"
	"k8s.io/kubernetes/pkg/registry/core/resourcequota"
	"k8s.io/kubernetes/pkg/registry/core/secret"
	"k8s.io/kubernetes/pkg/registry/core/serviceaccount"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// core is the group without a name: the kinds of /api/v1.
func (b *builder) core() []*kind.Kind {
	kinds := slices.Concat(b.coreCluster(), b.coreConfiguration(), b.coreVolumes(), b.coreWorkloads(), b.coreServices())
	return inGroup(api.GroupName, kinds...)
}

// proxyVerbs are those of the proxy subresources: each stands for an HTTP method.
func proxyVerbs() []string { return []string{"create", "delete", "get", "patch", "update"} }

func (b *builder) coreCluster() []*kind.Kind {
	return []*kind.Kind{{
		Resource: "namespaces", Name: "Namespace", ShortNames: []string{"ns"},
		New: object[api.Namespace], NewList: object[api.NamespaceList],
		Create: namespace.Strategy, Update: namespace.Strategy,
		Attributes:        namespace.GetAttrs,
		NameLabel:         "kubernetes.io/metadata.name",
		Fields:            []kind.Field{{Name: "status.phase", Zero: "Active"}, {Name: "name", Paths: []string{"metadata.name"}}},
		ReturnDeleted:     true,
		KeepWhileUpdating: namespaceNotFinalized,
		NoUnsafeDelete:    true,
		Terminate:         terminateNamespace,
		Terminated:        namespaceFinalized,
		Verbs:             []string{"create", "delete", "get", "list", "patch", "update", "watch"},
		Subresources: subresources(status(namespace.StatusStrategy),
			&kind.Subresource{Name: "finalize", Update: namespace.FinalizeStrategy, Verbs: []string{"update"}}),
	}, {
		Resource: "nodes", Name: "Node", ShortNames: []string{"no"}, Prefix: "minions",
		New: object[api.Node], NewList: object[api.NodeList],
		Create: node.Strategy, Update: node.Strategy,
		Attributes: node.GetAttrs,
		Fields:     []kind.Field{{Name: "spec.unschedulable", Zero: "false"}},
		Subresources: subresources(status(node.StatusStrategy),
			b.action("nodes", "proxy", b.coreFace("NodeProxyOptions", object[api.NodeProxyOptions]), proxyVerbs()...)),
	}, {
		Resource: "events", Name: "Event", ShortNames: []string{"ev"}, Namespaced: true,
		New: object[api.Event], NewList: object[api.EventList],
		Create: event.Strategy, Update: event.Strategy,
		Attributes: event.GetAttrs,
		Fields:     eventFields(),
		EventTTL:   true,
	}, {
		Resource: "componentstatuses", Name: "ComponentStatus", ShortNames: []string{"cs"},
		New: object[api.ComponentStatus], NewList: object[api.ComponentStatusList],
		Virtual: b.virtual(api.GroupName, "componentstatuses", object[api.ComponentStatus]),
		Verbs:   []string{"get", "list"},
	}}
}

func eventFields() []kind.Field {
	return []kind.Field{
		{Name: "involvedObject.kind"}, {Name: "involvedObject.namespace"}, {Name: "involvedObject.name"},
		{Name: "involvedObject.uid"}, {Name: "involvedObject.apiVersion"}, {Name: "involvedObject.resourceVersion"},
		{Name: "involvedObject.fieldPath"}, {Name: "reason"}, {Name: "type"},
		{Name: "reportingComponent"}, {Name: "source", Paths: []string{"source.component", "reportingComponent"}},
	}
}

func (b *builder) coreConfiguration() []*kind.Kind {
	tokenRequest := b.face(authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"), object[authentication.TokenRequest])
	return []*kind.Kind{{
		Resource: "configmaps", Name: "ConfigMap", ShortNames: []string{"cm"}, Namespaced: true,
		New: object[api.ConfigMap], NewList: object[api.ConfigMapList],
		Create: configmap.Strategy, Update: configmap.Strategy,
		Attributes: configmap.GetAttrs,
	}, {
		Resource: "secrets", Name: "Secret", Namespaced: true,
		New: object[api.Secret], NewList: object[api.SecretList],
		Create: secret.Strategy, Update: secret.Strategy,
		Attributes: secret.GetAttrs,
		Fields:     []kind.Field{{Name: "type", Zero: "Opaque"}},
	}, {
		Resource: "serviceaccounts", Name: "ServiceAccount", ShortNames: []string{"sa"}, Namespaced: true,
		New: object[api.ServiceAccount], NewList: object[api.ServiceAccountList],
		Create: serviceaccount.Strategy, Update: serviceaccount.Strategy,
		ReturnDeleted: true,
		Subresources:  subresources(b.action("serviceaccounts", "token", tokenRequest, "create")),
	}, {
		Resource: "limitranges", Name: "LimitRange", ShortNames: []string{"limits"}, Namespaced: true,
		New: object[api.LimitRange], NewList: object[api.LimitRangeList],
		Create: limitrange.Strategy, Update: limitrange.Strategy,
		Columns: rest.NewDefaultTableConvertor(api.Resource("limitranges")),
	}, {
		Resource: "resourcequotas", Name: "ResourceQuota", ShortNames: []string{"quota"}, Namespaced: true,
		New: object[api.ResourceQuota], NewList: object[api.ResourceQuotaList],
		Create: resourcequota.Strategy, Update: resourcequota.Strategy,
		ReturnDeleted: true,
		Subresources:  subresources(status(resourcequota.StatusStrategy)),
	}}
}

func (b *builder) coreVolumes() []*kind.Kind {
	name := []kind.Field{{Name: "name", Paths: []string{"metadata.name"}}} // a bug of upstream's that clients depend on
	return []*kind.Kind{{
		Resource: "persistentvolumes", Name: "PersistentVolume", ShortNames: []string{"pv"},
		New: object[api.PersistentVolume], NewList: object[api.PersistentVolumeList],
		Create: persistentvolume.Strategy, Update: persistentvolume.Strategy,
		Attributes:    persistentvolume.GetAttrs,
		Fields:        name,
		ReturnDeleted: true,
		Subresources:  subresources(status(persistentvolume.StatusStrategy)),
	}, {
		Resource: "persistentvolumeclaims", Name: "PersistentVolumeClaim", ShortNames: []string{"pvc"}, Namespaced: true,
		New: object[api.PersistentVolumeClaim], NewList: object[api.PersistentVolumeClaimList],
		Create: persistentvolumeclaim.Strategy, Update: persistentvolumeclaim.Strategy,
		Attributes:    persistentvolumeclaim.GetAttrs,
		Fields:        name,
		OnRead:        fillDataSources,
		ReturnDeleted: true,
		Subresources:  subresources(status(persistentvolumeclaim.StatusStrategy)),
	}}
}

// fillDataSources sets dataSourceRef of claims that were stored before it was set at creation
// (registry/core/persistentvolumeclaim/storage/storage.go, defaultOnRead).
func fillDataSources(obj runtime.Object) {
	pvcutil.NormalizeDataSources(&obj.(*api.PersistentVolumeClaim).Spec)
}

func (b *builder) coreFace(name string, newObject func() runtime.Object) *kind.Resource {
	return b.face(corev1.SchemeGroupVersion.WithKind(name), newObject)
}
