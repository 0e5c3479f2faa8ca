//go:build !linux

package embedded

// Unmap does nothing here; see the one for Linux.
func (s *Store) Unmap() {}
