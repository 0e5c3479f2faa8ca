package manager

import (
	"fmt"
	"slices"
	"strings"
)

// None is the list of controllers that switches all of them off.
func None() []string { return []string{"-*"} }

// selected returns the controllers that a list of switches asks for, in the syntax of kube-controller-manager's --controllers
// (k8s.io/controller-manager/app, IsControllerEnabled): the first that names a controller decides; "*" is all that are on by
// default; nil is "*".
func selected(switches []string) ([]descriptor, error) {
	if switches == nil {
		switches = []string{"*"}
	}
	all := descriptors()
	var names []string
	for _, s := range switches {
		name, _, err := parse(s, all)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	var on []descriptor
	for _, d := range all {
		if i := slices.Index(names, d.name); i >= 0 {
			if !strings.HasPrefix(switches[i], "-") {
				on = append(on, d)
			}
		} else if slices.Contains(switches, "*") && !d.off {
			on = append(on, d)
		}
	}
	return on, nil
}

// parse returns the name of the controller that a switch is for, "*" for all.
func parse(s string, all []descriptor) (name string, off bool, err error) {
	name, off = strings.CutPrefix(s, "-")
	if name == "*" {
		return name, off, nil
	}
	for _, d := range all {
		if d.name == name || slices.Contains(d.aliases, name) {
			return d.name, off, nil
		}
	}
	return "", false, fmt.Errorf("%q is not in the list of known controllers", name)
}

// Names returns the names of all controllers, and of those that are off by default.
func Names() (all, off []string) {
	for _, d := range descriptors() {
		all = append(all, d.name)
		if d.off {
			off = append(off, d.name)
		}
	}
	return all, off
}
