package verb

import (
	"context"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	operator "k8s.io/apimachinery/pkg/selection"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// futureWait is how long a read waits for a resourceVersion that is not there yet (upstream's blockTimeout).
const futureWait = 3 * time.Second

// snapshot returns what a read with the given resourceVersion may see: "" the newest, "0" whatever is at hand, N nothing
// older than N.
func (a *API) snapshot(ctx context.Context, revision int64, any bool) (*state.Snapshot, error) {
	switch {
	case any:
		if a.State.Snapshot().Revision() == 0 { // nothing is loaded yet
			if err := a.State.WaitSynced(ctx); err != nil {
				return nil, err
			}
		}
		return a.State.Snapshot(), nil
	case revision == 0:
		return a.State.Consistent(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, futureWait)
	defer cancel()
	return a.State.AtLeast(ctx, revision)
}

// parseRevision reads a resourceVersion; any is set for "0".
func parseRevision(resourceVersion string) (revision int64, any bool, err error) {
	if resourceVersion == "" {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(resourceVersion, 10, 63)
	if err != nil {
		return 0, false, err
	}
	return int64(n), n == 0, nil
}

// item returns the record's object as it stands in a list of the resource's version, made at most once per record.
func item(r *kind.Resource, record *state.Record, media wire.Media) ([]byte, error) {
	protobuf := media == wire.Protobuf
	return record.Encoding(r.ItemID(protobuf), func() ([]byte, error) { return encodeItem(r, record, protobuf) })
}

// encodeItem makes the item of a record.
func encodeItem(r *kind.Resource, record *state.Record, protobuf bool) ([]byte, error) {
	value := record.Value()
	if protobuf {
		if item := appendStored(nil, r, record, value); item != nil {
			return item, nil
		}
	}
	obj, err := decodeValue(r.Kind, record, value)
	if err != nil {
		return nil, err
	}
	return r.EncodeItem(obj, protobuf)
}

// decode returns the record's object in the hub version; it is the caller's to change.
func decode(k *kind.Kind, record *state.Record) (runtime.Object, error) {
	return decodeValue(k, record, record.Value())
}

func decodeValue(k *kind.Kind, record *state.Record, value []byte) (runtime.Object, error) {
	obj, err := k.Decode(value, record.Revision)
	if err != nil {
		return nil, &undecodable{record.Revision, err}
	}
	return obj, nil
}

// selection is what a list or watch wants to see.
type selection struct {
	labels labels.Selector // nil for everything
	fields fields.Selector // nil for everything
	// name is the one object that can match, "" when there is no such limit.
	name string
	// namespace is the one namespace in which something can match, "" when there is no such limit.
	namespace string
	// namespaced says that the objects have namespaces.
	namespaced bool
}

// within returns the prefix of the keys that can match, and whether name completes it to the one key that can.
func (s *selection) within(r *kind.Resource, root string) (prefix string, exact bool) {
	return r.KeyPrefix(root, s.namespace), s.name != "" && (s.namespace != "" || !r.Namespaced)
}

func (s *selection) everything() bool { return s.labels == nil && s.fields == nil }

// term returns a condition that all records that match meet, by which the state can find them; nil when there is none. A
// selector whose value is empty is not one: fields that are not there match it.
func (s *selection) term() *state.Term {
	if s.labels != nil {
		requirements, _ := s.labels.Requirements()
		for _, r := range requirements {
			switch r.Operator() {
			case operator.Equals, operator.DoubleEquals, operator.In:
				return &state.Term{Key: r.Key(), Values: r.ValuesUnsorted()}
			}
		}
	}
	if s.fields == nil {
		return nil
	}
	for _, r := range s.fields.Requirements() {
		equal := r.Operator == operator.Equals || r.Operator == operator.DoubleEquals
		if equal && r.Value != "" && r.Field != "metadata.name" && r.Field != "metadata.namespace" {
			return &state.Term{Field: true, Key: r.Field, Values: []string{r.Value}}
		}
	}
	return nil
}

func (s *selection) matches(record *state.Record) bool {
	if record == nil {
		return false
	}
	if s.everything() {
		return true
	}
	header := record.Header()
	if s.labels != nil && !s.labels.Matches(&header.Labels) { // a pointer: a Set itself would have to be allocated
		return false
	}
	return s.fields == nil || s.fields.Matches(&recordFields{record, header, s.namespaced})
}

// recordFields is a record as field selectors see it: the fields of its header, and the name and namespace in its key.
type recordFields struct {
	record     *state.Record
	header     *state.Header
	namespaced bool
}

func (f recordFields) Has(field string) bool {
	return field == "metadata.name" || field == "metadata.namespace" || f.header.Fields.Has(field)
}

func (f recordFields) Get(field string) string {
	switch field {
	case "metadata.name":
		_, name := splitKey(f.record.Key)
		return name
	case "metadata.namespace":
		if !f.namespaced {
			return ""
		}
		namespace, _ := splitKey(f.record.Key)
		return namespace
	}
	return f.header.Fields.Get(field)
}

// splitKey returns the last two segments of a key: namespace and name of a namespaced object.
func splitKey(key string) (namespace, name string) {
	end := lastSlash(key)
	name = key[end+1:]
	if end < 0 {
		return "", name
	}
	rest := key[:end]
	return rest[lastSlash(rest)+1:], name
}

func lastSlash(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '/' {
			return i
		}
	}
	return -1
}
