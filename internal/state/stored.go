package state

import (
	"fmt"

	"github.com/klauspost/compress/s2"
)

// stored is the stored form of an object, as it is or packed. Immutable.
type stored struct {
	bytes []byte
	// size is that of the plain form.
	size int
	// dictionary is what bytes were packed with; packed says that they are, which they also may be without one.
	dictionary *dictionary
	packed     bool
}

func plain(value []byte) *stored { return &stored{bytes: value, size: len(value)} }

// value returns the plain form. When it is packed it is made anew each time, in the buffer if it has room there.
func (s *stored) value(buffer []byte) []byte {
	if !s.packed {
		return s.bytes
	}
	value, err := s.unpack(buffer)
	if err != nil || len(value) != s.size {
		panic(fmt.Sprintf("state: %d bytes that were packed from %d cannot be unpacked: %v", len(s.bytes), s.size, err))
	}
	return value
}

func (s *stored) unpack(buffer []byte) ([]byte, error) {
	if s.dictionary != nil {
		return s.dictionary.decoder.Decode(buffer, s.bytes)
	}
	return s2.Decode(buffer, s.bytes)
}

// held is what the form takes in memory; a dictionary is counted where it comes from.
func (s *stored) held() int64 {
	n := len(s.bytes)
	if s.dictionary != nil && s.dictionary.from == s {
		n += s.size
	}
	return int64(n)
}

// Bounds of what is packed, in bytes: less is not worth it, and the bytes of a dictionary can be referred to up to a distance.
const (
	minPacked     = 512
	maxDictionary = 60 << 10
)

// dictionary is a stored form that others are packed against: what they have in common with it takes no room.
//
// Ownership: decoder and from are read only; encoder, whose tables take 32 KB, belongs to the packer, which drops it at rest.
type dictionary struct {
	decoder *s2.Dict
	encoder *s2.Dict
	from    *stored // the packed form of the one that it was made of
}

// newDictionary makes a dictionary of a value, whose size is within the bounds.
func newDictionary(value []byte) *dictionary {
	// The format begins with a number, here 0, and s2 would copy what has no room for sixteen bytes behind it.
	b := make([]byte, 1+len(value), 1+len(value)+16)
	copy(b[1:], value)
	return &dictionary{decoder: s2.NewDict(b)}
}

func (d *dictionary) pack(buffer, value []byte) []byte {
	if d.encoder == nil {
		d.encoder = s2.NewDict(d.decoder.Bytes())
	}
	return d.encoder.Encode(buffer, value)
}
