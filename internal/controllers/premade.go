package controllers

import (
	"bufio"
	"context"
	"crypto/rand"
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
// kinds concerned does more than look at who writes. Where there are webhooks or admission policies, which may have something to say,
// nothing is written so.
func ready(ctx context.Context, a *verb.API, set *premade.Set, snapshot *state.Snapshot, kinds ...*kind.Resource) bool {
	if set == nil {
		return false
	}
	var objects []*premade.Object
	for _, r := range kinds {
		objects = append(objects, set.Under(r.KeyPrefix("", ""))...)
	}
	return len(writeReady(ctx, a, snapshot, objects)) == 0
}

// writeReady writes those of the objects that are missing, and returns those that are otherwise than made, or could not be written.
func writeReady(ctx context.Context, a *verb.API, snapshot *state.Snapshot, objects []*premade.Object) (others []*premade.Object) {
	var missing []*premade.Object
	for _, o := range objects {
		switch record := snapshot.Get(a.Root + o.Key); {
		case record == nil:
			missing = append(missing, o)
		case !o.Matches(record.Value()):
			others = append(others, o)
		}
	}
	if len(missing) > 0 && regulated(a, snapshot) {
		return append(others, missing...)
	}
	now, random := time.Now(), bufio.NewReaderSize(rand.Reader, max(len(missing), 1)*len(uuid.UUID{})) // read at once
	failed := make([]bool, len(missing))
	places := make([]int, len(missing))
	uids := make([]string, len(missing))
	for i := range places {
		places[i], uids[i] = i, uuid.Must(uuid.NewRandomFromReader(random)).String()
	}
	_ = together(places, func(i int) error {
		o := missing[i]
		_, err := a.Store.Put(ctx, a.Root+o.Key, o.Fill(uids[i], now), 0, store.PutOptions{})
		failed[i] = err != nil
		return nil
	})
	for i, o := range missing {
		if failed[i] { // whoever looks at each also finds what keeps it from being written
			others = append(others, o)
		}
	}
	return others
}

// regulated reports whether somebody has a say in what is written.
func regulated(a *verb.API, snapshot *state.Snapshot) bool {
	for _, kind := range []string{
		"mutatingwebhookconfigurations/", "validatingwebhookconfigurations/", "mutatingadmissionpolicies/", "validatingadmissionpolicies/",
	} {
		if snapshot.Count(a.Root+kind, "") > 0 {
			return true
		}
	}
	return false
}
