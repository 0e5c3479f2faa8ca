package h2_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
)

// servers are ours and net/http's own, to be compared. The client's costs are in all figures.
func servers(b *testing.B, handler http.Handler, run func(b *testing.B, url string, client func() *http.Client)) {
	b.Run("ours", func(b *testing.B) {
		address, client, _ := serve(b, handler)
		run(b, "https://"+address, func() *http.Client { return another(client) })
	})
	b.Run("net-http", func(b *testing.B) {
		server := httptest.NewUnstartedServer(handler)
		server.EnableHTTP2 = true
		server.StartTLS()
		defer server.Close()
		run(b, server.URL, func() *http.Client { return another(server.Client()) })
	})
}

// another client has a connection of its own.
func another(c *http.Client) *http.Client {
	t := c.Transport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: t.TLSClientConfig.RootCAs}
	t.DisableCompression = true
	return &http.Client{Transport: t}
}

func BenchmarkGet(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 7<<10)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})
	servers(b, handler, func(b *testing.B, url string, client func() *http.Client) {
		c := client()
		defer c.CloseIdleConnections()
		b.ReportAllocs()
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				response, err := c.Get(url)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
			}
		})
	})
}

// BenchmarkFanOut is one event of 7 KB to one of 200 streams on 4 connections.
func BenchmarkFanOut(b *testing.B) {
	const connections, each = 4, 50
	event := bytes.Repeat([]byte("x"), 7<<10)
	var mu sync.Mutex
	var listeners []chan struct{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		events := make(chan struct{})
		mu.Lock()
		listeners = append(listeners, events)
		mu.Unlock()
		w.(http.Flusher).Flush()
		for range events {
			_, _ = w.Write(event)
			w.(http.Flusher).Flush()
		}
	})
	servers(b, handler, func(b *testing.B, url string, client func() *http.Client) {
		listeners = nil
		var heard sync.WaitGroup
		for range connections {
			c := client()
			defer c.CloseIdleConnections()
			for range each {
				response, err := c.Get(url)
				if err != nil {
					b.Fatal(err)
				}
				defer response.Body.Close()
				go func() {
					buffer := make([]byte, len(event))
					for {
						if _, err := io.ReadFull(response.Body, buffer); err != nil {
							return
						}
						heard.Done()
					}
				}()
			}
		}
		b.ReportAllocs()
		b.ResetTimer()
		for n := 0; n < b.N; n += connections * each {
			heard.Add(connections * each)
			for _, l := range listeners {
				l <- struct{}{}
			}
			heard.Wait()
		}
		b.StopTimer()
		for _, l := range listeners {
			close(l)
		}
	})
}
