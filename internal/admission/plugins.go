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
}

// all returns every plugin, in the order in which they are called (kubernetes/pkg/kubeapiserver/options/plugins.go; a test
// compares).
func all() []known {
	return []known{
		{admit.PluginName, false, admit.Register},
		{autoprovision.PluginName, false, autoprovision.Register},
		{lifecycle.PluginName, true, nil},
		{exists.PluginName, false, exists.Register},
		{antiaffinity.PluginName, false, antiaffinity.Register},
		{limitranger.PluginName, true, limitranger.Register},
		{serviceaccount.PluginName, true, serviceaccount.Register},
		{noderestriction.PluginName, false, noderestriction.Register},
		{nodetaint.PluginName, true, nodetaint.Register},
		{alwayspullimages.PluginName, false, alwayspullimages.Register},
		{imagepolicy.PluginName, false, imagepolicy.Register},
		{podsecurity.PluginName, true, podsecurity.Register},
		{podnodeselector.PluginName, false, podnodeselector.Register},
		{podpriority.PluginName, true, podpriority.Register},
		{defaulttolerationseconds.PluginName, true, defaulttolerationseconds.Register},
		{podtolerationrestriction.PluginName, false, podtolerationrestriction.Register},
		{eventratelimit.PluginName, false, eventratelimit.Register},
		{extendedresourcetoleration.PluginName, false, extendedresourcetoleration.Register},
		{setdefault.PluginName, true, setdefault.Register},
		{storageobjectinuseprotection.PluginName, true, storageobjectinuseprotection.Register},
		{podgroupprotection.PluginName, true, podgroupprotection.Register},
		{gc.PluginName, false, gc.Register},
		{resize.PluginName, true, resize.Register},
		{runtimeclass.PluginName, true, runtimeclass.Register},
		{certapproval.PluginName, true, certapproval.Register},
		{certsigning.PluginName, true, certsigning.Register},
		{ctbattest.PluginName, true, ctbattest.Register},
		{certsubjectrestriction.PluginName, true, certsubjectrestriction.Register},
		{defaultingressclass.PluginName, true, defaultingressclass.Register},
		{denyserviceexternalips.PluginName, false, denyserviceexternalips.Register},
		{podtopologylabels.PluginName, true, podtopologylabels.Register},
		{nodedeclaredfeatures.PluginName, true, nodedeclaredfeatures.Register},
		{podresize.PluginName, true, podresize.Register},
		{mutatingpolicy.PluginName, true, mutatingpolicy.Register},
		{mutatingwebhook.PluginName, true, mutatingwebhook.Register},
		{validatingpolicy.PluginName, true, validatingpolicy.Register},
		{validatingwebhook.PluginName, true, validatingwebhook.Register},
		{resourcequota.PluginName, true, resourcequota.Register},
		{deny.PluginName, false, deny.Register},
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
