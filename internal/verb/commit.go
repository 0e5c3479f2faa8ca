package verb

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/store"
)

// current is what is stored under a key, as far as the writer knows.
type current struct {
	value    []byte
	revision int64 // 0: there is nothing
	// fresh says that the store itself said so during this request. What the state has may be behind.
	fresh bool
	// decoded, when set, is what value says, for one step to have.
	decoded runtime.Object
}

// current returns what the state has under a key: good enough to start from, because the write is conditional.
func (a *API) current(key string) current {
	if record := a.State.Snapshot().Get(key); record != nil {
		return current{value: record.Value(), revision: record.Revision}
	}
	return current{}
}

// reload asks the store.
func (a *API) reload(ctx context.Context, key string) (current, error) {
	kv, err := a.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return current{fresh: true}, nil
	}
	return current{value: kv.Value, revision: kv.Revision, fresh: true}, err
}

// object decodes it, into an empty object when there is nothing.
func (cur current) object(k *kind.Kind) (runtime.Object, error) {
	switch {
	case cur.revision == 0:
		return k.New(), nil
	case cur.decoded != nil:
		return cur.decoded, nil
	}
	obj, err := k.Decode(cur.value, cur.revision)
	if err != nil {
		return nil, &undecodable{cur.revision, err}
	}
	return obj, nil
}

// step looks at what is stored and decides what to do about it: put an object, remove the key, or nothing. It is called again
// whenever the decision was made on something outdated, so it must not change anything but what it returns.
type step func(existing runtime.Object, revision int64) (decision, error)

type decision struct {
	action action
	// obj is the object to put, or to return when there is nothing to do.
	obj runtime.Object
	// removed may be set when the key is to be removed: to the existing object, if that is still as it was.
	removed runtime.Object
	// finish, when set, is told whether the object was put.
	finish kind.Finish
	// call is the request that is answered with the object that is put; nil if it is not.
	call *Call
}

type action int

const (
	leave action = iota
	put
	remove
)

// outcome is what came of it.
type outcome struct {
	action action
	// obj is the object that was put, with its new resourceVersion, or that was removed, with the revision of the removal.
	obj runtime.Object
	// stored is what was put, unless that was a dry run; it has obj.
	stored current
}

// commit runs step on what is stored under key until its decision could be carried out on just that, and returns what came of
// it. An error of step counts only if it was made on what the store itself has; until then the error may come from looking
// at something outdated. With dryRun nothing is written.
func (a *API) commit(ctx context.Context, k *kind.Kind, key string, dryRun bool, step step) (outcome, error) {
	return a.commitFrom(ctx, k, key, dryRun, a.current(key), step)
}

// commitFrom is commit for a caller who knows what is stored.
func (a *API) commitFrom(ctx context.Context, k *kind.Kind, key string, dryRun bool, cur current, step step) (outcome, error) {
	var turn *turn
	defer func() { turn.end() }()
	for {
		if err := ctx.Err(); err != nil {
			return outcome{}, err
		}
		result, conflict, err := a.attempt(ctx, k, key, dryRun, cur, step)
		if conflict == nil && err == nil {
			return result, nil
		}
		var doubtful *stepError
		switch {
		case conflict != nil && turn == nil:
			turn = a.Turns.take(ctx, key)
			var reloadErr error
			if cur, reloadErr = a.reload(ctx, key); reloadErr != nil {
				return outcome{}, reloadErr
			}
		case conflict != nil && conflict.Current == nil:
			cur = current{fresh: true}
		case conflict != nil:
			cur = current{value: conflict.Current.Value, revision: conflict.Current.Revision, fresh: true}
		case !errors.As(err, &doubtful):
			// Of the store: looking again does not mend it, and writing again might write twice.
			return outcome{}, err
		case cur.fresh:
			return outcome{}, doubtful.err
		default:
			seen := cur.revision
			var reloadErr error
			if cur, reloadErr = a.reload(ctx, key); reloadErr != nil {
				return outcome{}, reloadErr
			}
			if cur.revision == seen {
				return outcome{}, doubtful.err
			}
		}
	}
}

// stepError is an error of a step, which may come from looking at something outdated.
type stepError struct{ err error }

func (e *stepError) Error() string { return e.err.Error() }

// attempt is one round: a conflict means that the store has something else than cur.
func (a *API) attempt(ctx context.Context, k *kind.Kind, key string, dryRun bool, cur current, step step) (outcome, *store.Conflict, error) {
	existing, err := cur.object(k)
	if err != nil {
		return outcome{}, nil, err
	}
	d, err := step(existing, cur.revision)
	if err != nil {
		return outcome{}, nil, &stepError{err}
	}
	switch d.action {
	case put:
		result, conflict, err := a.put(ctx, k, key, dryRun, cur, d.obj, d.call)
		settle(ctx, d.finish, conflict != nil, err)
		return result, conflict, err
	case remove:
		return a.remove(ctx, k, key, dryRun, cur, d.removed)
	}
	// To leave things as they are is right only if this is how they are.
	if err := a.unwrittenConflict(ctx, key, cur); err != nil {
		return asConflict(err)
	}
	return outcome{obj: d.obj}, nil, nil
}

func (a *API) put(ctx context.Context, k *kind.Kind, key string, dryRun bool, cur current, obj runtime.Object,
	c *Call) (outcome, *store.Conflict, error) {
	value, err := k.Encode(obj)
	if err != nil {
		return outcome{}, nil, err
	}
	revision := cur.revision
	var written runtime.Object // what reading the value would give, where it is written and need not be read
	switch {
	case cur.revision != 0 && bytes.Equal(value, cur.value):
		// Nothing changes, so nothing is written and the resourceVersion stays, provided that this is what is stored.
		if err := a.unwrittenConflict(ctx, key, cur); err != nil {
			return asConflict(err)
		}
	case dryRun:
		if err := a.unwrittenConflict(ctx, key, cur); err != nil {
			return asConflict(err)
		}
	default:
		var asStored bool
		if written, asStored, err = k.Written(obj, value, 0); err != nil {
			return outcome{}, nil, err
		}
		promised := a.promise(c, key, value, written, asStored)
		if revision, err = a.Store.Put(ctx, key, value, cur.revision, a.putOptions(k)); err != nil {
			promised.broken()
			return asConflict(err)
		}
		a.inForce(ctx, k, revision)
		if promised.encoded() {
			return outcome{action: put, obj: promised.fulfilled(c, revision)}, nil, nil
		}
	}
	stored := written
	switch {
	case stored != nil:
		setRevision(stored, revision)
	case revision != cur.revision: // Written has said that it must be read
		stored, err = k.Decode(value, revision)
	default:
		stored, err = k.Reread(obj, value, revision)
		stored = withoutZeroRevision(stored, revision)
	}
	return outcome{action: put, obj: stored, stored: current{value: value, revision: revision, fresh: true, decoded: stored}}, nil, err
}

// inForceTime bounds how long the answer to a write waits for the state.
const inForceTime = 2 * time.Second

// inForce waits until the state has a write of a kind that other requests are judged by. The write is done; if the state does not
// follow the store just now, it is acknowledged all the same.
func (a *API) inForce(ctx context.Context, k *kind.Kind, revision int64) {
	if !k.Governs && (a.Governs == nil || !a.Governs(k)) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, inForceTime)
	defer cancel()
	_, _ = a.State.AtLeast(ctx, revision)
}

// settle tells a hook whether the object was written. When the store cannot say, nothing is told: what the hook has taken stays
// taken until its repair loop looks, because two owners of one thing would be worse than none.
func settle(ctx context.Context, finish kind.Finish, conflict bool, err error) {
	if finish != nil && (err == nil || errors.Is(err, store.ErrTooLarge)) {
		finish(context.WithoutCancel(ctx), err == nil && !conflict)
	}
}

// undone passes finish on, or, when there is an error, tells it that nothing will be written.
func undone(ctx context.Context, finish kind.Finish, err error) (kind.Finish, error) {
	if err != nil && finish != nil {
		finish(context.WithoutCancel(ctx), false)
		finish = nil
	}
	return finish, err
}

// withoutZeroRevision leaves the resourceVersion of an object that was created in a dry run empty.
func withoutZeroRevision(obj runtime.Object, revision int64) runtime.Object {
	if revision == 0 && obj != nil {
		if accessor, err := meta.Accessor(obj); err == nil {
			accessor.SetResourceVersion("")
		}
	}
	return obj
}

func (a *API) putOptions(k *kind.Kind) store.PutOptions {
	if !k.EventTTL {
		return store.PutOptions{}
	}
	return store.PutOptions{TTLSeconds: int64(a.EventTTL.Seconds())}
}

// remove deletes what is stored. obj, unless nil, is what it says.
func (a *API) remove(ctx context.Context, k *kind.Kind, key string, dryRun bool, cur current, obj runtime.Object) (outcome, *store.Conflict, error) {
	revision := cur.revision
	if dryRun {
		if err := a.unwrittenConflict(ctx, key, cur); err != nil {
			return asConflict(err)
		}
	} else {
		var err error
		if revision, err = a.Store.Delete(ctx, key, cur.revision); err != nil {
			return asConflict(err)
		}
		a.inForce(ctx, k, revision)
	}
	if obj != nil {
		if accessor, err := meta.Accessor(obj); err == nil {
			accessor.SetResourceVersion(strconv.FormatInt(revision, 10))
			return outcome{action: remove, obj: obj}, nil, nil
		}
	}
	obj, err := k.Decode(cur.value, revision)
	return outcome{action: remove, obj: obj}, nil, err
}

// unwrittenConflict is the conflict that a write would have met, for decisions that write nothing.
func (a *API) unwrittenConflict(ctx context.Context, key string, cur current) error {
	if cur.fresh {
		return nil
	}
	now, err := a.reload(ctx, key)
	if err != nil {
		return err
	}
	if now.revision != cur.revision {
		return now.conflict(key, cur.revision)
	}
	return nil
}

func (cur current) conflict(key string, expect int64) *store.Conflict {
	conflict := &store.Conflict{Key: key, Expect: expect}
	if cur.revision != 0 {
		conflict.Current = &store.KV{Key: key, Value: cur.value, Revision: cur.revision}
	}
	return conflict
}

func asConflict(err error) (outcome, *store.Conflict, error) {
	var conflict *store.Conflict
	if errors.As(err, &conflict) {
		return outcome{}, conflict, nil
	}
	return outcome{}, nil, err
}

// checkPreconditions refuses an object that is not the one a client means, in upstream's words.
func checkPreconditions(preconditions *metav1.Preconditions, c *Call, key string, obj runtime.Object) error {
	if preconditions == nil {
		return nil
	}
	p := storage.Preconditions{UID: preconditions.UID, ResourceVersion: preconditions.ResourceVersion}
	if err := p.Check(key, obj); err != nil {
		return apierrors.NewConflict(c.Resource.GroupResource(), c.Info.Name, err)
	}
	return nil
}
