package state

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func packerOf(prefixes ...string) *packer {
	fs := families{}
	for _, prefix := range prefixes {
		fs[prefix] = newFamily(Family{Prefix: prefix})
	}
	return newPacker(func() *families { return &fs })
}

func recordOf(key string, value []byte) *Record {
	r := &Record{Key: key, Revision: 1}
	r.value.Store(plain(value))
	return r
}

// replica is one of many values that differ in a few bytes.
func replica(i int) []byte {
	return fmt.Appendf(nil, "name-%05d %s uid-%x", i, strings.Repeat("what all of them say, in some words; ", 100), i*7919)
}

func noise(size int) []byte {
	random := rand.New(rand.NewPCG(1, uint64(size)))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

// Whatever is packed comes out again, whatever was packed before it.
func TestPackedValues(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := packerOf("/a/")
		var records []*Record
		var values [][]byte
		for i := range rapid.IntRange(1, 40).Draw(t, "records") {
			var value []byte
			if size := rapid.IntRange(1, 200_000).Draw(t, "size"); len(values) > 0 && rapid.Bool().Draw(t, "similar") {
				value = bytes.Clone(rapid.SampledFrom(values).Draw(t, "model"))
				value[size%len(value)]++
				value = value[:max(1, len(value)-size%3)]
			} else {
				unit := size%977 + 1
				value = bytes.Repeat(noise(unit), size/unit+1)[:size]
			}
			values = append(values, value)
			records = append(records, recordOf(fmt.Sprintf("/a/%d", i), bytes.Clone(value)))
		}
		for i, r := range records {
			p.pack(r)
			if rapid.Bool().Draw(t, "rest") {
				p.rest()
			}
			if !bytes.Equal(r.Value(), values[i]) || r.Size() != len(values[i]) {
				t.Fatalf("record %d came out otherwise", i)
			}
		}
		for i, r := range records {
			if !bytes.Equal(r.Value(), values[i]) {
				t.Fatalf("record %d came out otherwise in the end", i)
			}
		}
	})
}

// Values that resemble each other take next to nothing, also when they are of two sorts in turn; others do not get larger.
func TestPackedSize(t *testing.T) {
	t.Parallel()
	held := func(p *packer, value func(i int) []byte) (packed, plain int64) {
		for i := range 1000 {
			r := recordOf(fmt.Sprintf("/a/%05d", i), value(i))
			p.pack(r)
			packed += r.value.Load().held()
			plain += int64(r.Size())
		}
		return packed, plain
	}
	if packed, plain := held(packerOf("/a/"), replica); packed > plain/20 {
		t.Errorf("replicas: %d of %d bytes", packed, plain)
	}
	two := func(i int) []byte {
		if i%2 == 0 {
			return replica(i)
		}
		return append(noise(2000), replica(i)[:20]...)
	}
	if packed, plain := held(packerOf("/a/"), two); packed > plain/20 {
		t.Errorf("two sorts: %d of %d bytes", packed, plain)
	}
	p := packerOf("/a/")
	if packed, plain := held(p, func(i int) []byte { return noise(1000 + i) }); packed > plain*101/100 {
		t.Errorf("noise: %d of %d bytes", packed, plain)
	}
	if n := len(p.known["/a/"].dictionaries); n > familyDictionaries {
		t.Errorf("%d dictionaries", n)
	}
}

// Readers see the same value before, while and after it is packed.
func TestReadWhilePacking(t *testing.T) {
	t.Parallel()
	p := packerOf("/a/")
	records := make([]*Record, 500)
	for i := range records {
		records[i] = recordOf(fmt.Sprintf("/a/%05d", i), replica(i))
	}
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for range 5 {
				for i, r := range records {
					if !bytes.Equal(r.Value(), replica(i)) {
						t.Errorf("record %d is otherwise", i)
						return
					}
				}
			}
		})
	}
	for _, r := range records {
		p.pack(r)
	}
	readers.Wait()
}

func BenchmarkPack(b *testing.B) {
	p := packerOf("/a/")
	b.Run("pack", func(b *testing.B) {
		for i := range b.N {
			p.pack(recordOf("/a/x", replica(i)))
		}
	})
	b.Run("unpack", func(b *testing.B) {
		r := recordOf("/a/x", replica(1))
		p.pack(r)
		for range b.N {
			r.Value()
		}
	})
}
