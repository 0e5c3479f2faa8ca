package difftest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/rest"

	"github.com/kayak-k8s/kayak"
)

var (
	record = flag.String("record", "", "URL of a kube-apiserver whose answers are to be recorded")
	caFile = flag.String("cacert", "", "its authority")
	cert   = flag.String("cert", "", "a client certificate of group system:masters")
	key    = flag.String("key", "", "the certificate's key")
	accept = flag.Bool("accept", false, "write down kayak's answers where it differs on purpose")
)

func TestCorpus(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("there is no corpus", err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txt")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f, err := parseFile(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if *record != "" {
				f.record(t, name)
				write(t, path, f)
				return
			}
			t.Parallel()
			f.replay(t, name)
			if *accept {
				write(t, path, f)
			}
		})
	}
}

func write(t *testing.T, path string, f *file) {
	t.Helper()
	if err := os.WriteFile(path, []byte(f.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// replay sends the requests to kayak and compares.
func (f *file) replay(t *testing.T, name string) {
	server, err := kayak.New(kayak.Config{HistoryBytes: f.historyBytes(), Controllers: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	for i, got := range f.run(t, server.RESTConfig(), name) {
		x := f.exchanges[i]
		switch want := x.answer; {
		case x.differs == "":
			if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("%s (- kube-apiserver, + kayak)\n%s %s\n%s", x.name, x.method, x.path, diff)
			}
		case got == want:
			t.Errorf("%s: kayak no longer differs", x.name)
		case *accept:
			x.kayak = got
		case got != x.kayak:
			t.Errorf("%s (- kayak before, + kayak now)\n%s", x.name, cmp.Diff(strings.Split(x.kayak, "\n"), strings.Split(got, "\n")))
		}
	}
}

// historyBytes is 1 for a file that asks for a server that forgets, so that revisions are too old.
func (f *file) historyBytes() int64 {
	if strings.Contains(f.comment, "# @forgetful") {
		return 1
	}
	return 0
}

// record sends them to the real server until it answers twice the same.
func (f *file) record(t *testing.T, name string) {
	config := &rest.Config{Host: *record, TLSClientConfig: rest.TLSClientConfig{CAFile: *caFile, CertFile: *cert, KeyFile: *key}}
	var before []string
	for range 6 {
		answers := f.run(t, config, name)
		if slices.Equal(before, answers) {
			for i, answer := range answers {
				f.exchanges[i].answer = answer
			}
			return
		}
		for i := range before {
			if diff := cmp.Diff(strings.Split(before[i], "\n"), strings.Split(answers[i], "\n")); diff != "" {
				t.Logf("%s\n%s", f.exchanges[i].name, diff)
			}
		}
		before = answers
	}
	t.Fatal("the answers change from run to run")
}

// run sends all requests and returns the masked answers.
func (f *file) run(t *testing.T, config *rest.Config, name string) []string {
	t.Helper()
	config = rest.CopyConfig(config)
	config.DisableCompression = true
	config.QPS = -1
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	m := newMasker(f, "d-"+randomLetters())
	answers := make([]string, len(f.exchanges))
	for i, x := range f.exchanges {
		answer, err := m.send(t.Context(), client, config.Host, x)
		if err != nil {
			t.Fatalf("%s: %v", x.name, err)
		}
		answers[i] = answer
	}
	return answers
}

func randomLetters() string {
	b := make([]byte, 6)
	for i := range b {
		b[i] = byte('g' + rand.IntN(16)) // not those that a uid has
	}
	return string(b)
}

// send sends one request and describes the answer.
func (m *masker) send(ctx context.Context, client *http.Client, host string, x *exchange) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	response, err := m.ask(ctx, client, host, x)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := readAnswer(response, x.events)
	if err != nil {
		return "", fmt.Errorf("after %q: %w", body, err)
	}
	m.path = m.expand(x.path)
	text, saved := m.describe(response, body)
	for _, save := range x.saves {
		value := saved.at(save[1])
		if value == nil {
			return "", fmt.Errorf("there is no %s in\n%s", save[1], text)
		}
		m.vars[save[0]] = value.raw
		if value.isString() {
			m.vars[save[0]] = value.text()
		}
	}
	return text, nil
}

// ask sends a request, again and again if the answer is to have a certain status.
func (m *masker) ask(ctx context.Context, client *http.Client, host string, x *exchange) (*http.Response, error) {
	for {
		request, err := m.newRequest(ctx, host, x)
		if err != nil {
			return nil, err
		}
		response, err := client.Do(request)
		if err != nil || x.until == 0 || response.StatusCode == x.until {
			return response, err
		}
		_ = response.Body.Close()
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the status is %d to the end", response.StatusCode)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (m *masker) newRequest(ctx context.Context, host string, x *exchange) (*http.Request, error) {
	body, err := m.encodeBody(x)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, x.method, host+m.expand(x.path), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		request.Body = http.NoBody
	}
	request.Header.Set("User-Agent", "difftest")
	for _, header := range x.headers {
		request.Header.Set(header[0], m.expand(header[1]))
	}
	return request, nil
}

func (m *masker) encodeBody(x *exchange) ([]byte, error) {
	text := strings.TrimSuffix(m.expand(x.body), "\n")
	if x.pad > 0 {
		text = strings.ReplaceAll(text, "${pad}", strings.Repeat("x", x.pad))
	}
	text = strings.ReplaceAll(text, "${repeat}", x.repeat)
	switch x.coding {
	case "base64":
		return base64.StdEncoding.DecodeString(text)
	case "protobuf":
		return protobufOf([]byte(text))
	}
	return []byte(text), nil
}

func protobufOf(text []byte) ([]byte, error) {
	obj, err := decodeJSON(text)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = protobuf.NewSerializer(protobufScheme, protobufScheme).Encode(obj, &b)
	return b.Bytes(), err
}

// readAnswer reads the body, or as many events as there are to be.
func readAnswer(response *http.Response, events int) ([]byte, error) {
	if events == 0 {
		return io.ReadAll(response.Body)
	}
	var body bytes.Buffer
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/vnd.kubernetes.protobuf") {
		for range events {
			var size [4]byte
			if _, err := io.ReadFull(response.Body, size[:]); err != nil {
				return body.Bytes(), err
			}
			body.Write(size[:])
			if _, err := io.CopyN(&body, response.Body, int64(binary.BigEndian.Uint32(size[:]))); err != nil {
				return body.Bytes(), err
			}
		}
		return body.Bytes(), nil
	}
	decoder := json.NewDecoder(io.TeeReader(response.Body, &body))
	for range events {
		var event json.RawMessage
		if err := decoder.Decode(&event); err != nil {
			return body.Bytes(), err
		}
	}
	rest, _ := io.ReadAll(decoder.Buffered())
	return append(body.Bytes()[:decoder.InputOffset()], rest[:min(1, len(rest))]...), nil
}
