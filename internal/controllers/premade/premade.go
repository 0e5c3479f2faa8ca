// Package premade has the objects that every cluster has and that are the same in all of them, encoded as they are stored: the
// system namespaces, the default roles and bindings, flow control's objects, the priority classes, the APIServices of built-in APIs.
// About two hundred; to make them anew would be most of the work of a first start.
//
// What differs from one cluster to the next are UIDs and times. Where these are in the encoded form, an [Object] has holes: [Object.Fill]
// fills them, [Object.Matches] says whether a stored value is nothing but the object with its holes filled. So a start on an empty
// store writes ready bytes, and a later one compares bytes; only what is otherwise than made has to be decoded.
//
// The objects are in a file, which a test of package controllers (TestPremade) compares with what the controllers make without it,
// and writes anew when it is told to:
//
//	go test ./internal/controllers -run TestPremade -rewrite
package premade

import (
	"bytes"
	_ "embed" // for the objects
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:embed objects.bin
var file []byte

// UID and Time stand in the encoded objects where a cluster's own are to be. Both are as long as any other: a UID has 36 bytes, and
// seconds have five in protobuf, from 1978 to 3058. Where objects are stored as JSON, times are text.
const (
	UID  = "premade0-0000-4000-8000-000000000000"
	Time = 1234567890
)

// Object is one of them. It never changes.
type Object struct {
	// Key is the key it is stored at, without the root.
	Key   string
	value []byte
	// holes are in the order of their places.
	holes []hole
}

// hole is where something stands that differs.
type hole struct {
	at, size int
	of       form
}

// form is what is to be in a hole.
type form int

const (
	uidText form = iota
	timeProtobuf
	timeText
)

func (f form) fill(uid string, now time.Time) []byte {
	switch f {
	case uidText:
		return []byte(uid)
	case timeProtobuf:
		return seconds(now.Unix())
	}
	return now.UTC().AppendFormat(nil, time.RFC3339)
}

// Set is a number of objects, in the order of their keys.
type Set struct{ objects []*Object }

// Default are the objects of this version of Kubernetes.
var Default = sync.OnceValue(func() *Set {
	set, err := Parse(file)
	if err != nil {
		panic(err) // it is part of the program, and there is a test
	}
	return set
})

// New makes an object of a stored value that has UID and Time in it.
func New(key string, value []byte) *Object {
	o := &Object{Key: key, value: value}
	for _, of := range []form{uidText, timeProtobuf, timeText} {
		pattern := of.fill(UID, time.Unix(Time, 0))
		for _, at := range all(value, pattern) {
			o.holes = append(o.holes, hole{at, len(pattern), of})
		}
	}
	slices.SortFunc(o.holes, func(a, b hole) int { return a.at - b.at })
	return o
}

// seconds is the first field of metav1.Timestamp.
func seconds(unix int64) []byte { return binary.AppendUvarint([]byte{1 << 3}, uint64(unix)) }

func all(data, pattern []byte) (places []int) {
	for from := 0; ; {
		i := bytes.Index(data[from:], pattern)
		if i < 0 {
			return places
		}
		places = append(places, from+i)
		from += i + len(pattern)
	}
}

// Fill returns the value of the object in a cluster. The UID has 36 bytes.
func (o *Object) Fill(uid string, now time.Time) []byte {
	value := bytes.Clone(o.value)
	for _, h := range o.holes {
		copy(value[h.at:h.at+h.size], h.of.fill(uid, now))
	}
	return value
}

// Matches reports whether a stored value is the object as Fill makes it. It may say no where only the encoding differs.
func (o *Object) Matches(value []byte) bool {
	if len(value) != len(o.value) {
		return false
	}
	from := 0
	for _, h := range o.holes {
		if !bytes.Equal(value[from:h.at], o.value[from:h.at]) {
			return false
		}
		from = h.at + h.size
	}
	return bytes.Equal(value[from:], o.value[from:])
}

// Under returns the objects whose keys begin with a prefix.
func (s *Set) Under(prefix string) []*Object {
	from, _ := slices.BinarySearchFunc(s.objects, prefix, func(o *Object, prefix string) int { return strings.Compare(o.Key, prefix) })
	to := from
	for to < len(s.objects) && strings.HasPrefix(s.objects[to].Key, prefix) {
		to++
	}
	return s.objects[from:to]
}

// Find returns the object with a key, nil if there is none.
func (s *Set) Find(key string) *Object {
	if list := s.Under(key); len(list) > 0 && list[0].Key == key {
		return list[0]
	}
	return nil
}

// Format is the form of the file: for each object the key and the value, each after its length.
func Format(objects []*Object) (data []byte) {
	for _, o := range objects {
		for _, part := range [][]byte{[]byte(o.Key), o.value} {
			data = append(binary.AppendUvarint(data, uint64(len(part))), part...)
		}
	}
	return data
}

// Parse reads it. The set shares the data's memory.
func Parse(data []byte) (*Set, error) {
	set := &Set{}
	next := func() []byte {
		size, n := binary.Uvarint(data)
		if n <= 0 || size > uint64(len(data)-n) {
			data = nil
			return nil
		}
		part := data[n : n+int(size) : n+int(size)]
		data = data[n+int(size):]
		return part
	}
	for len(data) > 0 {
		key, value := next(), next()
		if len(key) == 0 || len(value) == 0 {
			return nil, fmt.Errorf("the premade objects are cut off after %d", len(set.objects))
		}
		set.objects = append(set.objects, New(string(key), value))
	}
	return set, nil
}
