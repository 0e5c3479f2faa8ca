package verb_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store"
)

// TestStoredItems: what is listed and watched as protobuf is the same, to the byte, whether it is taken from what is stored as it stands
// there, or read, as it is by a server that has not written it: alone, in lists and in events, kept or not.
func TestStoredItems(t *testing.T) {
	t.Parallel()
	for _, budget := range []int64{1, 64 << 20} {
		t.Run(fmt.Sprint(budget), func(t *testing.T) {
			t.Parallel()
			var backend store.Store
			small := func(o *state.Options) { o.EncodingBytes = budget }
			writer := newFixture(t, func(s store.Store) store.Store { backend = s; return s }, small)
			reader := newFixture(t, func(store.Store) store.Store { return backend }, small)
			const services = "/api/v1/namespaces/default/services"
			writer.must(t, "POST", services, `{"metadata":{"name":"a"},"spec":{"ports":[{"port":80}]}}`)
			const pods, configMaps = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/configmaps"
			for i := range 200 {
				writer.must(t, "POST", pods, fmt.Sprintf(`{"metadata":{"name":"p%03d"},"spec":{"containers":[{"name":"a","image":"b","resources":{"limits":{"cpu":"1.0"}}}]}}`, i))
				writer.must(t, "POST", configMaps, fmt.Sprintf(`{"metadata":{"name":"c%03d"},"data":{"a":"\u0000<&>"},"binaryData":{"b":"YQ=="}}`, i))
			}
			writer.must(t, "PUT", configMaps+"/c007", `{"metadata":{"name":"c007","labels":{}},"data":{"a":"changed"}}`)
			writer.must(t, "DELETE", configMaps+"/c008", "")
			writer.catchUp(t)
			if stored := writer.storedAsRead(t, "pods") + writer.storedAsRead(t, "configmaps"); stored < 300 {
				t.Fatalf("only %d of 399 objects are read as they are stored", stored)
			}
			if writer.storedAsRead(t, "services") != 0 {
				t.Error("reading a service may add to it")
			}
			reader.catchUp(t)
			if reader.storedAsRead(t, "pods") != 0 {
				t.Error("nobody has looked at what is stored")
			}
			for _, path := range []string{
				pods, pods + "?limit=3", pods + "/p005", configMaps, configMaps + "/c007", services,
				configMaps + "?watch=1&resourceVersion=1&timeoutSeconds=1", pods + watchList,
			} {
				t.Run(path, func(t *testing.T) {
					t.Parallel()
					want, _ := reader.fetch(t, path, acceptProtobuf, false)
					got, _ := writer.fetch(t, path, acceptProtobuf, false)
					if len(got) < 100 || !bytes.Equal(got, want) {
						t.Errorf("from what is stored\n%.300q\nread\n%.300q", got, want)
					}
				})
			}
		})
	}
}

// storedAsRead counts the objects of a kind that are read as they are stored.
func (f *fixture) storedAsRead(t *testing.T, resource string) (count int) {
	t.Helper()
	i := slices.IndexFunc(f.table.Kinds(), func(k *kind.Kind) bool { return k.Group == "" && k.Resource == resource })
	f.State.Snapshot().Ascend(f.table.Kinds()[i].KeyPrefix(root, ""), "", func(record *state.Record) bool {
		if record.AsStored() {
			count++
		}
		return true
	})
	return count
}
