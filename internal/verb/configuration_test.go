package verb

import (
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"
)

var configurationSeeds = []string{
	`{"a":{"b":[1,-2,true,null,"x: y # z"]},"<<":{"c":"yes"},"on":"~"}`, `{"a":1,"a":2}`, `{"a":1e3}`, `{"a":12345678901234567890}`,
	"{\"a\":\t1}", "{\n  \"a\" : \"b\"\n}\n", `{"a":"\u0061"}`, `{"ä":"b"}`, `{"` + strings.Repeat("k", 2000) + `":1}`, `{}`, `null`, `[1]`, `{"a":-0}`,
	`a: b`, `{"a":1}{"b":2}`, `{"a":1} # comment`, `{"---":"..."}`, `{"a":""}`, `{"":"a"}`, "{\"a\":1,\r\n\"b\":2}", `{"a":[[],{}]}`, `{"a":"0x10","b":"1_000"}`,
}

// FuzzPlainConfiguration: what is plain is the same for upstream, which reads it as YAML.
func FuzzPlainConfiguration(f *testing.F) {
	for _, seed := range configurationSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got := plainConfiguration(body)
		if got == nil {
			return
		}
		want := map[string]any{}
		if err := yaml.Unmarshal(body, &want); err != nil {
			t.Fatalf("%q is plain, but as YAML %v", body, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q is %#v, as YAML %#v", body, got, want)
		}
		if err := yaml.UnmarshalStrict(body, &map[string]any{}); err != nil {
			t.Fatalf("%q is plain, but has fields twice: %v", body, err)
		}
	})
}

func TestPlainConfiguration(t *testing.T) {
	t.Parallel()
	var plain []string
	for _, seed := range configurationSeeds {
		if plainConfiguration([]byte(seed)) != nil {
			plain = append(plain, seed)
		}
	}
	want := []string{configurationSeeds[0], configurationSeeds[5], `{}`, `{"a":-0}`, `{"---":"..."}`, `{"a":""}`, `{"":"a"}`, `{"a":[[],{}]}`, `{"a":"0x10","b":"1_000"}`}
	if !reflect.DeepEqual(plain, want) {
		t.Errorf("plain: %q\nwant:  %q", plain, want)
	}
}
