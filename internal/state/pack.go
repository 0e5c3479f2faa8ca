package state

import (
	"bytes"
	"math/bits"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"
)

// How values are packed.
const (
	// packAfter is how long at least, and half of how long at most, a record is left as it is: what has just been made is often
	// read or changed again.
	packAfter = 2 * time.Second
	// packTogether is how many records are packed in one go, which takes a millisecond or less.
	packTogether = 128
	// packRest is how many times as long as it works the packer rests, so that nobody notices it.
	packRest = 3
	// familyDictionaries is how many dictionaries are tried for a record of a family, the one used last first.
	familyDictionaries = 3
	// wellPacked is the part of a value's size, one in so many, that a dictionary that suits it leaves of it.
	wellPacked = 3
	// poorBetween is how many records that resemble nothing there are between attempts to find others that resemble one of them,
	// once the first attempts were in vain: kinds whose objects have little in common should not cost much.
	poorBetween = 64
	// worthCollecting is how many bytes must have been freed for the garbage collector to be told, at rest.
	worthCollecting = 16 << 20
)

// packer packs the values of records that have been there for a while. Objects of one kind resemble each other, those with
// neighbouring names most of all, so they are packed against one of them, in the order of their keys: of a pod among its replicas a
// hundred bytes remain. To unpack it costs less than a microsecond, because it is mostly a copy; to pack it, some. Values of
// history are packed as well.
//
// Ownership: mu guards the fields up to armed. What comes after belongs to the one call of step that is under way or waits for
// its time: there never are two, which armed sees to.
// Invariant: armed is set while anything is queued, unless the packer has been stopped.
type packer struct {
	families func() *families

	mu      sync.Mutex
	fresh   []*Record // what came since the last tick
	stopped bool
	armed   *time.Timer // nil while there is nothing to do

	ripe   []*Record // what is to be packed now
	known  map[string]*alike
	buffer []byte
	freed  int
}

// alike is what the packer knows of the records of one family.
type alike struct {
	dictionaries []*dictionary
	// poor counts the records in a row that resembled none of the dictionaries.
	poor int
}

func newPacker(families func() *families) *packer {
	return &packer{families: families, known: map[string]*alike{}}
}

// add queues records.
func (p *packer) add(records ...*Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	for _, r := range records {
		if r.Size() >= minPacked {
			p.fresh = append(p.fresh, r)
		}
	}
	if p.armed == nil && len(p.fresh) > 0 {
		p.armed = time.AfterFunc(packAfter, p.step)
	}
}

// stop ends the packing, at the latest after the records that are being packed.
func (p *packer) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	p.fresh = nil
	if p.armed != nil {
		p.armed.Stop()
	}
}

// step packs some of what is ripe and sees to the next step. After all that was ripe, what came meanwhile ripens.
func (p *packer) step() {
	began := time.Now()
	portion := p.ripe[:min(packTogether, len(p.ripe))]
	for i, r := range portion {
		p.pack(r)
		portion[i] = nil
	}
	p.ripe = p.ripe[len(portion):]
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := packRest * time.Since(began)
	if len(p.ripe) == 0 {
		p.ripe, p.fresh = p.fresh, nil
		slices.SortFunc(p.ripe, func(a, b *Record) int { return strings.Compare(a.Key, b.Key) })
		wait = packAfter
	}
	if len(p.ripe) == 0 && !p.stopped {
		p.mu.Unlock()
		p.rest()
		p.mu.Lock()
	}
	if p.armed = nil; !p.stopped && len(p.ripe)+len(p.fresh) > 0 {
		p.armed = time.AfterFunc(wait, p.step)
	}
}

// rest lets go of what only packing needs, and of what it has freed.
func (p *packer) rest() {
	p.buffer = nil
	for _, a := range p.known {
		for _, d := range a.dictionaries {
			d.encoder = nil
		}
	}
	if p.freed >= worthCollecting {
		runtime.GC()
	}
	p.freed = 0
}

// pack replaces the record's value by its packed form, if that is worth it. It looks first whether what it has packed is what it
// will give back: to know takes less than a microsecond.
func (p *packer) pack(r *Record) {
	was := r.value.Load()
	if was.packed || was.size < minPacked {
		return
	}
	now := p.packed(r.Key, was.bytes)
	if now == nil {
		return
	}
	if back, err := now.unpack(nil); err == nil && bytes.Equal(back, was.bytes) {
		r.value.Store(now)
		p.freed += was.size - int(now.held())
	}
}

// packed returns the packed form of a value, nil when it is not worth it.
func (p *packer) packed(key string, value []byte) *stored {
	if most := s2.MaxEncodedLen(len(value)); cap(p.buffer) < most {
		p.buffer = make([]byte, most)
	}
	a := p.family(key)
	for i, d := range a.dictionaries {
		if b := d.pack(p.buffer, value); len(b) <= len(value)/wellPacked {
			a.poor = 0
			copy(a.dictionaries[1:i+1], a.dictionaries[:i])
			a.dictionaries[0] = d
			return &stored{bytes: slices.Clone(b), size: len(value), dictionary: d, packed: true}
		}
	}
	a.poor++
	if len(value) <= maxDictionary && (bits.OnesCount(uint(a.poor)) == 1 || a.poor%poorBetween == 0) {
		return a.begin(p.buffer, value)
	}
	if b := s2.Encode(p.buffer, value); len(b) <= len(value)/4*3 {
		return &stored{bytes: slices.Clone(b), size: len(value), packed: true}
	}
	return nil
}

// begin makes a new dictionary of a value, and packs the value against it.
func (a *alike) begin(buffer, value []byte) *stored {
	d := newDictionary(value)
	d.from = &stored{bytes: slices.Clone(d.pack(buffer, value)), size: len(value), dictionary: d, packed: true}
	a.dictionaries = slices.Insert(a.dictionaries, 0, d)
	if len(a.dictionaries) > familyDictionaries {
		a.dictionaries = slices.Delete(a.dictionaries, familyDictionaries, len(a.dictionaries))
	}
	return d.from
}

func (p *packer) family(key string) *alike {
	prefix := ""
	if f := p.families().of(key); f != nil {
		prefix = f.Prefix
	}
	a := p.known[prefix]
	if a == nil {
		a = new(alike)
		p.known[prefix] = a
	}
	return a
}
