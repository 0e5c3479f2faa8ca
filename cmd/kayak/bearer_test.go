package main

import (
	"errors"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdBearer makes BEARER the header with the token that is in stdout.
func cmdBearer(ts *testscript.TestScript, _ []string) error {
	token := strings.TrimSpace(ts.ReadFile("stdout"))
	if token == "" {
		return errors.New("there is no token in stdout")
	}
	ts.Setenv("BEARER", "Authorization: Bearer "+token)
	return nil
}
