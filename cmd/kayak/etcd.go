package main

import (
	"os"
	"slices"
	"strings"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

// runEtcd is the program etcd: upstream's, with all of its flags. What is different is how soon a member that is alone elects
// itself: nobody else can be waited for, and the tests that start this wait for it.
func runEtcd() { etcdmain.Main(append(os.Args[:1:1], etcdArgs(os.Args[1:], os.Environ())...)) }

// etcdArgs adds to the arguments of an etcd that is alone and has not been told how long to wait.
func etcdArgs(args, environment []string) []string {
	told := func(names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool {
			variable := "ETCD_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "="
			return slices.ContainsFunc(environment, func(e string) bool { return strings.HasPrefix(e, variable) }) ||
				slices.ContainsFunc(args, func(arg string) bool {
					given, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
					return strings.HasPrefix(arg, "-") && given == name
				})
		})
	}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") || // gateway, grpc-proxy
		told("config-file", "heartbeat-interval", "election-timeout", "discovery", "discovery-srv", "discovery-endpoints",
			"initial-cluster-state") || !alone(args, environment) {
		return args
	}
	return append([]string{"--heartbeat-interval=10", "--election-timeout=100"}, args...)
}

// alone reports whether --initial-cluster names one member at most.
func alone(args, environment []string) bool {
	members := func(value string) int { return strings.Count(value, "=") }
	for i, arg := range args {
		name, value, given := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if name != "initial-cluster" {
			continue
		}
		if !given && i+1 < len(args) {
			value = args[i+1]
		}
		if members(value) > 1 {
			return false
		}
	}
	return !slices.ContainsFunc(environment, func(e string) bool {
		value, ok := strings.CutPrefix(e, "ETCD_INITIAL_CLUSTER=")
		return ok && members(value) > 1
	})
}
