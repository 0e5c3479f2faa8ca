package arch

// Forbidden is an upstream package, or several by a pattern (see matches), that must not be imported directly. What other
// upstream packages pull in behind the scenes does not count.
type Forbidden struct {
	Import string
	Reason string
}

// Exception allows the package in Dir to import one package that is forbidden.
type Exception struct {
	Dir    string // from the root of the module
	Import string
	Reason string // why it cannot reasonably be had otherwise
}

// Layer says what the packages in Dirs, a pattern, must not know of. Packages of this module are written from its root.
type Layer struct {
	Dirs      string
	Forbidden []string
	Reason    string
}

const ownEngine = "everything between the socket and etcd that is not about one kind is kayak's own"

// ForbiddenImports is the line between kayak and upstream: the kinds are upstream's, the engine is kayak's own.
func ForbiddenImports() []Forbidden {
	return []Forbidden{
		{"k8s.io/apiserver/pkg/server/...", ownEngine + ": this is upstream's server"},
		{"k8s.io/apiserver/pkg/endpoints", ownEngine + ": this is upstream's installer of routes"},
		{"k8s.io/apiserver/pkg/endpoints/handlers/...", ownEngine + ": these are upstream's verbs"},
		{"k8s.io/apiserver/pkg/storage/cacher/...", ownEngine + ": package state does this"},
		{"k8s.io/apiserver/pkg/storage/etcd3/...", ownEngine + ": package store does this"},
		{"k8s.io/apiserver/pkg/registry/generic/registry/...", ownEngine + ": package verb does this"},
		{"k8s.io/kubernetes/pkg/registry/*/*/storage/...",
			"it builds upstream's registry store; the strategy one directory up is what kayak uses"},
		{"k8s.io/kubernetes/pkg/controlplane", ownEngine + ": this assembles upstream's server"},
		{"k8s.io/kubernetes/pkg/controlplane/apiserver/...", ownEngine + ": this assembles upstream's server"},
		{"k8s.io/kubernetes/pkg/kubeapiserver/options/...", "kayak has its own flags, named after these"},
		{"k8s.io/apiextensions-apiserver/pkg/apiserver", ownEngine + ": this serves custom resources (its schema leaves are fine)"},
		{"k8s.io/kube-aggregator/pkg/apiserver", ownEngine + ": this proxies to aggregated servers"},
	}
}

// Exceptions to ForbiddenImports. Each must be needed, and says why.
func Exceptions() []Exception {
	return nil
}

// Layers are the arrows that must not be drawn. An arrow only ever points down: pipeline, verbs, kinds, state, store.
func Layers() []Layer {
	above := []string{
		"net/http/...",
		"internal/authn/...", "internal/authz/...", "internal/kind/...",
		"internal/server/...", "internal/verb/...", "internal/wire/...",
	}
	return []Layer{
		{"internal/state/...", above, "the state knows keys, bytes and revisions, and nothing of HTTP or kinds"},
		{"internal/store/...", above, "the store knows keys, bytes and revisions, and nothing of HTTP or kinds"},
		{"internal/verb/...", []string{"crypto/tls", "internal/authn/..."}, "a verb does not know how its user got here"},
		{"internal/request/...", []string{"internal/..."}, "every stage of the pipeline speaks in its terms, so it needs none of them"},
		{"internal/bootstrap/...", []string{"internal/..."}, "it runs before there is anything else"},
		{"internal/arch/...", []string{"internal/..."}, "what checks the others must not depend on them"},
	}
}
