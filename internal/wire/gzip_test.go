package wire

import (
	"bytes"
	"compress/gzip"
	"hash/crc32"
	"io"
	"testing"

	"pgregory.net/rapid"
)

// gunzip reads a single gzip member, and nothing may follow it.
func gunzip(t rapid.TB, b []byte) []byte {
	t.Helper()
	in := bytes.NewReader(b)
	r, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	r.Multistream(false)
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if in.Len() != 0 {
		t.Fatalf("%d bytes behind the member", in.Len())
	}
	return plain
}

// TestGzipOfParts: parts that were compressed on their own, or are small, or empty, make one member with the right sums.
func TestGzipOfParts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var body, plain bytes.Buffer
		g := NewGzip(&body)
		for range rapid.IntRange(0, 8).Draw(t, "parts") {
			b := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "bytes"), rapid.SampledFrom([]int{1, 2, 500}).Draw(t, "times"))
			plain.Write(b)
			var err error
			if rapid.Bool().Draw(t, "packed") {
				p := Pack(b)
				if p.Size() != len(b) {
					t.Fatalf("Size = %d of %d bytes", p.Size(), len(b))
				}
				unpacked, unpackErr := p.AppendPlain([]byte("before"))
				if unpackErr != nil || string(unpacked) != "before"+string(b) {
					t.Fatal("unpacked is not what was packed", unpackErr)
				}
				err = g.Packed(p)
			} else {
				err = g.Plain(b)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		if got := gunzip(t, body.Bytes()); !bytes.Equal(got, plain.Bytes()) {
			t.Fatalf("%d bytes became %d others", plain.Len(), len(got))
		}
	})
}

func TestCombineCRC(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.SliceOf(rapid.Byte()).Draw(t, "a"), rapid.SliceOf(rapid.Byte()).Draw(t, "b")
		got := combineCRC(crc32.ChecksumIEEE(a), crc32.ChecksumIEEE(b), len(b))
		if want := crc32.ChecksumIEEE(append(bytes.Clone(a), b...)); got != want {
			t.Fatalf("%08x, want %08x", got, want)
		}
	})
}
