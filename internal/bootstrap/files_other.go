//go:build !unix

package bootstrap

import "os"

// syncDir does nothing: directories cannot be synced here.
func syncDir(string) error { return nil }

// keepOwner does nothing: files have no owner in the sense of Unix here.
func keepOwner(*os.File, string) error { return nil }
