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
	// rowsTogether is how many objects are decoded at a time to make rows of them.
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
	t := &tableWriter{api: a, call: c, out: out, options: options}
	defer boundWrites(ctx, c.Writer)()
	for records := range slices.Chunk(p.records(), rowsTogether) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.add(ctx, p, records); err != nil {
			return err
		}
	}
	t.end()
	return nil
}

// tableWriter makes the rows of a large table, and writes them.
type tableWriter struct {
	api     *API
	call    *Call
	out     wire.Output
	options *metav1.TableOptions
	head    []byte
	rows    []part // that have not been written
	size    int    // of rows
	writer  *listWriter
}

// add makes rows of records, and writes those before them once there are many.
func (t *tableWriter) add(ctx context.Context, p *page, records []*state.Record) error {
	list, err := p.list(t.call, records)
	if err != nil {
		return err
	}
	table, err := tableOf(ctx, t.call, t.out, list, t.options)
	if err != nil {
		return err
	}
	if t.head == nil {
		if t.head, err = tableHead(table); err != nil {
			return err
		}
	}
	rows, err := json.Marshal(table.Rows)
	if err != nil {
		return err
	}
	rows[len(rows)-1] = ','
	if t.size+len(rows) > rowsHeld {
		t.write(-1, false)
	}
	t.rows = append(t.rows, part{joined: rows[1:]})
	t.size += len(rows) - 1
	return nil
}

// tableHead is what comes before the rows.
func tableHead(table *metav1.Table) ([]byte, error) {
	empty := *table
	empty.Rows = []metav1.TableRow{}
	b, err := json.Marshal(&empty)
	if err != nil {
		return nil, err
	}
	return b[:len(b)-len("]}")], nil
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
