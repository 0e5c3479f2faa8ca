package verb

import (
	"context"
	"encoding/json"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/wire"
)

const (
	// rowsTogether is how many rows are made at a time.
	rowsTogether = 64
	// rowsHeld is how many bytes of rows are made before the answer begins: until then an object that cannot be decoded is a
	// proper error, afterwards it breaks the answer off.
	rowsHeld = 16 << 20
)

// listTable answers with a list as a Table. Its rows are made and written a few at a time.
func (a *API) listTable(ctx context.Context, c *Call, out wire.Output, p *page) error {
	if p.count <= rowsTogether || out.Media != wire.JSON {
		return a.listObjects(ctx, c, out, p)
	}
	options, err := c.tableOptions()
	if err != nil {
		return err
	}
	records := p.records()
	t := &tableWriter{call: c, out: out, options: options, page: p}
	if err := t.begin(ctx, records[:1]); err != nil {
		return err
	}
	rows, err := t.rowMaker(ctx, a.State.EncodingBytes()/2, records)
	if err != nil {
		return err
	}
	defer boundWrites(ctx, c.Writer)()
	for some := range slices.Chunk(records, rowsTogether) {
		if err := ctx.Err(); err != nil {
			return err
		}
		made, err := rows(ctx, some)
		if err != nil {
			return err
		}
		t.add(made)
	}
	t.end()
	return nil
}

// tableWriter makes the rows of a large table, and writes them.
type tableWriter struct {
	call    *Call
	out     wire.Output
	options *metav1.TableOptions
	page    *page
	head    []byte
	rows    []part // that have not been written
	size    int    // of rows
	writer  *listWriter
}

// begin makes what comes before the rows, out of a table of a few records.
func (t *tableWriter) begin(ctx context.Context, records []*state.Record) error {
	table, err := t.table(ctx, records, t.options)
	if err != nil {
		return err
	}
	table.Rows = []metav1.TableRow{}
	b, err := json.Marshal(table)
	if err != nil {
		return err
	}
	t.head = b[:len(b)-len("]}")]
	return nil
}

// table decodes records and makes a table of them.
func (t *tableWriter) table(ctx context.Context, records []*state.Record, options *metav1.TableOptions) (*metav1.Table, error) {
	list, err := t.page.list(t.call, records)
	if err != nil {
		return nil, err
	}
	return tableOf(ctx, t.call, t.out, list, options)
}

// makeRows makes the rows of records anew, each followed by a comma.
func (t *tableWriter) makeRows(ctx context.Context, records []*state.Record) ([]byte, error) {
	table, err := t.table(ctx, records, t.options)
	if err != nil {
		return nil, err
	}
	rows, err := json.Marshal(table.Rows)
	if err != nil {
		return nil, err
	}
	rows[len(rows)-1] = ','
	return rows[1:], nil
}

// add takes rows, and writes those before them once there are many.
func (t *tableWriter) add(rows []byte) {
	if t.size+len(rows) > rowsHeld {
		t.write(-1, false)
	}
	t.rows = append(t.rows, part{joined: rows})
	t.size += len(rows)
}

// write writes the rows that are there; size is that of all rows, -1 when more will come.
func (t *tableWriter) write(size int, last bool) {
	if t.writer == nil {
		t.writer = newListWriter(t.call.Writer, t.out, t.head, []byte("]}\n"), size)
	}
	for i := range t.rows {
		t.writer.part(&t.rows[i], last && i == len(t.rows)-1)
	}
	clear(t.rows)
	t.rows, t.size = t.rows[:0], 0
}

func (t *tableWriter) end() {
	t.write(t.size-1, true)
	t.writer.end()
}
