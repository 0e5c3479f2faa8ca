package state

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kayak-k8s/kayak/internal/store"
)

// load ranges over everything at one revision and restarts the state with it. When that revision is compacted meanwhile it
// begins again at the newest one.
func (s *State) load(ctx context.Context) error {
	start := time.Now()
	for {
		families := s.families.Load()
		records, revision, err := s.readAll(ctx, *families)
		if errors.Is(err, store.ErrCompacted) && ctx.Err() == nil {
			s.log.Info("the revision was compacted during loading, starting over")
			continue
		}
		if err != nil {
			return err
		}
		s.install(records, revision, families)
		s.log.Info("loaded", "records", len(records), "revision", revision, "duration", time.Since(start))
		return nil
	}
}

// pageBytes is about how large a page of the load may become: the store holds it in memory as a whole, and a store behind a
// connection refuses what does not fit into one message.
const pageBytes = 16 << 20

// readAll reads all records at the store's newest revision, in the order of their keys. The values of one page are parsed
// while the next page is fetched. Pages have PageSize keys, fewer where values are large.
func (s *State) readAll(ctx context.Context, fs families) ([]*Record, int64, error) {
	p := s.newParser(fs)
	defer p.wait()
	options := store.RangeOptions{Prefix: s.options.Prefix, Limit: s.options.PageSize}
	for {
		page, err := s.options.Store.Range(ctx, options)
		if errors.Is(err, store.ErrTooLarge) && options.Limit > 1 {
			options.Limit /= 2
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		p.add(page.KVs)
		options.Limit = s.nextLimit(options.Limit, page.KVs)
		if !page.More || len(page.KVs) == 0 {
			return p.result(), page.Revision, nil
		}
		options.Revision = page.Revision
		options.From = page.KVs[len(page.KVs)-1].Key + "\x00"
	}
}

// nextLimit is how many keys to ask for after a page: as many as would make pageBytes if they are like those in the page, at
// most twice as many as last time and at most PageSize.
func (s *State) nextLimit(limit int64, kvs []store.KV) int64 {
	bytes := int64(1)
	for i := range kvs {
		bytes += int64(len(kvs[i].Key) + len(kvs[i].Value))
	}
	fitting := int64(len(kvs)) * pageBytes / bytes
	return max(1, min(fitting, 2*limit, s.options.PageSize))
}

// parser turns pages of keys into records, on all cores.
//
// Ownership: pages belongs to the goroutine that calls add; each page is written by the one goroutine that parses it, and read
// after wait.
type parser struct {
	state    *State
	families families
	old      *Snapshot
	pages    [][]*Record
	room     chan struct{}
	work     sync.WaitGroup
}

func (s *State) newParser(fs families) *parser {
	return &parser{state: s, families: fs, old: s.Snapshot(), room: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

func (p *parser) add(kvs []store.KV) {
	page := make([]*Record, len(kvs))
	p.pages = append(p.pages, page)
	p.room <- struct{}{}
	p.work.Go(func() {
		for i := range kvs {
			page[i] = p.record(&kvs[i])
		}
		<-p.room
	})
}

// record returns the old record of a key when it is still good, so that what it has encoded stays.
func (p *parser) record(kv *store.KV) *Record {
	old := p.old.Get(kv.Key)
	if old != nil && old.Revision == kv.Revision && bytes.Equal(old.Value(), kv.Value) {
		return old
	}
	return p.state.newRecord(p.families, *kv)
}

func (p *parser) wait() { p.work.Wait() }

func (p *parser) result() []*Record {
	p.wait()
	n := 0
	for _, page := range p.pages {
		n += len(page)
	}
	records := make([]*Record, 0, n)
	for _, page := range p.pages {
		records = append(records, page...)
	}
	return records
}

// install restarts the state with records that were parsed for some families. When families have come or gone since, all are
// parsed again.
func (s *State) install(records []*Record, revision int64, parsedFor *families) {
	root := build(records)
	defer s.packer.add(records...)
	for !s.installParsed(root, revision, parsedFor) {
		parsedFor = s.families.Load()
		fs := *parsedFor
		inParallel(len(records), func(i int) {
			r := records[i]
			r.parsed.Store(fs.of(r.Key).parse(r.Key, r.Value()))
		})
	}
}

// installParsed restarts the state, unless the families are no longer those that its records were parsed for.
func (s *State) installParsed(root *node, revision int64, parsedFor *families) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.families.Load() != parsedFor {
		return false
	}
	s.restart(root, revision)
	s.writing.loaded = true
	return true
}

// inParallel calls fn with the numbers below n, on all cores.
func inParallel(n int, fn func(i int)) {
	const together = 256
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), (n+together-1)/together) {
		all.Go(func() {
			for {
				end := int(next.Add(together))
				for i := end - together; i < min(end, n); i++ {
					fn(i)
				}
				if end >= n {
					return
				}
			}
		})
	}
	all.Wait()
}
