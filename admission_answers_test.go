package kayak_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/kayak-k8s/kayak"
)

// To record the answers again, start a kube-apiserver on an empty etcd with --disable-admission-plugins=ServiceAccount and a token of
// admin, who is in system:masters.
var (
	recordAdmission      = flag.String("record-admission", "", "URL of a kube-apiserver whose answers to record in testdata/admission")
	recordAdmissionToken = flag.String("record-admission-token", "", "token for it")
)

// What webhooks are asked, and what becomes of what they and policies say, is what it is with kube-apiserver: recorded answers, in
// testdata/admission, to the letter.
//
// A file has requests, each "=== METHOD PATH [TYPE] [show]" and a body, and after "---" the answer: its code, its body if it is an error
// or to be shown, its warnings, and what webhooks were asked meanwhile.
func TestAdmissionAnswersAreUpstreams(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/admission/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no recordings", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			if *recordAdmission == "" {
				t.Parallel()
			}
			before, err := os.ReadFile(file) //nolint:gosec // one of ours
			if err != nil {
				t.Fatal(err)
			}
			after := newAnswers(t).replay(t, string(before))
			if *recordAdmission == "" {
				if diff := cmp.Diff(strings.Split(string(before), "\n"), strings.Split(after, "\n")); diff != "" {
					t.Errorf("the answers (- kube-apiserver, + kayak)\n%s", diff)
				}
			} else if err := os.WriteFile(file, []byte(after), 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// answers asks a server, and is its webhook.
type answers struct {
	url    string
	client *http.Client
	hook   *httptest.Server
	// pause is how long a server needs until a configuration is in force; kayak needs none.
	pause time.Duration

	mu    sync.Mutex
	asked []string
}

func newAnswers(t *testing.T) *answers {
	t.Helper()
	a := &answers{}
	a.hook = httptest.NewUnstartedServer(http.HandlerFunc(a.review))
	a.hook.Config.ErrorLog = nil
	a.hook.StartTLS()
	t.Cleanup(a.hook.Close)
	config := &rest.Config{
		Host: *recordAdmission, BearerToken: *recordAdmissionToken, TLSClientConfig: rest.TLSClientConfig{Insecure: true},
	}
	if *recordAdmission != "" {
		a.pause = 1500 * time.Millisecond
	} else {
		var err error
		if config, err = start(t, kayak.Config{}).RESTConfigFor("admin", "system:masters"); err != nil {
			t.Fatal(err)
		}
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	a.url, a.client = config.Host, &http.Client{Transport: transport}
	return a
}

// replay sends the requests of a text, and returns it with the answers.
func (a *answers) replay(t *testing.T, text string) string {
	t.Helper()
	var after strings.Builder
	head, requests, _ := strings.Cut(text, "=== ")
	after.WriteString(head)
	for _, request := range strings.Split(requests, "\n=== ") {
		a.catchUp(t)
		request, _, _ = strings.Cut(request, "\n---")
		request = strings.TrimSpace(request)
		line, body, _ := strings.Cut(request, "\n")
		fmt.Fprintf(&after, "=== %s\n--- %s\n", request, a.answer(t, strings.Fields(line), body))
	}
	return after.String()
}

// catchUp reads something as new as the store. A write that begins with something outdated starts over, and webhooks are asked about
// what it was at first, too.
func (a *answers) catchUp(t *testing.T) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.url+"/api/v1/namespaces", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := a.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
}

// answer sends a request.
func (a *answers) answer(t *testing.T, line []string, body string) string {
	t.Helper()
	method, path, media := line[0], line[1], "application/yaml"
	for _, word := range line[2:] {
		switch word {
		case "apply":
			media = "application/apply-patch+yaml"
		case "merge", "json", "strategic-merge":
			media = "application/" + word + "-patch+json"
		}
	}
	for name, value := range map[string]string{
		"$HOOK": a.hook.URL, "$CA": base64.StdEncoding.EncodeToString((&webhook{Server: a.hook}).ca()),
	} {
		body = strings.ReplaceAll(body, name, value)
	}
	content := []byte(body)
	if strings.HasSuffix(media, "json") {
		var err error
		if content, err = yaml.YAMLToJSON(content); err != nil {
			t.Fatal(err)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), method, a.url+path, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", media)
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "test/1")
	response, err := a.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if method != http.MethodGet && strings.Contains(path, "admissionregistration") || strings.Contains(path, "customresourcedefinitions") {
		time.Sleep(a.pause)
	}
	lines := []string{fmt.Sprint(response.StatusCode)}
	if response.StatusCode >= http.StatusBadRequest || slices.Contains(line, "show") {
		lines = append(lines, strings.TrimSpace(string(answer)))
	}
	for _, warning := range response.Header.Values("Warning") {
		lines = append(lines, "Warning: "+warning)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	lines, a.asked = append(lines, a.asked...), nil
	text := strings.Join(lines, "\n")
	for _, mask := range answerMasks {
		text = mask.what.ReplaceAllString(text, mask.by)
	}
	return text
}

// answerMasks stand for what differs from run to run.
var answerMasks = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "<uid>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "<time>"},
	{regexp.MustCompile(`"resourceVersion":"\d+"`), `"resourceVersion":"<rv>"`},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "<host>"},
	{regexp.MustCompile(`gen-[a-z0-9]{5}`), "gen-<name>"},
}

// review answers a webhook's request as its path says, and writes down the requests to /validate and /mutate.
func (a *answers) review(w http.ResponseWriter, r *http.Request) {
	var review struct {
		APIVersion string         `json:"apiVersion"`
		Request    map[string]any `json:"request"`
	}
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if r.URL.Path == "/validate" || r.URL.Path == "/mutate" {
		a.note(r.URL.Path + ": " + inShort(review.Request))
	}
	response := map[string]any{"uid": review.Request["uid"], "allowed": true}
	answer := map[string]any{"apiVersion": review.APIVersion, "kind": "AdmissionReview", "response": response}
	w.Header().Set("Content-Type", "application/json")
	if behave(w, r, answer, response) {
		_ = json.NewEncoder(w).Encode(answer)
	}
}

// note keeps what a webhook was asked, once: a deletion without grace asks about the mark and about the end, and either server asks
// again when an object has changed meanwhile.
func (a *answers) note(line string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Contains(a.asked, line) {
		a.asked = append(a.asked, line)
	}
}

// inShort is what a webhook is asked, without what the objects have.
func inShort(request map[string]any) string {
	short := map[string]any{}
	for name, value := range request {
		switch name {
		case "uid", "userInfo":
		case "object", "oldObject":
			if object, ok := value.(map[string]any); ok {
				value = fmt.Sprint(object["apiVersion"], " ", object["kind"])
			}
			short[name] = value
		default:
			short[name] = value
		}
	}
	text, _ := json.Marshal(short)
	return string(text)
}

// patches are the patches of webhooks, by what their paths end with.
var patches = map[string]string{
	"patch-fits": `[{"op":"add","path":"/data/hook","value":"1"}]`, "patch-missing": `[{"op":"replace","path":"/data/nope/x","value":"1"}]`,
	"patch-junk": `junk`, "patch-no-type": `[]`, "patch-other-type": `[]`, "patch-invalid": `[{"op":"add","path":"/data/bad key","value":"1"}]`,
	"patch-unknown": `[{"op":"add","path":"/unknown","value":"1"}]`, "patch-kind": `[{"op":"replace","path":"/kind","value":"Secret"}]`,
	"patch-name": `[{"op":"replace","path":"/metadata/name","value":"other"}]`, "patch-type": `[{"op":"replace","path":"/data","value":"s"}]`,
}

// behave changes a webhook's answer; false when it has been given.
func behave(w http.ResponseWriter, r *http.Request, answer, response map[string]any) bool {
	path := strings.TrimPrefix(r.URL.Path, "/")
	refuse := func(status map[string]any) {
		response["allowed"] = false
		if status != nil {
			response["status"] = status
		}
	}
	if patch := patches[path]; patch != "" {
		response["patch"], response["patchType"] = []byte(patch), "JSONPatch"
	}
	switch path {
	case "patch-no-type":
		delete(response, "patchType")
	case "patch-other-type":
		response["patchType"] = "Other"
	case "deny":
		refuse(nil)
	case "deny-message":
		refuse(map[string]any{"message": "no thanks", "reason": "Because", "code": 400, "details": map[string]any{
			"causes": []any{map[string]any{"field": "x", "message": "y"}},
		}})
	case "deny-success":
		refuse(map[string]any{"message": "no thanks", "status": "Success", "code": 200})
	case "deny-reason":
		refuse(map[string]any{"reason": "TooMuch"})
	case "uid":
		response["uid"] = "other"
	case "kind":
		answer["kind"] = "Other"
	case "version":
		answer["apiVersion"] = "admission.k8s.io/v9"
	case "older":
		answer["apiVersion"] = "admission.k8s.io/v1beta1"
	case "nothing":
		delete(answer, "response")
	case "warn":
		response["warnings"] = []string{"careful", "café \"q\" \\", strings.Repeat("long ", 100), "", "two\nlines"}
	case "annotate":
		response["auditAnnotations"] = map[string]string{"a": "b", "bad key!": "c"}
	case "hang":
		<-r.Context().Done()
		return false
	default:
		return misbehave(w, r, path)
	}
	return true
}

// misbehave is no answer at all, for some paths.
func misbehave(w http.ResponseWriter, r *http.Request, path string) bool {
	switch path {
	case "error":
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, "oops")
	case "absent":
		http.NotFound(w, r)
	case "garbage":
		_, _ = io.WriteString(w, "{garbage")
	case "html":
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>hello</html>")
	case "hang-up":
		if connection, _, err := w.(http.Hijacker).Hijack(); err == nil {
			_ = connection.(*tls.Conn).Close()
		}
	default:
		return true
	}
	return false
}
