package services

import (
	"math"
	"net/netip"
	"testing"
)

func TestRanges(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		prefix      string
		hosts, band uint64
		first, last string // of the hosts
	}{
		{"10.0.0.0/32", 0, 0, "", ""},
		{"10.0.0.0/31", 0, 0, "", ""},
		{"10.0.0.0/30", 2, 0, "10.0.0.1", "10.0.0.2"},
		{"10.0.0.0/28", 14, 0, "10.0.0.1", "10.0.0.14"},
		{"10.0.0.0/27", 30, 16, "10.0.0.1", "10.0.0.30"},
		{"10.0.0.0/24", 254, 16, "10.0.0.1", "10.0.0.254"},
		{"10.0.0.0/23", 510, 32, "10.0.0.1", "10.0.1.254"},
		{"10.0.0.0/20", 4094, 256, "10.0.0.1", "10.0.15.254"},
		{"10.0.0.0/8", 1<<24 - 2, 256, "10.0.0.1", "10.255.255.254"},
		{"fd00::/128", 0, 0, "", ""},
		{"fd00::/127", 1, 0, "fd00::1", "fd00::1"},
		{"fd00::/120", 255, 16, "fd00::1", "fd00::ff"},
		{"fd00::/112", 65535, 256, "fd00::1", "fd00::ffff"},
		{"fd00::/64", math.MaxUint64, 256, "fd00::1", "fd00::ffff:ffff:ffff:ffff"},
	} {
		c := cidr{prefix: netip.MustParsePrefix(test.prefix)}
		if c.hosts() != test.hosts || c.band() != test.band {
			t.Errorf("%s: %d hosts and a band of %d, want %d and %d", test.prefix, c.hosts(), c.band(), test.hosts, test.band)
		}
		network := c.prefix.Addr()
		if c.contains(network) {
			t.Errorf("%s contains its network's address", test.prefix)
		}
		if test.hosts == 0 {
			continue
		}
		first, last := c.host(0), c.host(test.hosts-1)
		if first.String() != test.first || last.String() != test.last {
			t.Errorf("%s is from %s to %s, want %s to %s", test.prefix, first, last, test.first, test.last)
		}
		if !c.contains(first) || !c.contains(last) || first.Is4() && c.contains(last.Next()) {
			t.Errorf("%s does not contain just %s to %s", test.prefix, first, last)
		}
	}
}

func TestCandidatesAreAllAddressesAndThoseOfTheBandComeLast(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"10.0.0.0/24", "10.0.0.0/29", "fd00::/120"} {
		c := cidr{prefix: netip.MustParsePrefix(prefix)}
		seen := map[netip.Addr]bool{}
		for address := range c.candidates() {
			if seen[address] || !c.contains(address) {
				t.Fatalf("%s: %s is a candidate twice, or should not be one", prefix, address)
			}
			inBand := c.band() > 0 && address.Less(c.host(c.band()))
			if dynamic := c.hosts() - c.band(); inBand != (uint64(len(seen)) >= dynamic) {
				t.Fatalf("%s: %s is candidate number %d", prefix, address, len(seen))
			}
			seen[address] = true
		}
		if uint64(len(seen)) != c.hosts() {
			t.Errorf("%s: %d candidates, want %d", prefix, len(seen), c.hosts())
		}
	}
}

func TestCandidatesOfTheLargestRange(t *testing.T) {
	t.Parallel()
	c := cidr{prefix: netip.MustParsePrefix("fd00::/64")}
	seen := map[netip.Addr]bool{}
	for address := range c.candidates() {
		if seen[address] || !c.contains(address) || address.Less(c.host(c.band())) {
			t.Fatalf("%s is a candidate", address)
		}
		if seen[address] = true; len(seen) == 1000 {
			return
		}
	}
	t.Error("there are no candidates left")
}

// A circle of numbers that is nearly as large as numbers get, begun anywhere, stays within its size.
func TestFromRandomDoesNotOverflow(t *testing.T) {
	t.Parallel()
	const size = math.MaxUint64 - 256
	for range 100 {
		count := 0
		for n := range fromRandom(size) {
			if n >= size {
				t.Fatalf("%d of %d", n, uint64(size))
			}
			if count++; count == 1000 {
				break
			}
		}
	}
}
