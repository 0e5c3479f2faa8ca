package admission

import (
	"slices"

	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	"k8s.io/kubernetes/plugin/pkg/admission/admit"
	"k8s.io/kubernetes/plugin/pkg/admission/alwayspullimages"
	"k8s.io/kubernetes/plugin/pkg/admission/antiaffinity"
	certapproval "k8s.io/kubernetes/plugin/pkg/admission/certificates/approval"
	"k8s.io/kubernetes/plugin/pkg/admission/certificates/ctbattest"
	certsigning "k8s.io/kubernetes/plugin/pkg/admission/certificates/signing"
	certsubjectrestriction "k8s.io/kubernetes/plugin/pkg/admission/certificates/subjectrestriction"
	"k8s.io/kubernetes/plugin/pkg/admission/defaulttolerationseconds"
	"k8s.io/kubernetes/plugin/pkg/admission/deny"
	"k8s.io/kubernetes/plugin/pkg/admission/eventratelimit"
	"k8s.io/kubernetes/plugin/pkg/admission/extendedresourcetoleration"
	"k8s.io/kubernetes/plugin/pkg/admission/gc"
	"k8s.io/kubernetes/plugin/pkg/admission/imagepolicy"
	"k8s.io/kubernetes/plugin/pkg/admission/limitranger"
	"k8s.io/kubernetes/plugin/pkg/admission/namespace/autoprovision"
	"k8s.io/kubernetes/plugin/pkg/admission/namespace/exists"
	"k8s.io/kubernetes/plugin/pkg/admission/network/defaultingressclass"
	"k8s.io/kubernetes/plugin/pkg/admission/network/denyserviceexternalips"
	"k8s.io/kubernetes/plugin/pkg/admission/nodedeclaredfeatures"
	"k8s.io/kubernetes/plugin/pkg/admission/noderestriction"
	"k8s.io/kubernetes/plugin/pkg/admission/nodetaint"
	"k8s.io/kubernetes/plugin/pkg/admission/podnodeselector"
	"k8s.io/kubernetes/plugin/pkg/admission/podresize"
	"k8s.io/kubernetes/plugin/pkg/admission/podtolerationrestriction"
	"k8s.io/kubernetes/plugin/pkg/admission/podtopologylabels"
	podpriority "k8s.io/kubernetes/plugin/pkg/admission/priority"
	"k8s.io/kubernetes/plugin/pkg/admission/runtimeclass"
	"k8s.io/kubernetes/plugin/pkg/admission/scheduling/podgroupprotection"
	"k8s.io/kubernetes/plugin/pkg/admission/security/podsecurity"
	"k8s.io/kubernetes/plugin/pkg/admission/serviceaccount"
	"k8s.io/kubernetes/plugin/pkg/admission/storage/persistentvolume/resize"
	"k8s.io/kubernetes/plugin/pkg/admission/storage/storageclass/setdefault"
	"k8s.io/kubernetes/plugin/pkg/admission/storage/storageobjectinuseprotection"
)

// known is a plugin there is.
type known struct {
	name string
	// on says that it is enabled unless switched off.
	on bool
	// register puts upstream's constructor into a registry; nil for what kayak makes itself.
	register func(*admission.Plugins)
	scope    scope
}

// all returns every plugin, in the order in which they are called (kubernetes/pkg/kubeapiserver/options/plugins.go; a test
// compares).
func all() []known {
	everything, pods := scope(nil), core("pods")
	requests := inGroup("certificates.k8s.io", "certificatesigningrequests")
	return []known{
		{admit.PluginName, false, admit.Register, everything},
		{autoprovision.PluginName, false, autoprovision.Register, everything},
		{lifecycle.PluginName, true, nil, everything},
		{exists.PluginName, false, exists.Register, everything},
		{antiaffinity.PluginName, false, antiaffinity.Register, pods},
		{limitranger.PluginName, true, limitranger.Register, core("pods", "persistentvolumeclaims")},
		{serviceaccount.PluginName, true, serviceaccount.Register, pods},
		{noderestriction.PluginName, false, noderestriction.Register, everything},
		{nodetaint.PluginName, true, nodetaint.Register, core("nodes")},
		{alwayspullimages.PluginName, false, alwayspullimages.Register, pods},
		{imagepolicy.PluginName, false, imagepolicy.Register, pods},
		{podsecurity.PluginName, true, podsecurity.Register, everything},
		{podnodeselector.PluginName, false, podnodeselector.Register, pods},
		{podpriority.PluginName, true, podpriority.Register, pods.and("scheduling.k8s.io", "priorityclasses", "podgroups", "compositepodgroups")},
		{defaulttolerationseconds.PluginName, true, defaulttolerationseconds.Register, pods},
		{podtolerationrestriction.PluginName, false, podtolerationrestriction.Register, pods},
		{eventratelimit.PluginName, false, eventratelimit.Register, core("events").and("events.k8s.io", "events")},
		{extendedresourcetoleration.PluginName, false, extendedresourcetoleration.Register, pods},
		{setdefault.PluginName, true, setdefault.Register, core("persistentvolumeclaims")},
		{storageobjectinuseprotection.PluginName, true, storageobjectinuseprotection.Register, core("persistentvolumes", "persistentvolumeclaims").and("storage.k8s.io", "volumeattributesclasses")},
		{podgroupprotection.PluginName, true, podgroupprotection.Register, inGroup("scheduling.k8s.io", "podgroups")},
		{gc.PluginName, false, gc.Register, everything},
		{resize.PluginName, true, resize.Register, core("persistentvolumeclaims")},
		{runtimeclass.PluginName, true, runtimeclass.Register, pods},
		{certapproval.PluginName, true, certapproval.Register, requests},
		{certsigning.PluginName, true, certsigning.Register, requests},
		{ctbattest.PluginName, true, ctbattest.Register, inGroup("certificates.k8s.io", "clustertrustbundles")},
		{certsubjectrestriction.PluginName, true, certsubjectrestriction.Register, requests},
		{defaultingressclass.PluginName, true, defaultingressclass.Register, inGroup("networking.k8s.io", "ingresses")},
		{denyserviceexternalips.PluginName, false, denyserviceexternalips.Register, core("services")},
		{podtopologylabels.PluginName, true, podtopologylabels.Register, pods},
		{nodedeclaredfeatures.PluginName, true, nodedeclaredfeatures.Register, pods.and("resource.k8s.io", "resourceslices")},
		{podresize.PluginName, true, podresize.Register, pods},
		{mutatingpolicy.PluginName, true, mutatingpolicy.Register, everything},
		{mutatingwebhook.PluginName, true, mutatingwebhook.Register, everything},
		{validatingpolicy.PluginName, true, validatingpolicy.Register, everything},
		{validatingwebhook.PluginName, true, validatingwebhook.Register, everything},
		{resourcequota.PluginName, true, resourcequota.Register, everything},
		{deny.PluginName, false, deny.Register, everything},
	}
}

// Names returns the names of all plugins, in the order in which they are called.
func Names() []string {
	var names []string
	for _, p := range all() {
		names = append(names, p.name)
	}
	return names
}

// Defaults returns the names of those that are enabled unless switched off.
func Defaults() []string {
	var names []string
	for _, p := range all() {
		if p.on {
			names = append(names, p.name)
		}
	}
	return names
}

// Sorted returns all names by the alphabet, as help texts list them.
func Sorted() []string {
	names := Names()
	slices.Sort(names)
	return names
}
