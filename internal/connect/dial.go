package connect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// dialTimeout is how long it may take to connect, over all addresses of a name.
const dialTimeout = 30 * time.Second

// dialer connects to addresses it has checked, and knows the connections that are open.
type dialer struct {
	allowLoopback bool
	self          func() []netip.AddrPort
	// lookup and connect are the network; tests have their own.
	lookup  func(ctx context.Context, network, host string) ([]netip.Addr, error)
	connect func(ctx context.Context, network, address string) (net.Conn, error)

	mu     sync.Mutex
	open   map[*conn]struct{}
	closed bool
}

func newDialer(allowLoopback bool, self func() []netip.AddrPort) *dialer {
	if self == nil {
		self = func() []netip.AddrPort { return nil }
	}
	return &dialer{
		allowLoopback: allowLoopback,
		self:          self,
		lookup:        net.DefaultResolver.LookupNetIP,
		connect:       (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext,
		open:          map[*conn]struct{}{},
	}
}

// refused is the error for an address that is not dialed.
type refused struct{ text string }

func (r *refused) Error() string { return "address not allowed: " + r.text }

// dial connects to the first address of host and port that answers. If one of them is not allowed, none is dialed: a name
// that leads to a forbidden place is no mistake to be silent about.
func (d *dialer) dial(ctx context.Context, _, hostPort string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	targets, err := d.resolve(ctx, hostPort)
	if err != nil {
		return nil, err
	}
	var first error
	for i, target := range targets {
		c, err := d.try(ctx, target, len(targets)-i)
		if err == nil {
			return d.track(c)
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// try connects to one address, and leaves time for those that are left.
func (d *dialer) try(ctx context.Context, target netip.AddrPort, left int) (net.Conn, error) {
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
	defer cancel()
	return d.connect(ctx, "tcp", target.String())
}

// check resolves the host of a URL, and fails with refused if it leads to an address that is not allowed, or is no host.
func (d *dialer) check(ctx context.Context, location *url.URL) error {
	// Nothing has said yet that the address of a node, or a port that a client asks for, can be part of a URL.
	base := url.URL{Scheme: location.Scheme, Host: location.Host}
	if _, err := url.Parse(base.String()); err != nil {
		return &refused{err.Error()}
	}
	_, err := d.resolve(ctx, hostPort(location))
	return err
}

// allow returns an error 400 if the host of a URL leads to an address that is not allowed. dial decides for itself; this is
// for a good answer before anything else happens, since what handles upgrades makes an error 500 of each failure to dial.
// Names that do not resolve are left to dial.
func (d *dialer) allow(ctx context.Context, location *url.URL) error {
	var no *refused
	if errors.As(d.check(ctx, location), &no) {
		return apierrors.NewBadRequest(no.Error())
	}
	return nil
}

// hostPort returns the host and the port of a URL, with the port that the scheme implies.
func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// resolve returns the addresses of host and port. The error is refused if one of them is not allowed.
func (d *dialer) resolve(ctx context.Context, hostPort string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, err
	}
	addrs, err := d.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	targets := make([]netip.AddrPort, len(addrs))
	for i, addr := range addrs {
		targets[i] = netip.AddrPortFrom(addr.Unmap(), uint16(port)) // ::ffff:127.0.0.1 is 127.0.0.1
		if why := d.forbidden(targets[i]); why != "" {
			return nil, &refused{describe(host, targets[i].Addr()) + why}
		}
	}
	return targets, nil
}

func (d *dialer) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if host == "" {
		return nil, &refused{"no host"} // package net takes this for the local machine
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	addrs, err := d.lookup(ctx, "ip", host)
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "no addresses", Name: host, IsNotFound: true}
	}
	return addrs, err
}

func describe(host string, addr netip.Addr) string {
	if strings.EqualFold(host, addr.String()) {
		return host + " is "
	}
	return fmt.Sprintf("%q resolves to %s, which is ", host, addr)
}

// forbidden says why an address must not be dialed; "" means that it may.
func (d *dialer) forbidden(target netip.AddrPort) string {
	addr := target.Addr()
	switch {
	case addr.IsUnspecified():
		return "unspecified"
	case d.isSelf(target):
		return "this server"
	case addr.IsLoopback():
		if d.allowLoopback {
			return ""
		}
		return "a loopback address"
	case addr.IsLinkLocalUnicast():
		return "a link-local address"
	case addr.IsMulticast():
		return "a multicast address"
	case !addr.IsGlobalUnicast():
		return "not a unicast address"
	}
	return ""
}

func (d *dialer) isSelf(target netip.AddrPort) bool {
	for _, self := range d.self() {
		addr := self.Addr().Unmap()
		if self.Port() == target.Port() && (addr == target.Addr() || addr.IsUnspecified() && isLocal(target.Addr())) {
			return true
		}
	}
	return false
}

// isLocal reports whether an address is one of this machine. When that cannot be found out it is.
func isLocal(addr netip.Addr) bool {
	if addr.IsLoopback() {
		return true
	}
	local, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, a := range local {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Unmap() == addr.WithZone("") {
			return true
		}
	}
	return false
}

// conn is a connection that close can find.
type conn struct {
	net.Conn
	dialer *dialer
}

func (d *dialer) track(c net.Conn) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	tracked := &conn{c, d}
	d.open[tracked] = struct{}{}
	return tracked, nil
}

// Close closes the connection. It may be called more than once.
func (c *conn) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.open, c)
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}

func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for c := range d.open {
		_ = c.Conn.Close()
	}
	clear(d.open)
}
