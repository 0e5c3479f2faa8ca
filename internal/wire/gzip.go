package wire

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"sync"
)

// GzipThreshold is the size, in bytes, above which an answer is compressed for a client that takes it
// (apiserver/pkg/endpoints/handlers/responsewriters/writers.go, defaultGzipThresholdBytes).
const GzipThreshold = 128 << 10

// gzipLevel is upstream's gzipContentEncodingLevel.
const gzipLevel = flate.BestSpeed

// acceptsGzip reports whether a client takes gzip, by upstream's rule: the bare word must be in the list.
func acceptsGzip(r *http.Request) bool {
	for token := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		if strings.TrimSpace(token) == "gzip" {
			return true
		}
	}
	return false
}

// Packed is a part of a body, compressed on its own: it begins with an empty window and ends at a byte boundary (a sync flush,
// RFC 1951 §3.2.4), so that parts one behind the other are one deflate stream. In front stand the CRC-32 and the length of the
// plain bytes, from which those of a whole body follow. Immutable.
type Packed []byte

const packedHeader = 4 + 8

// Pack compresses a part of a body.
func Pack(plain []byte) Packed {
	buffer := bytes.NewBuffer(make([]byte, packedHeader, packedHeader+64+len(plain)/16))
	header := buffer.Bytes()
	binary.LittleEndian.PutUint32(header, crc32.ChecksumIEEE(plain))
	binary.LittleEndian.PutUint64(header[4:], uint64(len(plain)))
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(buffer)
	_, _ = w.Write(plain) // into memory: cannot fail
	_ = w.Flush()
	return Packed(bytes.Clone(buffer.Bytes())) // just as large as it needs to be: it may be kept
}

func (p Packed) crc() uint32 { return binary.LittleEndian.Uint32(p) }

// Size returns the length of the plain bytes.
func (p Packed) Size() int { return int(binary.LittleEndian.Uint64(p[4:])) }

// AppendPlain appends the plain bytes to b.
func (p Packed) AppendPlain(b []byte) ([]byte, error) {
	r := inflaters.Get().(io.ReadCloser)
	defer inflaters.Put(r)
	if err := r.(flate.Resetter).Reset(bytes.NewReader(p[packedHeader:]), nil); err != nil {
		return b, err
	}
	start := len(b)
	b = append(b, make([]byte, p.Size())...)
	_, err := io.ReadFull(r, b[start:])
	return b, err
}

// deflaters and inflaters save the better part of a megabyte for each use. They hold nothing between uses that belongs to
// anybody.
var (
	deflaters = sync.Pool{New: func() any {
		w, err := flate.NewWriter(nil, gzipLevel)
		if err != nil {
			panic(err) // a level that does not exist
		}
		return w
	}}
	inflaters = sync.Pool{New: func() any { return flate.NewReader(bytes.NewReader(nil)) }}
)

// Gzip writes a gzip stream of a single member (RFC 1952) out of parts. Some clients read no further than the first member.
// It belongs to one goroutine; the first error of the writer is returned by all calls from then on.
type Gzip struct {
	w    io.Writer
	crc  uint32
	size uint32 // modulo 2^32, as the format has it
	err  error
}

// NewGzip begins a stream.
func NewGzip(w io.Writer) *Gzip {
	g := &Gzip{w: w}
	// Deflate, no time, the fastest level, an unknown system: as compress/gzip writes it.
	g.write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255})
	return g
}

// Packed adds a part that is compressed already.
func (g *Gzip) Packed(p Packed) error {
	g.count(p.crc(), p.Size())
	g.write(p[packedHeader:])
	return g.err
}

// storedBelow is the size below which compressing does not pay.
const storedBelow = 64

// Plain adds a part.
func (g *Gzip) Plain(b []byte) error {
	if len(b) >= storedBelow {
		return g.Packed(Pack(b))
	}
	g.count(crc32.ChecksumIEEE(b), len(b))
	stored := make([]byte, 5, 5+storedBelow) // a block as it is (RFC 1951 §3.2.4)
	binary.LittleEndian.PutUint16(stored[1:], uint16(len(b)))
	binary.LittleEndian.PutUint16(stored[3:], ^uint16(len(b)))
	g.write(append(stored, b...))
	return g.err
}

// Close ends the stream; it does not close the writer.
func (g *Gzip) Close() error {
	end := []byte{1, 0, 0, 0xff, 0xff} // the last block, with nothing in it
	end = binary.LittleEndian.AppendUint32(end, g.crc)
	g.write(binary.LittleEndian.AppendUint32(end, g.size))
	return g.err
}

func (g *Gzip) count(crc uint32, size int) {
	g.crc = combineCRC(g.crc, crc, size)
	g.size += uint32(size)
}

func (g *Gzip) write(b []byte) {
	if g.err == nil {
		_, g.err = g.w.Write(b)
	}
}

// combineCRC returns the CRC-32 of two parts one behind the other, the second of which has the given length. A CRC is the
// remainder of a polynomial, so the first is multiplied by x^(8*length) (zlib's crc32_combine).
func combineCRC(first, second uint32, length int) uint32 {
	factor := uint32(1 << 31)                                 // x^0: the highest bit is the lowest power
	for square := uint32(1 << 23); length > 0; length >>= 1 { // x^8, x^16, x^32, ...
		if length&1 != 0 {
			factor = multiplyCRC(square, factor)
		}
		square = multiplyCRC(square, square)
	}
	return multiplyCRC(factor, first) ^ second
}

// multiplyCRC multiplies two polynomials modulo that of CRC-32.
func multiplyCRC(a, b uint32) uint32 {
	var product uint32
	for ; a != 0; a <<= 1 {
		product ^= b & -(a >> 31)
		b = b>>1 ^ crc32.IEEE&-(b&1)
	}
	return product
}
