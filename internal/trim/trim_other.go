//go:build !linux

package trim

func unmapText() {}
