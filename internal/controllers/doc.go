// Package controllers keeps in order, inside the server, what a cluster takes for granted.
//
// Each controller is a small struct with a Run method that works until its context ends; none holds anything that is not in
// the store.
package controllers
