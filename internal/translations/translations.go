// Package translations keeps a program that has kubectl built in from reading kubectl's translations when it starts as something
// else. kubectl's packages ask for them while they are initialised, which takes 20 to 40 ms, a good part of a start.
//
// Importing it is enough: packages are initialised in the order of their import paths, as far as they do not need each other, and
// this one comes before those of kubectl that ask (k8s.io/kubectl/pkg/util/i18n, SetLoadTranslationsFunc).
package translations

import (
	"os"
	"path/filepath"
	"strings"

	"k8s.io/kubectl/pkg/util/i18n"
)

func init() {
	_ = i18n.SetLoadTranslationsFunc(func() error { // an error says that it is too late
		if !isKubectl(os.Args) {
			return nil
		}
		return i18n.LoadTranslations("kubectl", nil)
	})
}

// isKubectl reports whether a command line is one of kubectl, by itself or as a command of another program.
func isKubectl(args []string) bool {
	name := func(arg string) bool { return strings.TrimSuffix(filepath.Base(arg), ".exe") == "kubectl" }
	return len(args) > 0 && name(args[0]) || len(args) > 1 && args[1] == "kubectl"
}
