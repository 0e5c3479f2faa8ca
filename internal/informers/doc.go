// Package informers is client-go's SharedInformerFactory over the state, for code that is written against informers and runs in
// the server's process: upstream's admission plugins.
//
// An informer keeps a decoded copy of all objects of its kind, up to date by a watch. Here there is nothing to keep: the state has
// every object already. So what this package calls an informer is a view of the state. Its lister reads the newest snapshot, a
// lookup in a tree, and decodes what is asked for; objects that were asked for lately are kept decoded, a bounded number of them.
// It costs nothing until it is used: no connection, no goroutine, no copy.
//
// A lister is as new as the state. Where a write must have its effect on the next request, the write is acknowledged only when
// the state has it (kind.Kind.Governs), so what this server has acknowledged its listers have.
//
// Handlers of events are called when somebody asks for it, by Refresh, in the caller's goroutine: an informer is refreshed right
// before it matters what its handlers have seen. That takes a comparison of records with those of the last time.
//
// Upstream's controllers need informers that call handlers by themselves: internal/controllers/manager has those, and what both
// factories have in common, [Groups], from here.
package informers
