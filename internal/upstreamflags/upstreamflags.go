// Package upstreamflags knows the flags of kube-apiserver, so that kayak can be started with any of them: those that it has no
// use for are accepted, with a warning, and only what is no flag of kube-apiserver either is an error.
//
// The list, kube-apiserver.txt, is what `kube-apiserver --help` says: sections, and in them names with the types of their values.
// The flags that are deprecated, which it does not show, come last in their sections.
package upstreamflags

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
)

//go:embed kube-apiserver.txt
var list string

// Flag is one of kube-apiserver's.
type Flag struct {
	Section    string
	Name       string
	Type       string // of the value, as in its help
	Deprecated bool
}

// All returns the flags of kube-apiserver, in the order of its help.
func All() []Flag {
	var all []Flag
	section := ""
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case line[0] != '\t':
			section = strings.TrimSpace(line)
		default:
			all = append(all, Flag{Section: section, Name: fields[0], Type: fields[1], Deprecated: len(fields) > 2})
		}
	}
	return all
}

// Rest are the flags that are accepted and have no effect.
type Rest struct{ flags []*pflag.Flag }

// AddRest adds those that the set does not have. They are hidden.
func AddRest(set *pflag.FlagSet) *Rest {
	rest := &Rest{}
	for _, f := range All() {
		if set.Lookup(f.Name) != nil {
			continue
		}
		flag := set.VarPF(&ignored{kind: f.Type}, f.Name, "", "A flag of kube-apiserver; accepted, without effect.")
		if f.Type == "bool" {
			flag.NoOptDefVal = "true"
		}
		flag.Hidden = true
		rest.flags = append(rest.flags, flag)
	}
	return rest
}

// Given returns the names of those that were given, and say something else than what is the case without them.
func (r *Rest) Given() []string {
	var names []string
	for _, flag := range r.flags {
		if flag.Changed && flag.Value.String() != "" && !isSo(flag.Name, flag.Value.String()) {
			names = append(names, flag.Name)
		}
	}
	return names
}

// isSo reports whether a flag asks for what kayak does anyway.
func isSo(name, value string) bool {
	switch name {
	case "allow-privileged", "aggregator-reject-forwarding-redirect", "enable-garbage-collector", "watch-cache":
		return value == "true"
	case "contention-profiling", "enable-priority-and-fairness", "permit-port-sharing", "permit-address-sharing":
		return value == "false"
	case "storage-backend":
		return value == "etcd3"
	case "storage-media-type":
		return value == "application/vnd.kubernetes.protobuf"
	case "logging-format":
		return value == "text"
	case "goaway-chance", "shutdown-delay-duration", "livez-grace-period", "max-connection-bytes-per-sec":
		return strings.Trim(value, "0s") == ""
	}
	return false
}

// ignored is the value of a flag that has no effect. It must still be one.
type ignored struct{ kind, value string }

func (i *ignored) Type() string     { return i.kind }
func (i *ignored) String() string   { return i.value }
func (i *ignored) IsBoolFlag() bool { return i.kind == "bool" }

func (i *ignored) Set(value string) error {
	var err error
	switch i.kind {
	case "bool":
		_, err = strconv.ParseBool(value)
	case "int":
		_, err = strconv.ParseInt(value, 0, 64)
	case "float", "float32":
		_, err = strconv.ParseFloat(value, 64)
	case "duration":
		_, err = time.ParseDuration(value)
	}
	if err != nil {
		return fmt.Errorf("not a %s: %w", i.kind, err)
	}
	if i.value != "" && value != "" {
		value = i.value + "," + value
	}
	i.value = value
	return nil
}

// Sections sorts the flags of a set as kube-apiserver's help does; what it does not know is in a section of its own, the first.
func Sections(set *pflag.FlagSet, own string) cliflag.NamedFlagSets {
	var sections cliflag.NamedFlagSets
	known := map[string]bool{}
	mine := sections.FlagSet(own)
	for _, f := range All() {
		flag := set.Lookup(f.Name)
		if flag == nil {
			continue
		}
		known[f.Name] = true
		shown := *flag
		shown.Hidden = f.Deprecated
		sections.FlagSet(f.Section).AddFlag(&shown)
	}
	set.VisitAll(func(flag *pflag.Flag) {
		switch {
		case flag.Name == "help" || flag.Name == "version":
			sections.FlagSet("global").AddFlag(flag)
		case !known[flag.Name]:
			mine.AddFlag(flag)
		}
	})
	return sections
}
