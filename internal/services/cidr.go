package services

import (
	"context"
	"encoding/binary"
	"iter"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/networking"
)

// cidr is one range of addresses, of one or more ServiceCIDRs.
type cidr struct {
	prefix netip.Prefix
	// ready says that addresses may be taken from it.
	ready bool
}

// cidrs returns the ranges of a family, each once.
func (a *Allocator) cidrs(ctx context.Context, family api.IPFamily) ([]cidr, error) {
	objects, err := a.objects.ListServiceCIDRs(ctx)
	if err != nil {
		return nil, err
	}
	var result []cidr
	for _, object := range objects {
		for _, text := range object.Spec.CIDRs {
			prefix, err := netip.ParsePrefix(text)
			if err != nil || familyOf(prefix.Addr()) != family || hostBits(prefix) > 64 {
				continue
			}
			ready := isReady(object)
			i := slices.IndexFunc(result, func(c cidr) bool { return c.prefix == prefix.Masked() })
			if i < 0 {
				result = append(result, cidr{prefix: prefix.Masked(), ready: ready})
			} else if ready {
				result[i].ready = true
			}
		}
	}
	return result, nil
}

// isReady tells whether a ServiceCIDR gives out addresses. One without the condition does: where no controller manager runs,
// nobody sets it.
func isReady(object *networking.ServiceCIDR) bool {
	if !object.DeletionTimestamp.IsZero() {
		return false
	}
	for _, condition := range object.Status.Conditions {
		if condition.Type == networkingv1.ServiceCIDRConditionReady {
			return condition.Status == metav1.ConditionTrue
		}
	}
	return true
}

func hostBits(prefix netip.Prefix) int { return prefix.Addr().BitLen() - prefix.Bits() }

// hosts is how many addresses the range has. The network's own address is not one of them, nor is the broadcast address, which
// only IPv4 has.
func (c cidr) hosts() uint64 {
	reserved := uint64(1)
	if c.prefix.Addr().Is4() {
		reserved = 2
	}
	bits := hostBits(c.prefix)
	if bits >= 64 {
		return math.MaxUint64
	}
	if size := uint64(1) << bits; size > reserved {
		return size - reserved
	}
	return 0
}

// band is how many addresses at the lower end are left for those who ask for a certain one, as long as there are others
// (KEP-3070, and calculateRangeOffset in upstream's pkg/registry/core/service/ipallocator/bitmap.go).
func (c cidr) band() uint64 {
	bits := hostBits(c.prefix)
	switch {
	case bits <= 4:
		return 0
	case bits >= 12:
		return 256
	}
	return max(16, uint64(1)<<bits/16)
}

// host returns an address by its number, from 0.
func (c cidr) host(n uint64) netip.Addr {
	first := c.prefix.Addr().Next()
	if first.Is4() {
		b := first.As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n))
		return netip.AddrFrom4(b)
	}
	b := first.As16()
	binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])+n)
	return netip.AddrFrom16(b)
}

func (c cidr) contains(address netip.Addr) bool {
	hosts := c.hosts()
	return hosts > 0 && c.prefix.Contains(address) &&
		address.Compare(c.host(0)) >= 0 && address.Compare(c.host(hosts-1)) <= 0
}

// candidates yields all addresses once, those outside of the band first. Each part begins somewhere at random, so that
// servers that allocate at the same time seldom meet, and an address is seldom used again soon.
func (c cidr) candidates() iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		hosts, band := c.hosts(), c.band()
		for n := range fromRandom(hosts - band) {
			if !yield(c.host(band + n)) {
				return
			}
		}
		for n := range fromRandom(band) {
			if !yield(c.host(n)) {
				return
			}
		}
	}
}

// fromRandom yields the numbers below size once, in a circle from a random one.
func fromRandom(size uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		if size == 0 {
			return
		}
		start := rand.Uint64N(size)
		for i := uint64(0); i < size; i++ {
			n := start + i
			if n >= size || n < start {
				n -= size // right also when start+i has overflown
			}
			if !yield(n) {
				return
			}
		}
	}
}
