package premade

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestHoles(t *testing.T) {
	t.Parallel()
	const uid = "01234567-89ab-4def-8123-456789abcdef"
	now := time.Unix(1800000000, 0)
	for name, parts := range map[string][]string{
		"none":          {"just text"},
		"one of each":   {"a", UID, "b", string(seconds(Time)), "c"},
		"time first":    {string(seconds(Time)), "b", UID},
		"side by side":  {UID, string(seconds(Time)), string(seconds(Time))},
		"as text":       {"a", UID, "b2009-02-13T23:31:30Z", "c"},
		"several times": {"a", UID, "b", string(seconds(Time)), "c", string(seconds(Time)), "d"},
	} {
		text := strings.Join(parts, "")
		o := New("key", []byte(text))
		filled := o.Fill(uid, now)
		want := strings.NewReplacer(UID, uid, string(seconds(Time)), string(seconds(now.Unix())), "2009-02-13T23:31:30Z", "2027-01-15T08:00:00Z").Replace(text)
		if string(filled) != want {
			t.Errorf("%s: filled %q, want %q", name, filled, want)
		}
		if !o.Matches(filled) {
			t.Errorf("%s: what was filled does not match", name)
		}
		holes := 0
		for _, pattern := range []string{UID, string(seconds(Time)), "2009-02-13T23:31:30Z"} {
			holes += strings.Count(text, pattern) * len(pattern)
		}
		differing := 0
		for i := range filled {
			other := bytes.Clone(filled)
			other[i]++
			if !o.Matches(other) {
				differing++
			}
		}
		if differing != len(text)-holes {
			t.Errorf("%s: %d of %d bytes outside of holes make a difference", name, differing, len(text)-holes)
		}
		if o.Matches(append(filled, 0)) || len(filled) > 0 && o.Matches(filled[1:]) {
			t.Errorf("%s: something longer or shorter matches", name)
		}
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	data := Format([]*Object{New("a/1", []byte("one")), New("b/1", []byte("two")), New("b/2", bytes.Repeat([]byte("x"), 300))})
	set, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if got := set.Under("b/"); len(got) != 2 || got[0].Key != "b/1" || len(got[1].Fill(UID, time.Now())) != 300 {
		t.Errorf("under b/ are %v", got)
	}
	if got := set.Under("c"); len(got) != 0 {
		t.Errorf("under c are %v", got)
	}
	for cut := 1; cut < len(data); cut++ {
		if set, err := Parse(data[:cut]); err == nil && len(set.objects) == 3 {
			t.Errorf("%d of %d bytes were taken for all", cut, len(data))
		}
	}
}
