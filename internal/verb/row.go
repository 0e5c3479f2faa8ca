package verb

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"reflect"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// Rows are kept encoded like everything else, but for one thing: they tell how old an object is. So a row is kept in two
// pieces, between which the age is put when it is sent. Whether anything else in a row depends on the time is found out by
// making the row a second time, of an object all of whose times lie further back: what then differs does.

// keptRow is a row without its age and its object: eight bytes with the time of the creation in seconds, four with the length
// of the first piece, and both pieces. A row without an age has no second piece; a row that must be made each time is empty.
type keptRow []byte

const keptRowHeader = 8 + 4

// age is what the row tells about the age at a time, "" when it tells none.
func (k keptRow) age(now time.Time) string {
	if k.split() == len(k) {
		return ""
	}
	return duration.HumanDuration(now.Sub(time.Unix(int64(binary.LittleEndian.Uint64(k)), 0)))
}

// split is where the second piece begins.
func (k keptRow) split() int { return keptRowHeader + int(binary.LittleEndian.Uint32(k[8:])) }

func (k keptRow) appendTo(b []byte, age string) []byte {
	split := k.split()
	b = append(b, k[keptRowHeader:split]...)
	b = append(b, age...)
	return append(b, k[split:]...)
}

// tableRow is a row to be written: kept bytes and what goes between them, or rows that were made for this answer.
type tableRow struct {
	kept   keptRow
	age    string
	object []byte // JSON
	made   []byte // rows, each followed by a comma
}

const (
	beforeObject = `,"object":`
	afterObject  = "},"
)

func (r *tableRow) size() int {
	if r.kept == nil {
		return len(r.made)
	}
	return len(r.kept) - keptRowHeader + len(r.age) + len(beforeObject) + len(r.object) + len(afterObject)
}

func (r *tableRow) appendTo(b []byte) []byte {
	if r.kept == nil {
		return append(b, r.made...)
	}
	b = append(r.kept.appendTo(b, r.age), beforeObject...)
	return append(append(b, r.object...), afterObject...)
}

// rowMaker returns what adds the rows of a span: of what is kept, packed when all rows together take more than keep bytes, or made
// anew.
func (t *tableWriter) rowMaker(ctx context.Context, keep int64) (func(context.Context, state.Span) error, error) {
	object, err := t.objectForm()
	if err != nil {
		return nil, err
	}
	one, err := t.makeRows(ctx, t.page.spans[0].Records[:1])
	if err != nil {
		return nil, err
	}
	if int64(len(one))*int64(t.page.count) > keep {
		return func(ctx context.Context, span state.Span) error {
			if span.Keeps() && t.packs() {
				return t.addPacked(ctx, span, object)
			}
			return t.addMade(ctx, span.Records)
		}, nil
	}
	return func(ctx context.Context, span state.Span) error {
		for _, record := range span.Records {
			if err := t.addKept(ctx, record, object); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// addMade adds rows that are made for this answer.
func (t *tableWriter) addMade(ctx context.Context, records []*state.Record) error {
	rows, err := t.makeRows(ctx, records)
	if err != nil {
		return err
	}
	t.add(tableRow{made: rows}, len(rows))
	return nil
}

// objectForm is the form of the objects in rows, nil for none.
func (t *tableWriter) objectForm() (*form, error) {
	switch t.options.IncludeObject {
	case metav1.IncludeNone:
		return nil, nil
	case metav1.IncludeObject:
		return t.call.form(wire.Output{Media: wire.JSON, Shape: wire.Whole})
	}
	return t.call.form(wire.Output{Media: wire.JSON, Shape: wire.MetadataList, Version: t.out.Version})
}

// addKept adds the row of one record, if it can be kept of what is kept.
func (t *tableWriter) addKept(ctx context.Context, record *state.Record, object *form) error {
	row := tableRow{object: []byte("null")}
	decoded := t.decoder(record) // at most once, for the object and for the row, which changes it
	var err error
	if object != nil {
		row.object, err = record.Encoding(object.id, func() ([]byte, error) { return encodeDecoded(decoded, object.of) })
		if err != nil {
			return err
		}
	}
	row.kept, err = record.Encoding("table/row", func() ([]byte, error) {
		return encodeDecoded(decoded, func(obj runtime.Object) ([]byte, error) { return t.keptRow(ctx, obj) })
	})
	if err != nil {
		return err
	}
	if len(row.kept) == 0 {
		return t.addMade(ctx, []*state.Record{record})
	}
	if row.age = row.kept.age(t.now); object == nil {
		t.add(row, 0)
		return nil
	}
	if t.options.IncludeObject != metav1.IncludeObject {
		t.add(row, 0)
		return nil
	}
	if row.object, err = wire.Object(wire.JSON, t.call.Resource.Frame(), row.object); err != nil {
		return err
	}
	row.object = bytes.TrimSuffix(row.object, []byte("\n"))
	t.add(row, len(row.object))
	return nil
}

// decoder returns a function that decodes a record once.
func (t *tableWriter) decoder(record *state.Record) func() (runtime.Object, error) {
	return sync.OnceValues(func() (runtime.Object, error) { return decode(t.call.Resource.Kind, record) })
}

func encodeDecoded(decoded func() (runtime.Object, error), encode func(runtime.Object) ([]byte, error)) ([]byte, error) {
	obj, err := decoded()
	if err != nil {
		return nil, err
	}
	return encode(obj)
}

// furtherBack is so long that every age looks different with it.
const furtherBack = 3750 * 24 * time.Hour

// keptRow makes a row to keep, an empty one when the row cannot be kept. It changes the object.
func (t *tableWriter) keptRow(ctx context.Context, obj runtime.Object) ([]byte, error) {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	created := accessor.GetCreationTimestamp()
	if _, untyped := obj.(runtime.Unstructured); untyped {
		return nil, nil // its times are mere strings
	}
	before := time.Since(created.Time)
	row, columns, err := t.bareRow(ctx, obj)
	if err != nil || row == nil {
		return nil, err
	}
	after := time.Since(created.Time)
	t.times.shift(reflect.ValueOf(obj), -furtherBack)
	old, _, err := t.bareRow(ctx, obj)
	if err != nil || old == nil || len(old.Cells) != len(row.Cells) || len(columns) != len(row.Cells) {
		return nil, err
	}
	age := -1
	for i := range row.Cells {
		switch {
		case reflect.DeepEqual(row.Cells[i], old.Cells[i]):
		case columns[i].Name == "Age" && (row.Cells[i] == duration.HumanDuration(before) || row.Cells[i] == duration.HumanDuration(after)):
			age = i
		default:
			return nil, nil
		}
	}
	return encodeRow(row, age, created.Unix())
}

// bareRow returns the row of an object, with its columns; nil when its kind's tables are not one row for each object.
func (t *tableWriter) bareRow(ctx context.Context, obj runtime.Object) (*metav1.TableRow, []metav1.TableColumnDefinition, error) {
	list := t.call.Resource.NewList()
	if err := meta.SetList(list, []runtime.Object{obj}); err != nil {
		return nil, nil, err
	}
	table, err := t.call.Resource.Table(ctx, list, &metav1.TableOptions{})
	if err != nil || len(table.Rows) != 1 {
		return nil, nil, err
	}
	return &table.Rows[0], table.ColumnDefinitions, nil
}

// encodeRow encodes a row to keep; age is which cell has the age, -1 for none.
func encodeRow(row *metav1.TableRow, age int, created int64) ([]byte, error) {
	b := binary.LittleEndian.AppendUint64(nil, uint64(created))
	b = append(b, 0, 0, 0, 0)
	mark := func() { binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-keptRowHeader)) }
	b = append(b, `{"cells":[`...)
	for i, cell := range row.Cells {
		if i > 0 {
			b = append(b, ',')
		}
		if i == age {
			b = append(b, '"')
			mark()
			b = append(b, '"')
			continue
		}
		encoded, err := json.Marshal(cell)
		if err != nil {
			return nil, err
		}
		b = append(b, encoded...)
	}
	b = append(b, ']')
	if len(row.Conditions) > 0 {
		encoded, err := json.Marshal(row.Conditions)
		if err != nil {
			return nil, err
		}
		b = append(append(b, `,"conditions":`...), encoded...)
	}
	if age < 0 {
		mark()
	}
	return b, nil
}
