package authz

import (
	"bytes"
	"context"
	"os"
	"reflect"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/util/filesystem"
	upstream "k8s.io/kubernetes/pkg/kubeapiserver/authorizer"
)

// reloadInterval is upstream's: how often the file is looked at where changes are not noticed.
const reloadInterval = time.Minute

// reloader makes the chain anew when its configuration has changed. A file that is wrong changes nothing.
//
// Ownership: mu guards what was loaded and read.
type reloader struct {
	builder    *builder
	authorizer *Authorizer
	file       string

	mu     sync.Mutex
	loaded *apiserver.AuthorizationConfiguration
	read   []byte
}

func (r *reloader) run(life context.Context) {
	filesystem.WatchUntil(life, reloadInterval, r.file, r.check, func(err error) {
		r.builder.env.Logger.Warn("cannot watch the authorization configuration", "file", r.file, "error", err)
	})
}

func (r *reloader) check() {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed, err := r.reload()
	switch {
	case err != nil:
		r.builder.env.Logger.Error("cannot use the new authorization configuration, the one before stays", "file", r.file, "error", err)
	case changed:
		r.builder.env.Logger.Info("the authorization configuration has changed", "file", r.file)
	}
}

func (r *reloader) reload() (changed bool, err error) {
	data, err := os.ReadFile(r.file)
	if err != nil || bytes.Equal(data, r.read) {
		return false, err
	}
	r.read = data
	configuration, err := upstream.LoadAndValidateData(data, r.builder.celCompiler(), r.builder.fixed)
	if err != nil || reflect.DeepEqual(configuration, r.loaded) {
		return false, err
	}
	r.loaded = configuration
	chain, err := r.builder.build(configuration)
	if err != nil {
		return false, err
	}
	r.authorizer.current.Store(chain)
	return true, nil
}
