package difftest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"sort"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1beta1 "k8s.io/apimachinery/pkg/apis/meta/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
)

// shown are the headers that an answer shows.
var shown = []string{
	"Allow", "Cache-Control", "Connection", "Content-Type", "Location", "Retry-After", "Vary", "Warning", "Www-Authenticate",
	"X-Content-Type-Options",
}

const usualCacheControl = "no-cache, private"

// describe writes an answer down. saved gets its JSON, when it has any.
func (m *masker) describe(response *http.Response, body []byte) (text string, saved *node) {
	var b strings.Builder
	fmt.Fprintln(&b, response.StatusCode)
	keys := append([]string(nil), shown...)
	sort.Strings(keys)
	for _, key := range keys {
		for _, value := range response.Header.Values(key) {
			if value != usualCacheControl {
				fmt.Fprintf(&b, "%s: %s\n", key, m.text(value))
			}
		}
	}
	contentType := response.Header.Get("Content-Type")
	var shownBody string
	switch {
	case len(body) == 0:
		return b.String(), nil
	case strings.HasPrefix(contentType, "application/vnd.kubernetes.protobuf;stream=watch"):
		shownBody = m.protobufEvents(body)
	case strings.HasPrefix(contentType, "application/vnd.kubernetes.protobuf"):
		shownBody = m.protobuf(body)
	case strings.HasPrefix(contentType, "application/json"):
		var layout string
		if shownBody, layout, saved = m.json(body); layout != "" {
			fmt.Fprintf(&b, "@layout %s\n", layout)
		}
	default:
		shownBody = m.text(string(body))
	}
	return trim(b.String() + "\n" + shownBody), saved
}

// json lays out one value or several, one after the other.
func (m *masker) json(body []byte) (text, layout string, first *node) {
	var b strings.Builder
	layout = layoutOf(body)
	for len(bytes.TrimSpace(body)) > 0 {
		n, rest, err := parseJSON(body)
		if err != nil {
			return m.text(string(body)), "not JSON", nil
		}
		if first == nil {
			first, _ = parseValid(body)
		}
		m.tree(n, "")
		n.layOut(&b, "", 0)
		b.WriteByte('\n')
		body = rest
	}
	return b.String(), layout, first
}

// layoutOf describes the white space of JSON; "" when each value is a line.
func layoutOf(body []byte) string {
	var compact, indented bytes.Buffer
	decoder := json.NewDecoder(bytes.NewReader(body))
	for {
		var raw json.RawMessage
		if decoder.Decode(&raw) != nil {
			break
		}
		_ = json.Compact(&compact, raw)
		_ = json.Indent(&indented, raw, "", "  ")
		compact.WriteByte('\n')
	}
	switch string(body) {
	case compact.String():
		return ""
	case strings.TrimSuffix(compact.String(), "\n"):
		return "no newline"
	case indented.String():
		return "indented"
	case indented.String() + "\n":
		return "indented, newline"
	}
	return "unusual"
}

var protobufScheme = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	if err := clientscheme.AddToScheme(scheme); err != nil {
		panic(err)
	}
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		panic(err)
	}
	if err := metav1beta1.AddMetaToScheme(scheme); err != nil {
		panic(err)
	}
	return scheme
}()

// protobuf shows a message, and whether upstream's encoder would have written the same bytes.
func (m *masker) protobuf(body []byte) string {
	serializer := protobuf.NewSerializer(protobufScheme, protobufScheme)
	obj, gvk, err := serializer.Decode(body, nil, nil)
	if err != nil {
		return fmt.Sprintf("protobuf: %v\n", err)
	}
	text, _ := json.Marshal(obj)
	n, _ := parseValid(text)
	m.tree(n, "")
	var b strings.Builder
	fmt.Fprintf(&b, "protobuf %s %s\n", gvk.GroupVersion(), gvk.Kind)
	var again bytes.Buffer
	if err := serializer.Encode(obj, &again); err != nil || !bytes.Equal(again.Bytes(), body) {
		b.WriteString("not as upstream encodes it\n")
	}
	n.layOut(&b, "", 0)
	return b.String() + "\n"
}

func (m *masker) protobufEvents(body []byte) string {
	var b strings.Builder
	for len(body) >= 4 {
		size := int(binary.BigEndian.Uint32(body))
		if len(body) < 4+size {
			return b.String() + "a frame is cut short\n"
		}
		var event metav1.WatchEvent
		if err := event.Unmarshal(body[4 : 4+size]); err != nil {
			return b.String() + err.Error() + "\n"
		}
		fmt.Fprintf(&b, "%s %s", event.Type, m.protobuf(event.Object.Raw))
		body = body[4+size:]
	}
	return b.String()
}

func decodeJSON(text []byte) (runtime.Object, error) {
	serializer := kjson.NewSerializerWithOptions(kjson.DefaultMetaFactory, protobufScheme, protobufScheme, kjson.SerializerOptions{})
	obj, gvk, err := serializer.Decode(text, nil, nil)
	if err != nil {
		return nil, err
	}
	obj.GetObjectKind().SetGroupVersionKind(*gvk)
	return obj, nil
}
