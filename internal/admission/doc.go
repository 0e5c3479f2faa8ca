// Package admission is stage six: what may change or refuse a write before it is stored.
//
// A [Chain] calls plugins of upstream's contract (k8s.io/apiserver/pkg/admission) in upstream's order: first all that change
// objects, and once more if a webhook or a policy that comes later has changed something and asks for it; then, on the object as
// it will be stored, all that only look. The first refusal ends it. Reads do not come here.
//
// The plugins are upstream's, used as libraries (plugins.go has the list). What kayak adds is where they look things up:
//
//   - Listers and informers are views of the state (package informers): nothing is watched, copied or waited for.
//   - NamespaceLifecycle is kayak's own (lifecycle.go). Upstream's waits 50 ms for a namespace that its cache does not have, and
//     distrusts the cache for half a minute after a deletion; here the state says how things are.
//   - Webhooks and policies cost nothing until there is one: their plugins are made when the first configuration is stored
//     (lazy.go). What is configured is read from the state for each request (policies.go), so a configuration is in force when its
//     creation is acknowledged. Each is compiled once per change.
//   - Writes that plugins do themselves, such as those of ResourceQuota, go through a client in the server's process.
//
// What admission goes by is governed by kinds that are marked so (kind.Kind.Governs): a write of one is acknowledged when the state
// has it. [Governing] lists them.
//
// A plugin is not called for kinds that it has nothing to do with (scope.go), so the default chain costs a write of most kinds
// next to nothing.
package admission
