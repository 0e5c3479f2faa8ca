package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

// stall opens a watch on a connection of its own and never reads what comes, with hardly any room for it on this side.
func stall(ctx context.Context, config *rest.Config, path string) (close func() error, err error) {
	host := strings.TrimPrefix(strings.TrimSuffix(config.Host, "/"), "https://")
	dialer := net.Dialer{Timeout: 10 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		return nil, err
	}
	settings, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, err
	}
	settings = settings.Clone()
	settings.NextProtos = []string{"http/1.1"}
	if settings.ServerName == "" {
		settings.ServerName, _, _ = net.SplitHostPort(host)
	}
	client := tls.Client(conn, settings)
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+path, nil)
	if err != nil {
		return nil, err
	}
	if config.BearerToken != "" {
		q.Header.Set("Authorization", "Bearer "+config.BearerToken)
	}
	if err := q.Write(client); err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(bufio.NewReaderSize(client, 16), q)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, answer.Status)
	}
	return conn.Close, nil
}
