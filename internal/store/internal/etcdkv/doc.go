// Package etcdkv is what store/etcd and store/embedded have in common: the contract of package store expressed in etcd's
// own requests. It knows how to build the transactions, how to share leases, how to read watch responses and what etcd's
// errors mean; it does not know how a request gets to etcd.
//
// The two users fill a [KV] with functions, one with calls over gRPC and the other with calls into the server that runs in
// the same process.
package etcdkv
