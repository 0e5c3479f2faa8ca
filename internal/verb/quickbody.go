package verb

import (
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kayak-k8s/kayak/internal/quickjson"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// quickBody reads a body that is the JSON of an object of the resource, as what is sent usually is, into the hub version with
// defaults. It returns nil if there is anything to be said about it, or anything unusual: then upstream's decoder is to read it.
func (c *Call) quickBody(media wire.Media, body []byte) runtime.Object {
	face := c.face()
	if media != wire.JSON || face.Custom != nil {
		return nil
	}
	name, apiVersion, ok := quickKind(body)
	if !ok || name != "" && name != face.Name || apiVersion != "" && apiVersion != face.Version.String() || !c.accepts(face.Version) {
		return nil
	}
	versioned, err := face.Codec.Creater.New(face.GVK())
	if err != nil {
		return nil
	}
	if _, nested := versioned.(runtime.NestedObjectDecoder); nested || !quickjson.Unmarshal(body, versioned) {
		return nil
	}
	face.Codec.Defaulter.Default(versioned)
	obj, err := face.Codec.Sharing().ConvertToVersion(versioned, face.Codec.Hub)
	if err != nil {
		return nil
	}
	return obj
}
