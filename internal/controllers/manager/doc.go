// Package manager runs upstream's own controllers (k8s.io/kubernetes/pkg/controller) inside the server: what kube-controller-manager
// does for a cluster that has one.
//
//	m, err := manager.New(manager.Options{...})
//	m.Run(ctx)          // until ctx ends; nothing is left running when it returns
//
// Which controllers run is said as kube-controller-manager's --controllers does: names, "-name", and "*" for those that are on by
// default. The names are kube-controller-manager's too (descriptors.go).
//
// # What is upstream's and what is ours
//
// The controllers are upstream's, unchanged, with clients that are handed to the server's own pipeline (package loopback), as the
// service accounts that kube-controller-manager uses. So what they do is authorized, admitted and audited as it would be there.
//
// Their informers are ours (informer.go, factory.go). Upstream's would list and watch each kind through the API, and keep a
// decoded copy of all that there is. But the server has everything in memory already: an informer here is a view of the state's
// newest snapshot, and decodes an object when a controller looks at it. One goroutine (feed.go) follows the state's log, and
// decodes a changed object only if some handler wants to hear of it. What a lister shows and what handlers have been told
// is in the same relation as with client-go: the store first, then the handler.
//
// What would ask for the kinds that there are every thirty seconds is told when they change (kinds.go).
//
// # Leaders
//
// When several servers share an etcd, the controllers run in one of them: the holder of a Lease in kube-system. A server that has
// its store for itself starts them at once.
package manager
