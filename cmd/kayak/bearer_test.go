package main

import (
	"encoding/base64"
	"errors"
	"os"
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

// cmdDecode turns what kubeconfigs have inside into files, which curl wants.
func cmdDecode(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: decode FILE")
	}
	data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(ts.ReadFile("stdout")))
	if err != nil {
		return err
	}
	return os.WriteFile(ts.MkAbs(args[0]), data, 0o600)
}
