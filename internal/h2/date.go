package h2

import (
	"net/http"
	"sync/atomic"
	"time"
)

// date is the time as answers have it, worked out once a second.
type date struct{ last atomic.Pointer[dated] }

type dated struct {
	second int64
	text   string
}

func (d *date) at(now time.Time) string {
	second := now.Unix()
	if last := d.last.Load(); last != nil && last.second == second {
		return last.text
	}
	text := now.UTC().Format(http.TimeFormat)
	d.last.Store(&dated{second, text})
	return text
}
