package services

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/registry/core/service/allocator"
	"k8s.io/kubernetes/pkg/registry/core/service/portallocator"

	"github.com/kayak-k8s/kayak/internal/store"
)

// errNotReadyForPorts is upstream's, for as long as nobody has ever counted the ports in use. Repair does.
var errNotReadyForPorts = errors.New("cannot allocate resources of type servicenodeportallocations at this time")

// portRange is the node ports in use: a RangeAllocation of core/v1 under a key of its own.
type portRange struct {
	store  store.Store
	key    string
	ports  utilnet.PortRange
	stored runtime.Encoder

	// turn is held, as the one thing that fits in, by who changes the ports: within a server, changes wait for each other
	// instead of failing each other's writes. It guards known.
	turn chan struct{}
	// known is what was last seen, which is where a change starts; nil when nothing is known.
	known *store.KV
}

func newPortRange(s store.Store, root string, ports utilnet.PortRange) *portRange {
	codecs := legacyscheme.Codecs
	protobuf, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	return &portRange{
		store: s, key: root + "ranges/servicenodeports", ports: ports,
		stored: codecs.EncoderForVersion(protobuf.Serializer, corev1.SchemeGroupVersion),
		turn:   make(chan struct{}, 1),
	}
}

// read returns what is stored, and nil when that is nothing.
func (r *portRange) read(ctx context.Context) (*store.KV, error) {
	kv, err := r.store.Get(ctx, r.key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &kv, nil
}

func (r *portRange) decode(kv *store.KV) (*corev1.RangeAllocation, error) {
	object := &corev1.RangeAllocation{}
	_, _, err := legacyscheme.Codecs.UniversalDeserializer().Decode(kv.Value, nil, object)
	return object, err
}

// lock waits for the turn and returns what ends it.
func (r *portRange) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case r.turn <- struct{}{}:
		return func() { <-r.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// write replaces what is stored at a revision, 0 meaning that there is nothing, and remembers what is stored then. The caller
// has the turn.
func (r *portRange) write(ctx context.Context, object *corev1.RangeAllocation, expect int64) error {
	value, err := runtime.Encode(r.stored, object)
	if err != nil {
		return err
	}
	revision, err := r.store.Put(ctx, r.key, value, expect, store.PutOptions{})
	var conflict *store.Conflict
	switch {
	case err == nil:
		r.known = &store.KV{Key: r.key, Value: value, Revision: revision}
	case errors.As(err, &conflict):
		r.known = conflict.Current
	default:
		r.known = nil
	}
	return err
}

// allocator returns an allocator of ports for one operation.
func (r *portRange) allocator(ctx context.Context) *portallocator.PortAllocator {
	return (&portContext{portRange: r, ctx: ctx}).allocator()
}

// portContext is a portRange as upstream's allocator of ports has its storage (allocator.Interface), which knows no contexts:
// so there is one for each operation.
type portContext struct {
	*portRange
	ctx context.Context
	// offset is the size of the lower part of the range, which is left for those who ask for a certain port (KEP-3668).
	offset int
}

func (p *portContext) allocator() *portallocator.PortAllocator {
	ports, _ := portallocator.New(p.ports, func(_ int, _ string, offset int) (allocator.Interface, error) {
		p.offset = offset
		return p, nil
	})
	return ports
}

// bitmap returns what is stored as something to work with.
func (p *portContext) bitmap(object *corev1.RangeAllocation) (*allocator.AllocationBitmap, error) {
	bitmap := allocator.NewAllocationMapWithOffset(p.ports.Size, p.ports.String(), p.offset)
	return bitmap, bitmap.Restore(object.Range, object.Data)
}

// update changes what is stored until that succeeds on what is there. change reports whether it changed anything; that it has
// not counts only when it looked at what the store itself has.
func (p *portContext) update(change func(*allocator.AllocationBitmap) (bool, error)) error {
	unlock, err := p.lock(p.ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for fresh := false; ; {
		if p.known == nil && !fresh {
			if p.known, err = p.read(p.ctx); err != nil {
				return err
			}
			fresh = true
		}
		if p.known == nil {
			return errNotReadyForPorts
		}
		written, err := p.attempt(p.known, change)
		var conflict *store.Conflict
		switch {
		case errors.As(err, &conflict):
			fresh = true
		case !written && !fresh:
			p.known = nil
		default:
			return err
		}
	}
}

// attempt is one round; written says that it came to a write, whatever became of it.
func (p *portContext) attempt(kv *store.KV, change func(*allocator.AllocationBitmap) (bool, error)) (written bool, err error) {
	object, err := p.decode(kv)
	if err != nil {
		return false, err
	}
	bitmap, err := p.bitmap(object)
	if err != nil {
		return false, err
	}
	changed, err := change(bitmap)
	if err != nil || !changed {
		return false, err
	}
	object.Range, object.Data = bitmap.Snapshot()
	return true, p.write(p.ctx, object, kv.Revision)
}

// Allocate takes a port by its place in the range; false when it is taken.
func (p *portContext) Allocate(offset int) (ok bool, err error) {
	err = p.update(func(bitmap *allocator.AllocationBitmap) (bool, error) {
		ok, err = bitmap.Allocate(offset)
		return ok, err
	})
	return ok, err
}

// AllocateNext takes a port that is free; false when there is none.
func (p *portContext) AllocateNext() (offset int, ok bool, err error) {
	err = p.update(func(bitmap *allocator.AllocationBitmap) (bool, error) {
		offset, ok, err = bitmap.AllocateNext()
		return ok, err
	})
	return offset, ok, err
}

// Release gives a port back.
func (p *portContext) Release(offset int) error {
	return p.update(func(bitmap *allocator.AllocationBitmap) (bool, error) {
		if !bitmap.Has(offset) {
			return false, nil
		}
		return true, bitmap.Release(offset)
	})
}

// current returns what is stored now; empty when that cannot be read.
func (p *portContext) current() *allocator.AllocationBitmap {
	if kv, err := p.read(p.ctx); err == nil && kv != nil {
		if object, err := p.decode(kv); err == nil {
			if bitmap, err := p.bitmap(object); err == nil {
				return bitmap
			}
		}
	}
	return allocator.NewAllocationMapWithOffset(p.ports.Size, p.ports.String(), p.offset)
}

// Has is what dry runs ask.
func (p *portContext) Has(offset int) bool { return p.current().Has(offset) }

// ForEach calls fn for every port in use.
func (p *portContext) ForEach(fn func(int)) { p.current().ForEach(fn) }

// Free is asked only for upstream's metrics, which are not recorded here.
func (p *portContext) Free() int { return 0 }

// Destroy has nothing to do.
func (p *portContext) Destroy() {}
