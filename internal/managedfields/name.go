package managedfields

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
)

// Name is the manager of a request: what its option fieldManager says, or the beginning of its User-Agent, up to the first
// slash, without what cannot be printed and not too long (endpoints/handlers/create.go, managerOrUserAgent).
func Name(option, userAgent string) string {
	if option != "" {
		return option
	}
	program, _, _ := strings.Cut(userAgent, "/")
	var name strings.Builder
	for _, r := range program {
		if !unicode.IsPrint(r) {
			continue
		}
		if name.Len()+utf8.RuneLen(r) > validation.FieldManagerMaxLength {
			break
		}
		name.WriteRune(r)
	}
	return name.String()
}
