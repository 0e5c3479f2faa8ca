package verb

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kayak-k8s/kayak/internal/kind"
)

// KnownObject reads an object as this server knows it, for the server's own use where an answer without a question to the store
// is worth more than the last milliseconds: to recognise a token, say, which must work while the store does not answer. What
// this server does not know is looked for as GetObject does, so an object that has just been made is found.
func (a *API) KnownObject(ctx context.Context, r *kind.Resource, namespace, name string) (runtime.Object, error) {
	_, c := a.inside(ctx, "get", r, "", namespace, name)
	if record := a.State.Snapshot().Get(c.key(a.Root)); record != nil {
		return decode(r.Kind, record)
	}
	return a.GetObject(ctx, r, namespace, name)
}
