package verb

import (
	"encoding/json"
	"math/rand"
	"reflect"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"github.com/kayak-k8s/kayak/internal/quickjson"
)

// randomDocument is an object with few names, so that documents have something in common.
func randomDocument(r *rand.Rand, depth int, nulls bool) map[string]any {
	document := map[string]any{}
	for range r.Intn(4) {
		document[string(rune('a'+r.Intn(3)))] = randomValue(r, depth-1, nulls)
	}
	return document
}

func randomValue(r *rand.Rand, depth int, nulls bool) any {
	switch n := r.Intn(7); {
	case n < 3 && depth > 0:
		return randomDocument(r, depth, nulls)
	case n == 3 && depth > 0:
		return []any{randomValue(r, depth-1, nulls), randomDocument(r, depth, nulls)}
	case n == 4 && nulls:
		return nil
	case n == 5:
		return "text"
	}
	return r.Int63n(5)
}

// What is merged without the library is what it makes of it.
func TestMergeMaps(t *testing.T) {
	t.Parallel()
	merged := 0
	for seed := range int64(3000) {
		r := rand.New(rand.NewSource(seed))
		document, err := json.Marshal(randomDocument(r, 4, true))
		if err != nil {
			t.Fatal(err)
		}
		patch, err := json.Marshal(randomDocument(r, 4, seed%4 == 0))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := quickjson.UnmarshalMap(document)
		by, ok := quickjson.UnmarshalMap(patch)
		if !ok || hasNull(by) {
			continue
		}
		mergeMaps(got, by)
		merged++
		text, err := jsonpatch.MergePatch(document, patch)
		if err != nil {
			t.Fatal(err)
		}
		if want, _ := quickjson.UnmarshalMap(text); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s patched with %s is %v, not %s", document, patch, got, text)
		}
	}
	if merged < 1000 {
		t.Errorf("only %d documents were merged", merged)
	}
}
