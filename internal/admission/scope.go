package admission

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/kubernetes/plugin/pkg/admission/alwayspullimages"
	"k8s.io/kubernetes/plugin/pkg/admission/antiaffinity"
	certapproval "k8s.io/kubernetes/plugin/pkg/admission/certificates/approval"
	"k8s.io/kubernetes/plugin/pkg/admission/certificates/ctbattest"
	certsigning "k8s.io/kubernetes/plugin/pkg/admission/certificates/signing"
	certsubjectrestriction "k8s.io/kubernetes/plugin/pkg/admission/certificates/subjectrestriction"
	"k8s.io/kubernetes/plugin/pkg/admission/defaulttolerationseconds"
	"k8s.io/kubernetes/plugin/pkg/admission/eventratelimit"
	"k8s.io/kubernetes/plugin/pkg/admission/extendedresourcetoleration"
	"k8s.io/kubernetes/plugin/pkg/admission/imagepolicy"
	"k8s.io/kubernetes/plugin/pkg/admission/limitranger"
	"k8s.io/kubernetes/plugin/pkg/admission/network/defaultingressclass"
	"k8s.io/kubernetes/plugin/pkg/admission/network/denyserviceexternalips"
	"k8s.io/kubernetes/plugin/pkg/admission/nodedeclaredfeatures"
	"k8s.io/kubernetes/plugin/pkg/admission/nodetaint"
	"k8s.io/kubernetes/plugin/pkg/admission/podnodeselector"
	"k8s.io/kubernetes/plugin/pkg/admission/podresize"
	"k8s.io/kubernetes/plugin/pkg/admission/podtolerationrestriction"
	"k8s.io/kubernetes/plugin/pkg/admission/podtopologylabels"
	podpriority "k8s.io/kubernetes/plugin/pkg/admission/priority"
	"k8s.io/kubernetes/plugin/pkg/admission/runtimeclass"
	"k8s.io/kubernetes/plugin/pkg/admission/scheduling/podgroupprotection"
	"k8s.io/kubernetes/plugin/pkg/admission/serviceaccount"
	"k8s.io/kubernetes/plugin/pkg/admission/storage/persistentvolume/resize"
	"k8s.io/kubernetes/plugin/pkg/admission/storage/storageclass/setdefault"
	"k8s.io/kubernetes/plugin/pkg/admission/storage/storageobjectinuseprotection"
)

// scope has the resources that a plugin looks at; nil for all. Each of these plugins begins by returning when it is asked about
// another resource, so not asking it changes nothing (a test asks them).
type scope []schema.GroupResource

func (s scope) has(a admission.Attributes) bool {
	if s == nil {
		return true
	}
	r := a.GetResource()
	for i := range s {
		if s[i].Resource == r.Resource && s[i].Group == r.Group {
			return true
		}
	}
	return false
}

func core(resources ...string) scope { return inGroup("", resources...) }

func inGroup(group string, resources ...string) scope {
	var s scope
	for _, resource := range resources {
		s = append(s, schema.GroupResource{Group: group, Resource: resource})
	}
	return s
}

func scopeOf(plugin string) scope {
	switch plugin {
	case antiaffinity.PluginName, serviceaccount.PluginName, alwayspullimages.PluginName, imagepolicy.PluginName,
		podnodeselector.PluginName, defaulttolerationseconds.PluginName, podtolerationrestriction.PluginName,
		extendedresourcetoleration.PluginName, runtimeclass.PluginName, podtopologylabels.PluginName, podresize.PluginName:
		return core("pods")
	case limitranger.PluginName:
		return core("pods", "persistentvolumeclaims")
	case nodetaint.PluginName:
		return core("nodes")
	case podpriority.PluginName:
		return slices.Concat(core("pods"), inGroup("scheduling.k8s.io", "priorityclasses", "podgroups", "compositepodgroups"))
	case eventratelimit.PluginName:
		return slices.Concat(core("events"), inGroup("events.k8s.io", "events"))
	case setdefault.PluginName, resize.PluginName:
		return core("persistentvolumeclaims")
	case storageobjectinuseprotection.PluginName:
		return slices.Concat(core("persistentvolumes", "persistentvolumeclaims"), inGroup("storage.k8s.io", "volumeattributesclasses"))
	case podgroupprotection.PluginName:
		return inGroup("scheduling.k8s.io", "podgroups")
	case certapproval.PluginName, certsigning.PluginName, certsubjectrestriction.PluginName:
		return inGroup("certificates.k8s.io", "certificatesigningrequests")
	case ctbattest.PluginName:
		return inGroup("certificates.k8s.io", "clustertrustbundles")
	case defaultingressclass.PluginName:
		return inGroup("networking.k8s.io", "ingresses")
	case denyserviceexternalips.PluginName:
		return core("services")
	case nodedeclaredfeatures.PluginName:
		return slices.Concat(core("pods"), inGroup("resource.k8s.io", "resourceslices"))
	}
	return nil
}
