// Package conformance takes every kind that kayak serves through everything that can be done with it, in every version.
//
// testdata/objects.yaml has one valid object of each kind. TestEveryKind asks a running server what it serves, fails for a kind
// that the file does not have, and creates, reads, lists, watches, updates, patches and deletes the object in each version and
// in each media type.
//
// There is no non-test code here.
package conformance
