package main

import (
	"strings"

	"github.com/kayak-k8s/kayak/internal/controllers/manager"
)

// controllersUsage is what kube-controller-manager says of its flag --controllers.
func controllersUsage() string {
	all, off := manager.Names()
	return "A list of controllers to enable. '*' enables all on-by-default controllers, 'foo' enables the controller named 'foo', " +
		"'-foo' disables the controller named 'foo'.\nAll controllers: " + strings.Join(all, ", ") +
		"\nDisabled-by-default controllers: " + strings.Join(off, ", ")
}
