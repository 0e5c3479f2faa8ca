package verb

import (
	"context"
	"encoding/json"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/wire"
)

const (
	// rowsTogether is how many rows are made in one piece; no span has more records.
	rowsTogether = 64
	// rowsHeld is how many bytes are made for rows, other than what is kept anyway, before the answer begins: until then an
	// object that cannot be decoded is a proper error, afterwards it breaks the answer off.
	rowsHeld = 4 << 20
	// rowsWritten is how many bytes of rows are put together to be written.
	rowsWritten = 128 << 10
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
	t := &tableWriter{call: c, out: out, options: options, page: p, now: time.Now(), times: times{}}
	if err := t.begin(ctx, p.spans[0].Records[:1]); err != nil {
		return err
	}
	addRows, err := t.rowMaker(ctx, a.keptPlain())
	if err != nil {
		return err
	}
	defer boundWrites(ctx, c.Writer)()
	for _, span := range p.spans {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := addRows(ctx, span); err != nil {
			return err
		}
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
	now     time.Time // for ages
	times   times
	head    []byte
	rows    []tableRow // that have not been written
	size    int        // of rows, in bytes
	held    int        // of that, what was made or unpacked for this answer
	writer  *listWriter

	together    []byte   // rows in one piece
	used, spare [][]byte // what rows were unpacked into, with rows that have not been written and without
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

// add takes a row, which holds as many bytes that were made for it. Those before it are written once they hold much.
func (t *tableWriter) add(row tableRow, held int) {
	if t.held+held > rowsHeld {
		t.write(-1, false)
	}
	t.rows = append(t.rows, row)
	t.size += row.size()
	t.held += held
}

// write writes the rows that are there; size is that of all rows, -1 when more will come.
func (t *tableWriter) write(size int, last bool) {
	if t.writer == nil {
		t.writer = newListWriter(t.call.Writer, t.out, t.head, []byte("]}\n"), size)
	}
	together := t.together[:0]
	for i := range t.rows {
		last := last && i == len(t.rows)-1
		if cap(together) == 0 {
			together = make([]byte, 0, max(rowsWritten, t.rows[i].size()))
		}
		together = t.rows[i].appendTo(together)
		if last || i == len(t.rows)-1 || len(together)+t.rows[i+1].size() > cap(together) {
			t.writer.framed(together, last)
			together = together[:0]
		}
	}
	clear(t.rows)
	t.together = together
	t.spare, t.used = append(t.spare, t.used...), t.used[:0]
	t.rows, t.size, t.held = t.rows[:0], 0, 0
}

func (t *tableWriter) end() {
	t.write(t.size-1, true)
	t.writer.end()
}
