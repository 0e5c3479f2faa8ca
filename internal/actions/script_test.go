package actions

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The script in testdata/script.txt is sent to a real kube-apiserver with -record, and what it answers is written to
// testdata/answers.json; otherwise it is sent to a fixture, which must answer the same:
//
//	go test ./internal/actions -run TestScript -record https://127.0.0.1:6443 -cacert CA -cert CERT -key KEY
//
// The real server must run without the admission plugin ServiceAccount. A request is a line "METHOD PATH", with the body behind
// "|"; one that begins with "= NAME:" is compared, any other must succeed. "save VAR FIELD" keeps a field of the last answer's
// metadata, for ${VAR} in later lines. ${ns} is the namespace, ${x} the end of the names of objects without one.
var (
	record = flag.String("record", "", "URL of a kube-apiserver whose answers are to be recorded")
	caFile = flag.String("cacert", "", "its authority")
	cert   = flag.String("cert", "", "a client certificate of group system:masters")
	key    = flag.String("key", "", "the certificate's key")
)

type answer struct {
	Code int
	Body json.RawMessage
}

const answersFile = "testdata/answers.json"

func TestScript(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("testdata/script.txt")
	if err != nil {
		t.Fatal(err)
	}
	if *record != "" {
		answers := play(t, string(script), remote(t))
		text, err := json.MarshalIndent(answers, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(answersFile, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	recorded, err := os.ReadFile(answersFile)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]answer
	if err := json.Unmarshal(recorded, &want); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, TokenOptions{})
	got := play(t, string(script), func(method, path, body string) (int, []byte) {
		w := f.do(t.Context(), method, path, body)
		return w.Code, w.Body.Bytes()
	})
	if len(got) != len(want) {
		t.Errorf("%d answers are recorded, for %d requests", len(want), len(got))
	}
	for name, w := range want {
		g := got[name]
		if g.Code != w.Code {
			t.Errorf("%s: %d, want %d", name, g.Code, w.Code)
		}
		if diff := cmp.Diff(plain(t, w.Body), plain(t, g.Body)); diff != "" {
			t.Errorf("%s (- kube-apiserver, + kayak)\n%s", name, diff)
		}
	}
}

func plain(t *testing.T, text []byte) (value any) {
	t.Helper()
	if len(text) > 0 {
		if err := json.Unmarshal(text, &value); err != nil {
			t.Fatal(err)
		}
	}
	return value
}

// play sends the script and returns the answers that are compared, masked.
func play(t *testing.T, script string, send func(method, path, body string) (int, []byte)) map[string]answer {
	t.Helper()
	letters := make([]byte, 6)
	for i := range letters {
		letters[i] = byte('g' + rand.IntN(16))
	}
	vars := []string{"${ns}", "a-" + string(letters), "${x}", string(letters)}
	answers := map[string]answer{}
	var last []byte
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(strings.NewReplacer(vars...).Replace(line))
		if line == "" || line[0] == '#' {
			continue
		}
		if words := strings.Fields(line); words[0] == "save" {
			var obj struct{ Metadata map[string]any }
			if err := json.Unmarshal(last, &obj); err != nil {
				t.Fatal(err)
			}
			vars = append(vars, "${"+words[1]+"}", obj.Metadata[words[2]].(string))
			continue
		}
		name, isCase := "", false
		if name, isCase = strings.CutPrefix(line, "= "); isCase {
			name, line, _ = strings.Cut(name, ": ")
		}
		head, body, _ := strings.Cut(line, " | ")
		method, path, _ := strings.Cut(head, " ")
		var code int
		code, last = send(method, path, body)
		if isCase {
			if _, twice := answers[name]; twice {
				t.Fatalf("there are two of %s", name)
			}
			answers[name] = answer{code, masked(last, string(letters))}
		} else if code >= 300 {
			t.Fatalf("%s: %d %s", line, code, last)
		}
	}
	return answers
}

var masks = [][2]string{
	{`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`, "<uid>"},
	{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, "<time>"},
	{`"token": ?"ey[^"]*"`, `"token":"<token>"`},
	{`((?:ResourceVersion in record \(|ResourceVersion in object meta: ))\d+`, "$1<rv>"},
	{`"resourceVersion": ?"\d+"`, `"resourceVersion":"<rv>"`},
	{`,"managedFields":\[[^\]]*\]`, ""},
}

func masked(body []byte, letters string) []byte {
	text := strings.ReplaceAll(string(body), letters, "<x>")
	for _, mask := range masks {
		text = regexp.MustCompile(mask[0]).ReplaceAllString(text, mask[1])
	}
	return []byte(text)
}

// remote sends to the real server.
func remote(t *testing.T) func(method, path, body string) (int, []byte) {
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(*caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}}}
	return func(method, path, body string) (int, []byte) {
		r, err := http.NewRequestWithContext(t.Context(), method, *record+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if method == http.MethodPatch {
			r.Header.Set("Content-Type", "application/merge-patch+json")
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, answer
	}
}
