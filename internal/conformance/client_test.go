package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/kayak-k8s/kayak"
)

const (
	jsonType     = "application/json"
	yamlType     = "application/yaml"
	protobufType = "application/vnd.kubernetes.protobuf"
)

// object is a JSON object.
type object = map[string]any

// sample is an entry of objects.yaml.
type sample struct {
	Object object `json:"object"`
	Change object `json:"change"`
	Status object `json:"status"`
}

// samples are the entries by "apiVersion/kind", with their namespace filled in.
func samples(t *testing.T, namespace string) map[string]sample {
	t.Helper()
	text, err := os.ReadFile("testdata/objects.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var list []sample
	if err := yaml.UnmarshalStrict([]byte(strings.ReplaceAll(string(text), "${ns}", namespace)), &list); err != nil {
		t.Fatal(err)
	}
	byKind := map[string]sample{}
	for _, s := range list {
		byKind[s.Object["apiVersion"].(string)+"/"+s.Object["kind"].(string)] = s
	}
	return byKind
}

// startServer runs a server that serves everything, until the test ends.
func startServer(t *testing.T, config kayak.Config) *client {
	t.Helper()
	config.RuntimeConfig = map[string]string{"api/all": "true"}
	config.Controllers = []string{} // a test has the objects to itself
	server, err := kayak.New(config)
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
	config2 := server.RESTConfig()
	transport, err := rest.TransportFor(config2)
	if err != nil {
		t.Fatal(err)
	}
	return &client{http: &http.Client{Transport: transport}, config: config2}
}

type client struct {
	http   *http.Client
	config *rest.Config
}

// send makes a request and returns status and body.
func (c *client) send(t *testing.T, method, path, contentType, accept string, body []byte) (int, []byte) {
	t.Helper()
	response := c.open(t, t.Context(), method, path, contentType, accept, body)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, answer
}

func (c *client) open(t *testing.T, ctx context.Context, method, path, contentType, accept string, body []byte) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, c.config.Host+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Accept", accept)
	response, err := c.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// must is a request in JSON that has to succeed; the answer is JSON.
func (c *client) must(t *testing.T, method, path, contentType string, body any) object {
	t.Helper()
	var raw []byte
	if body != nil {
		raw = toJSON(t, body)
	}
	return decodeJSON(t, c.mustSend(t, method, path, contentType, jsonType, raw))
}

func (c *client) mustSend(t *testing.T, method, path, contentType, accept string, body []byte) []byte {
	t.Helper()
	code, answer := c.send(t, method, path, contentType, accept, body)
	if code >= 300 {
		t.Fatalf("%s %s (%s): %d %s", method, path, contentType, code, answer)
	}
	return answer
}

func toJSON(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func decodeJSON(t *testing.T, raw []byte) object {
	t.Helper()
	var o object
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&o); err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	return o
}
