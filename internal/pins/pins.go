//go:build pins

// Package pins keeps the staging modules of Kubernetes in go.mod.
//
// k8s.io/kubernetes requires its staging modules at v0.0.0 and replaces them with directories of its own tree, and a
// replacement counts only in the main module. So this module names each of them at the version that belongs to the
// Kubernetes release. "go mod tidy" drops what no package imports, and with it the version that a third module, which
// imports kayak, needs in order to resolve upstream's own tests. The imports below, behind a build tag that nobody sets,
// keep every one of them: "go mod tidy" looks at all build tags, a build looks at none of these files.
package pins

import (
	_ "k8s.io/api/core/v1"
	_ "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	_ "k8s.io/apimachinery/pkg/runtime"
	_ "k8s.io/apiserver/pkg/admission"
	_ "k8s.io/cli-runtime/pkg/genericclioptions"
	_ "k8s.io/client-go/kubernetes"
	_ "k8s.io/cloud-provider/api"
	_ "k8s.io/cluster-bootstrap/token/api"
	_ "k8s.io/code-generator"
	_ "k8s.io/component-base/version"
	_ "k8s.io/component-helpers/resource"
	_ "k8s.io/controller-manager/config"
	_ "k8s.io/cri-api/pkg/apis/runtime/v1"
	_ "k8s.io/cri-client/pkg"
	_ "k8s.io/cri-streaming/pkg/streaming"
	_ "k8s.io/csi-translation-lib"
	_ "k8s.io/dynamic-resource-allocation/structured"
	_ "k8s.io/endpointslice"
	_ "k8s.io/externaljwt/apis/v1"
	_ "k8s.io/kms/apis/v2"
	_ "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	_ "k8s.io/kube-controller-manager/config/v1alpha1"
	_ "k8s.io/kube-proxy/config/v1alpha1"
	_ "k8s.io/kube-scheduler/config/v1"
	_ "k8s.io/kubectl/pkg/cmd"
	_ "k8s.io/kubelet/config/v1beta1"
	_ "k8s.io/metrics/pkg/apis/metrics/v1"
	_ "k8s.io/mount-utils"
	_ "k8s.io/pod-security-admission/api"
	_ "k8s.io/sample-apiserver/pkg/apiserver"
	_ "k8s.io/streaming/pkg/httpstream"
)
