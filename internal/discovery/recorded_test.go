package discovery

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/kayak-k8s/kayak/internal/kind/builtin"
	"github.com/kayak-k8s/kayak/internal/runtimeconfig"
)

// The files in testdata are the aggregated documents of a kube-apiserver v1.37.2 in its default configuration, with
// --runtime-config=api/beta=true and with api/all=true, as they came, compressed with gzip -9n. (What more there is with feature
// gates, upstream's golden documents show.)
func TestAsRecorded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		path, file string
		values     map[string]string
		betas      bool
	}{
		{"/api", "default.api", nil, false},
		{"/apis", "default.apis", nil, false},
		{"/apis", "beta.apis", map[string]string{"api/beta": "true"}, false},
		{"/apis", "beta.apis", nil, true},
		{"/apis", "all.apis", map[string]string{"api/all": "true"}, false},
	} {
		config, err := runtimeconfig.Parse(test.values, test.betas, builtin.Schemes()...)
		if err != nil {
			t.Fatal(err)
		}
		h := New(builtinTable(t).Select(config.Enabled), Options{ServerAddress: address})
		same(t, test.path+" "+test.file, parse(t, recorded(t, test.file)), parse(t, get(t, h, test.path, "Accept", aggregatedType).Body.Bytes()))
	}
}

func recorded(t *testing.T, name string) []byte {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", name+".json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
