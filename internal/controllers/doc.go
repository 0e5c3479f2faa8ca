// Package controllers keeps in order, inside the server, what a cluster takes for granted: the system namespaces, the roles
// and bindings that every cluster has and what is aggregated from them, the Service "kubernetes" and its endpoints, the system priority classes, and the configuration of flow control.
//
// Each controller is a struct of its own file. Ensure does everything once, from one snapshot, and a server calls it before it
// is ready; Run goes on, in upstream's intervals, until its context ends. None holds anything that is not in the store, so any
// number of servers, of either sort, can do the same work on one store: what is as it should be is not written, and who loses
// a race looks again later. What is done, and what is left to people, is kube-apiserver's; testdata holds what a real one has.
//
// A controller whose kinds are not in the table does nothing.
package controllers
