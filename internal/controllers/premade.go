package controllers

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/kayak-k8s/kayak/internal/controllers/premade"
	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// ready sees to the objects of some kinds that are premade. It writes those that are missing and reports whether that was all there
// is to do: all of them are there now, as they were made. Otherwise, and without premade objects, whoever asks has to look at each,
// in a newer snapshot.
//
// What is written so has not been through the verbs. There is nothing for them to do: these objects are valid, and no hook of the
// kinds concerned does more than look at who writes.
func ready(ctx context.Context, a *verb.API, set *premade.Set, snapshot *state.Snapshot, kinds ...*kind.Resource) bool {
	if set == nil {
		return false
	}
	var missing []*premade.Object
	complete := true
	for _, r := range kinds {
		for _, o := range set.Under(r.KeyPrefix("", "")) {
			switch record := snapshot.Get(a.Root + o.Key); {
			case record == nil:
				missing = append(missing, o)
			case !o.Matches(record.Value):
				complete = false
			}
		}
	}
	now := time.Now()
	err := together(missing, func(o *premade.Object) error {
		_, err := a.Store.Put(ctx, a.Root+o.Key, o.Fill(uuid.NewString(), now), 0, store.PutOptions{})
		return err
	})
	return complete && err == nil // who has to look at each also finds what keeps it from being written
}
