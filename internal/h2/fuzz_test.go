package h2_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// FuzzFrames sends whatever comes to mind. A client gets its ping back, or the connection ends; nothing hangs or panics.
func FuzzFrames(f *testing.F) {
	address, _, _ := serve(f, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	for _, seed := range seeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		var hello bytes.Buffer
		hello.WriteString(http2.ClientPreface)
		_ = http2.NewFramer(&hello, nil).WriteSettings()
		hello.Write(sent)
		_ = http2.NewFramer(&hello, nil).WritePing(false, [8]byte{1})
		if _, err := c.Write(hello.Bytes()); err != nil {
			return // hung up on
		}
		_ = c.CloseWrite() // what is sent may want more to come: a frame without its end is the end
		framer := http2.NewFramer(io.Discard, c)
		for {
			frame, err := framer.ReadFrame()
			if timeout, ok := err.(interface{ Timeout() bool }); ok && timeout.Timeout() {
				t.Fatal("neither an answer nor an end")
			}
			if ping, ok := frame.(*http2.PingFrame); ok && ping.IsAck() || err != nil {
				return
			}
		}
	})
}

// seeds are conversations to begin with.
func seeds() [][]byte {
	var seeds [][]byte
	add := func(say func(*http2.Framer)) {
		var b bytes.Buffer
		say(http2.NewFramer(&b, nil))
		seeds = append(seeds, b.Bytes())
	}
	block := func(fields ...string) []byte {
		var b bytes.Buffer
		e := hpack.NewEncoder(&b)
		for i := 0; i < len(fields); i += 2 {
			_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		return b.Bytes()
	}
	get := block(":method", "GET", ":scheme", "https", ":path", "/a?b", ":authority", "c")
	post := block(":method", "POST", ":scheme", "https", ":path", "/", "content-length", "4", "trailer", "sum", "expect", "100-continue")
	headers := func(f *http2.Framer, id uint32, block []byte, end bool) {
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: end})
	}
	add(func(f *http2.Framer) { headers(f, 1, get, true) })
	add(func(f *http2.Framer) {
		headers(f, 1, post, false)
		_ = f.WriteDataPadded(1, false, []byte("body"), []byte{0, 0})
		headers(f, 1, block("sum", "1"), true)
	})
	add(func(f *http2.Framer) {
		headers(f, 1, post, false)
		_ = f.WriteData(1, true, []byte("long body"))
		_ = f.WriteRSTStream(1, http2.ErrCodeCancel)
		_ = f.WriteWindowUpdate(1, 1<<31-1)
		_ = f.WriteWindowUpdate(0, 100)
	})
	add(func(f *http2.Framer) {
		_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1},
			http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 20}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
		headers(f, 3, post, false)
		_ = f.WriteData(3, true, []byte("body"))
		_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	})
	add(func(f *http2.Framer) {
		for id := uint32(1); id < 600; id += 2 {
			headers(f, id, post, false)
			_ = f.WriteRSTStream(id, http2.ErrCodeCancel)
		}
	})
	add(func(f *http2.Framer) {
		_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
		_ = f.WriteRawFrame(0x77, 0xff, 1, []byte("unknown"))
		_ = f.WriteContinuation(1, true, get)
	})
	return seeds
}
