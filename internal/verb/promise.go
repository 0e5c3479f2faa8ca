package verb

import (
	"bytes"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// What is written is answered with, and those who watch are told of it: the same bytes, which would be encoded twice, and decoded
// from the stored form in between. So where somebody watches in the form of the answer, the answer is encoded before the write,
// with a hole for the resourceVersion that the write will have, and promised to the state. What is stored as protobuf, without
// anything that reading would add to it, is an item already, but for the same hole; the state is told that as well.

// written is the item that an object has been encoded as.
type written struct {
	obj      runtime.Object
	protobuf bool
	bytes    []byte
}

// item returns the item of an object, nil if it has yet to be encoded.
func (w *written) item(obj runtime.Object, media wire.Media) []byte {
	if w.obj == nil || w.obj != obj || w.protobuf != (media == wire.Protobuf) {
		return nil
	}
	return w.bytes
}

// promise is what is known of a write that is under way.
type promise struct {
	obj      runtime.Object
	protobuf bool
	holed    *holed // nil if the answer has not been encoded
	takeBack func()
}

// promise lets the state have what is known of a write: obj is what reading value would give, nil if it has to be read. It returns
// nil where nothing is.
func (a *API) promise(c *Call, key string, value []byte, obj runtime.Object, asStored bool) *promise {
	if obj == nil {
		return nil
	}
	p := &promise{obj: obj}
	of := &state.Promise{Value: value, AsStored: asStored}
	if c != nil {
		of.ID = p.answer(a.State, c, key)
	}
	if p.holed != nil {
		of.Encode = p.holed.with
	} else if !asStored {
		return nil
	}
	p.takeBack = a.State.Promise(key, of)
	return p
}

// answer encodes what the object will be answered as, and returns how that encoding is named, unless nobody else wants it, or the
// answer is something else than what a read would give. Custom resources are left out: to convert one may take asking a webhook.
func (p *promise) answer(s *state.State, c *Call, key string) (id string) {
	if c.answer == nil || c.answer.Shape != wire.Whole || c.face() != c.Resource || c.Sub != nil && c.Sub.View != nil ||
		c.Resource.Custom != nil {
		return ""
	}
	p.protobuf = c.answer.Media == wire.Protobuf
	if id = c.Resource.ItemID(p.protobuf); !s.Wanted(key, id) {
		return ""
	}
	item, err := c.Resource.EncodeItem(p.obj, p.protobuf)
	if err != nil {
		return ""
	}
	p.holed = cutOut(item, p.protobuf)
	return id
}

// encoded reports whether fulfilled leaves an answer.
func (p *promise) encoded() bool { return p != nil && p.holed != nil }

// broken takes the promise back: nothing was written. There need not be one.
func (p *promise) broken() {
	if p != nil {
		p.takeBack()
	}
}

// fulfilled returns the object that was written, and leaves with the call what it has been encoded as.
func (p *promise) fulfilled(c *Call, revision int64) runtime.Object {
	setRevision(p.obj, revision)
	c.written = written{obj: p.obj, protobuf: p.protobuf, bytes: p.holed.with(revision)}
	return p.obj
}

// setRevision gives an object, whose resourceVersion has been set before, another one.
func setRevision(obj runtime.Object, revision int64) {
	if accessor, err := meta.Accessor(obj); err == nil {
		accessor.SetResourceVersion(strconv.FormatInt(revision, 10))
	}
}

// appendStored appends the protobuf item of a record to b, without decoding what is stored in it, which is value. It returns nil if
// that cannot be done.
func appendStored(b []byte, r *kind.Resource, record *state.Record, value []byte) []byte {
	if !record.AsStored() {
		return nil
	}
	if holed := cutOutProtobuf(r.StoredItem(value)); holed != nil {
		return holed.appendTo(b, record.Revision)
	}
	return nil
}

// holed is an encoded item without its resourceVersion.
type holed struct {
	before, after []byte
	// rest is how long the metadata is without the field, where that is said before it; -1 in JSON.
	rest int
}

// cutOut cuts the resourceVersion, which is "0", out of an item; nil if it is not where it should be.
func cutOut(item []byte, protobuf bool) *holed {
	if protobuf {
		return cutOutProtobuf(item)
	}
	// Metadata is the first member of every built-in type, and what comes before the resourceVersion in it are strings: inside of
	// them quotes are escaped, so the first place that looks like the member is the member.
	if !bytes.HasPrefix(item, []byte(`{"metadata":{`)) {
		return nil
	}
	name := []byte(`"resourceVersion":"`)
	before, after, found := bytes.Cut(item, append(name, `0"`...))
	if !found {
		return nil
	}
	return &holed{before: item[:len(before)+len(name)], after: item[len(item)-len(after)-1:], rest: -1}
}

// Numbers of fields: of every object's metadata, and of metav1.ObjectMeta's resourceVersion.
const (
	fieldMetadata        = 1
	fieldResourceVersion = 6
)

func cutOutProtobuf(item []byte) *holed {
	number, typ, tag := protowire.ConsumeTag(item)
	if tag < 0 || number != fieldMetadata || typ != protowire.BytesType {
		return nil
	}
	metadata, size := protowire.ConsumeBytes(item[tag:])
	if size < 0 {
		return nil
	}
	for at := 0; at < len(metadata); {
		number, typ, tag := protowire.ConsumeTag(metadata[at:])
		if tag < 0 {
			return nil
		}
		length := protowire.ConsumeFieldValue(number, typ, metadata[at+tag:])
		if length < 0 {
			return nil
		}
		end := at + tag + length
		if number == fieldResourceVersion {
			start := tag + size - len(metadata)
			return &holed{before: metadata[:at], after: item[start+end:], rest: len(metadata) - (end - at)}
		}
		at = end
	}
	return nil
}

// with fills the hole.
func (h *holed) with(revision int64) []byte { return h.appendTo(nil, revision) }

// appendTo appends the item to b, with the hole filled.
func (h *holed) appendTo(b []byte, revision int64) []byte {
	var space [20]byte
	version := strconv.AppendInt(space[:0], revision, 10)
	b = slices.Grow(b, len(h.before)+len(h.after)+len(version)+16)
	if h.rest < 0 {
		return append(append(append(b, h.before...), version...), h.after...)
	}
	b = protowire.AppendTag(b, fieldMetadata, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(h.rest+1+protowire.SizeBytes(len(version))))
	b = append(b, h.before...)
	b = protowire.AppendBytes(protowire.AppendTag(b, fieldResourceVersion, protowire.BytesType), version)
	return append(b, h.after...)
}
