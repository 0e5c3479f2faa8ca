package verb_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/storage"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"

	"github.com/kayak-k8s/kayak/internal/kind"
	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/store"
	"github.com/kayak-k8s/kayak/internal/store/memory"
	"github.com/kayak-k8s/kayak/internal/verb"
)

// These are the suites that upstream's own storages have to pass (k8s.io/apiserver/pkg/storage/testing). What they read and watch
// goes through the verbs; what they write goes to the store, the way a write of a verb ends. So of the suites those apply that are
// about reading and watching. The others do not:
//
//   - Create*, Delete*, GuaranteedUpdate*, *Suggestion*: of the caller's hints, callbacks and preconditions below the API, for
//     which kayak has another contract (package store) with a suite of its own (storetest).
//   - *TransformOrDecodeError, TransformationFailure, *ErrorAggregation, WatchError, WatchErrorIsBlockingFurtherEvents,
//     WatchWithUnsafeDelete, ListResourceVersionMatch, Stats: need a hook between the storage and its bytes (encryption), which kayak does not have.
//   - ClusterScopedWatch, KeySchema, GetListRecursivePrefix: the same kind with keys of other shapes, which requests cannot name.
//   - WatcherTimeout, DelayedWatchDelivery, WatchInitializationSignal, WatchContextCancel, ProgressNotify, CompactRevision: look into
//     the storage's own channels, signals, contexts and counters.
//   - List: wants etcd's own bookkeeping: the version that a compaction makes, the form of continue tokens below the API, pages
//     at version "0". Of its hundred cases the others pass; difftest has them against the real server.
//   - ConsistentList, ListInconsistentContinuation, OptionalWatchBookmarks, WatchFromZero: want a cache that lags behind, etcd's
//     answer to a page at version "0", or the pace of the cacher's bookmarks. Tests of our own say what holds here.

// suiteStorage is a storage.Interface over the verbs.
type suiteStorage struct {
	*fixture
	kind   *kind.Kind
	server *httptest.Server
	codec  runtime.Decoder
}

var _ storage.Interface = (*suiteStorage)(nil)

func newSuiteStorage(t *testing.T) *suiteStorage {
	t.Helper()
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, metav1.SchemeGroupVersion)
	for _, add := range []func(*runtime.Scheme) error{example.AddToScheme, examplev1.AddToScheme, addSelectableFields} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	codecs := serializer.NewCodecFactory(scheme)
	k := examplePods(scheme, codecs)
	table := kind.NewTable(k)
	backend := memory.New()
	s := state.New(state.Options{Store: backend, Prefix: root, Families: []state.Family{{
		Prefix: k.KeyPrefix(root, ""), Header: k.Header, Index: k.Index,
	}}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(ctx)
	}()
	if err := s.WaitSynced(t.Context()); err != nil {
		t.Fatal(err)
	}
	stopping := make(chan struct{})
	f := &fixture{API: &verb.API{State: s, Store: backend, Root: root, MinRequestTimeout: 1e12, Stopping: stopping}, table: table}
	server := httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(func() {
		close(stopping)
		server.Close()
		cancel()
		<-done
		_ = backend.Close()
	})
	return &suiteStorage{
		fixture: f, kind: k, server: server, codec: codecs.DecoderToVersion(codecs.UniversalDeserializer(), example.SchemeGroupVersion),
	}
}

func addSelectableFields(scheme *runtime.Scheme) error {
	return scheme.AddFieldLabelConversionFunc(examplev1.SchemeGroupVersion.WithKind("Pod"), func(label, value string) (string, string, error) {
		return label, value, nil
	})
}

func examplePods(scheme *runtime.Scheme, codecs serializer.CodecFactory) *kind.Kind {
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	return &kind.Kind{
		Group: example.GroupName, Resource: "pods", Name: "Pod", Namespaced: true, Prefix: "pods",
		Storage: examplev1.SchemeGroupVersion, Versions: []string{"v1"}, Index: []string{"spec.nodeName"},
		Fields:  []kind.Field{{Name: "spec.nodeName"}},
		New:     func() runtime.Object { return &example.Pod{} },
		NewList: func() runtime.Object { return &example.PodList{} },
		Attributes: func(obj runtime.Object) (labels.Set, fields.Set, error) {
			pod := obj.(*example.Pod)
			return pod.Labels, fields.Set{
				"metadata.name": pod.Name, "metadata.namespace": pod.Namespace, "spec.nodeName": pod.Spec.NodeName,
			}, nil
		},
		Codec: &kind.Codec{
			Typer: scheme, Creater: scheme, Defaulter: scheme, Convertor: scheme, Serializer: codecs,
			Hub: example.SchemeGroupVersion, Stored: codecs.EncoderForVersion(info.Serializer, examplev1.SchemeGroupVersion),
			Load: codecs.DecoderToVersion(codecs.UniversalDeserializer(), example.SchemeGroupVersion),
		},
	}
}

func (s *suiteStorage) key(key string) string { return root + strings.TrimPrefix(key, "/") }

// copyInto makes out what obj is.
func copyInto(out, obj runtime.Object) error {
	if out == nil {
		return nil
	}
	target, err := conversion.EnforcePtr(out)
	if err != nil {
		return err
	}
	source, err := conversion.EnforcePtr(obj)
	if err != nil {
		return err
	}
	target.Set(source)
	return nil
}

func (s *suiteStorage) Versioner() storage.Versioner { return storage.APIObjectVersioner{} }

func (s *suiteStorage) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	value, err := s.kind.Encode(obj.DeepCopyObject())
	if err != nil {
		return err
	}
	revision, err := s.Store.Put(ctx, s.key(key), value, 0, store.PutOptions{TTLSeconds: int64(ttl)})
	var conflict *store.Conflict
	if errors.As(err, &conflict) {
		return storage.NewKeyExistsError(key, 0)
	}
	if err != nil {
		return err
	}
	return s.decodeInto(out, value, revision)
}

func (s *suiteStorage) decodeInto(out runtime.Object, value []byte, revision int64) error {
	obj, err := s.kind.Decode(value, revision)
	if err != nil {
		return err
	}
	return copyInto(out, obj)
}

func (s *suiteStorage) Delete(ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions,
	validate storage.ValidateObjectFunc, _ runtime.Object, _ storage.DeleteOptions) error {
	stored, err := s.Store.Get(ctx, s.key(key))
	if errors.Is(err, store.ErrNotFound) {
		return storage.NewKeyNotFoundError(key, 0)
	}
	if err != nil {
		return err
	}
	revision, err := s.Store.Delete(ctx, s.key(key), stored.Revision)
	if err != nil {
		return err
	}
	return s.decodeInto(out, stored.Value, revision)
}

func (s *suiteStorage) GuaranteedUpdate(ctx context.Context, key string, out runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc, _ runtime.Object) error {
	stored, err := s.Store.Get(ctx, s.key(key))
	existing := s.kind.New()
	switch {
	case errors.Is(err, store.ErrNotFound) && ignoreNotFound:
	case errors.Is(err, store.ErrNotFound):
		return storage.NewKeyNotFoundError(key, 0)
	case err != nil:
		return err
	default:
		if existing, err = s.kind.Decode(stored.Value, stored.Revision); err != nil {
			return err
		}
	}
	next, _, err := tryUpdate(existing, storage.ResponseMeta{ResourceVersion: uint64(stored.Revision)})
	if err != nil {
		return err
	}
	value, err := s.kind.Encode(next.DeepCopyObject())
	if err != nil {
		return err
	}
	revision := stored.Revision
	if !bytes.Equal(value, stored.Value) {
		if revision, err = s.Store.Put(ctx, s.key(key), value, stored.Revision, store.PutOptions{}); err != nil {
			return err
		}
	}
	return s.decodeInto(out, value, revision)
}

// open asks the API.
func (s *suiteStorage) open(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server.URL+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	response, err := s.server.Client().Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	status := &apierrors.StatusError{}
	if err := json.NewDecoder(response.Body).Decode(&status.ErrStatus); err != nil {
		return nil, err
	}
	return nil, status
}

func (s *suiteStorage) read(ctx context.Context, path string, query url.Values, out runtime.Object) error {
	body, err := s.open(ctx, path, query)
	if err != nil {
		return err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if list, ok := out.(*example.PodList); ok {
		return s.decodeList(data, list)
	}
	obj, _, err := s.codec.Decode(data, nil, nil)
	if err != nil {
		return err
	}
	return copyInto(out, obj)
}

// decodeList decodes the list by its items: the example group has not registered a kind for it.
func (s *suiteStorage) decodeList(data []byte, out *example.PodList) error {
	var list struct {
		Metadata metav1.ListMeta
		Items    []json.RawMessage
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	out.ListMeta, out.Items = list.Metadata, []example.Pod{}
	pod := examplev1.SchemeGroupVersion.WithKind("Pod")
	for _, item := range list.Items {
		obj, _, err := s.codec.Decode(item, &pod, nil)
		if err != nil {
			return err
		}
		out.Items = append(out.Items, *obj.(*example.Pod))
	}
	return nil
}

// place says what a key names: a collection, and one object of it if name is not empty.
func place(key string) (collection, name string) {
	parts := strings.Split(strings.Trim(strings.TrimPrefix(key, "/pods"), "/"), "/")
	collection = "/apis/" + example.GroupName + "/v1"
	if parts[0] != "" {
		collection += "/namespaces/" + parts[0]
	}
	if len(parts) > 1 {
		name = parts[1]
	}
	return collection + "/pods", name
}

func (s *suiteStorage) Get(ctx context.Context, key string, options storage.GetOptions, out runtime.Object) error {
	collection, name := place(key)
	if name == "" { // the suite reads a key without a namespace, where there is nothing
		collection, name = place("/pods/default/" + strings.TrimPrefix(key, "/pods/"))
	}
	err := s.read(ctx, collection+"/"+name, url.Values{"resourceVersion": {options.ResourceVersion}}, out)
	if apierrors.IsNotFound(err) && options.IgnoreNotFound {
		return runtime.SetZeroValue(out)
	}
	if apierrors.IsNotFound(err) {
		return storage.NewKeyNotFoundError(key, 0)
	}
	return err
}

func listQuery(name string, options storage.ListOptions) url.Values {
	query := url.Values{}
	set := func(name, value string) {
		if value != "" {
			query.Set(name, value)
		}
	}
	set("resourceVersion", options.ResourceVersion)
	set("resourceVersionMatch", string(options.ResourceVersionMatch))
	set("continue", options.Predicate.Continue)
	if options.Predicate.Limit > 0 {
		set("limit", strconv.FormatInt(options.Predicate.Limit, 10))
	}
	if options.Predicate.Label != nil {
		set("labelSelector", options.Predicate.Label.String())
	}
	var selectors []string
	if options.Predicate.Field != nil && !options.Predicate.Field.Empty() {
		selectors = append(selectors, options.Predicate.Field.String())
	}
	if name != "" {
		selectors = append(selectors, "metadata.name="+name)
	}
	set("fieldSelector", strings.Join(selectors, ","))
	if options.SendInitialEvents != nil {
		set("sendInitialEvents", strconv.FormatBool(*options.SendInitialEvents))
		set("resourceVersionMatch", string(metav1.ResourceVersionMatchNotOlderThan)) // requests have to say so
	}
	if options.Predicate.AllowWatchBookmarks || options.ProgressNotify {
		set("allowWatchBookmarks", "true")
	}
	return query
}

func (s *suiteStorage) GetList(ctx context.Context, key string, options storage.ListOptions, out runtime.Object) error {
	collection, name := place(key)
	return s.read(ctx, collection, listQuery(name, options), out)
}

func (s *suiteStorage) Watch(ctx context.Context, key string, options storage.ListOptions) (watch.Interface, error) {
	collection, name := place(key)
	query := listQuery(name, options)
	query.Set("watch", "true")
	ctx, cancel := context.WithCancel(ctx)
	body, err := s.open(ctx, collection, query)
	if err != nil {
		cancel()
		return nil, err
	}
	w := &suiteWatch{events: make(chan watch.Event), stop: cancel}
	go w.run(ctx, s.codec, body)
	return w, nil
}

type suiteWatch struct {
	events chan watch.Event
	stop   context.CancelFunc
}

func (w *suiteWatch) Stop()                          { w.stop() }
func (w *suiteWatch) ResultChan() <-chan watch.Event { return w.events }

func (w *suiteWatch) run(ctx context.Context, codec runtime.Decoder, body io.ReadCloser) {
	defer close(w.events)
	defer body.Close()
	for frames := json.NewDecoder(body); ; {
		var frame metav1.WatchEvent
		if frames.Decode(&frame) != nil {
			return
		}
		obj, _, err := codec.Decode(frame.Object.Raw, nil, nil)
		if err != nil {
			return
		}
		select {
		case w.events <- watch.Event{Type: watch.EventType(frame.Type), Object: obj}:
		case <-ctx.Done():
			return
		}
	}
}

func (s *suiteStorage) Stats(context.Context) (storage.Stats, error) {
	return storage.Stats{}, errors.ErrUnsupported
}
func (s *suiteStorage) ReadinessCheck() error                               { return nil }
func (s *suiteStorage) RequestWatchProgress(context.Context) error          { return nil }
func (s *suiteStorage) EnableResourceSizeEstimation(storage.KeysFunc) error { return nil }
func (s *suiteStorage) CompactRevision() int64                              { return 0 }
func (s *suiteStorage) GetCurrentResourceVersion(ctx context.Context) (uint64, error) {
	revision, err := s.Store.Revision(ctx)
	return uint64(revision), err
}

// increase makes a new version by a write of something else.
func (s *suiteStorage) increase(ctx context.Context, t *testing.T) int64 {
	t.Helper()
	revision := int64(0)
	if other, err := s.Store.Get(ctx, root+"other"); err == nil {
		revision = other.Revision
	}
	revision, err := s.Store.Put(ctx, root+"other", []byte("x"), revision, store.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// anyCalls is for suites that count the calls to etcd, of which there are none.
func anyCalls(*testing.T, uint64, uint64) {}

func TestUpstreamsStorageSuites(t *testing.T) {
	t.Parallel()
	for name, suite := range map[string]func(context.Context, *testing.T, *suiteStorage){
		"Get":        func(ctx context.Context, t *testing.T, s *suiteStorage) { storagetesting.RunTestGet(ctx, t, s) },
		"ListPaging": func(ctx context.Context, t *testing.T, s *suiteStorage) { storagetesting.RunTestListPaging(ctx, t, s) },
		"GetListNonRecursive": func(ctx context.Context, t *testing.T, s *suiteStorage) {
			storagetesting.RunTestGetListNonRecursive(ctx, t, s.increase, s)
		},
		"NamespaceScopedList": func(ctx context.Context, t *testing.T, s *suiteStorage) {
			storagetesting.RunTestNamespaceScopedList(ctx, t, s)
		},
		"Watch": func(ctx context.Context, t *testing.T, s *suiteStorage) { storagetesting.RunTestWatch(ctx, t, s) },
		"WatchFromNonZero": func(ctx context.Context, t *testing.T, s *suiteStorage) {
			storagetesting.RunTestWatchFromNonZero(ctx, t, s)
		},
		"DeleteTriggerWatch": func(ctx context.Context, t *testing.T, s *suiteStorage) {
			storagetesting.RunTestDeleteTriggerWatch(ctx, t, s)
		},
		"WatchDeleteEventObjectHaveLatestRV": func(ctx context.Context, t *testing.T, s *suiteStorage) {
			storagetesting.RunTestWatchDeleteEventObjectHaveLatestRV(ctx, t, s)
		},
		"NamespaceScopedWatch": func(ctx context.Context, t *testing.T, s *suiteStorage) {
			storagetesting.RunTestNamespaceScopedWatch(ctx, t, s)
		},
		"ListContinuation": func(ctx context.Context, t *testing.T, s *suiteStorage) {
			storagetesting.RunTestListContinuation(ctx, t, s, anyCalls)
		},
		"ListContinuationWithFilter": func(ctx context.Context, t *testing.T, s *suiteStorage) {
			storagetesting.RunTestListContinuationWithFilter(ctx, t, s, anyCalls)
		},
		"ListPaginationRareObject": func(ctx context.Context, t *testing.T, s *suiteStorage) {
			storagetesting.RunTestListPaginationRareObject(ctx, t, s, anyCalls)
		},
		"SendInitialEventsBackwardCompatibility": func(ctx context.Context, t *testing.T, s *suiteStorage) {
			storagetesting.RunSendInitialEventsBackwardCompatibility(ctx, t, s)
		},
		"WatchDispatchBookmarkEvents": func(ctx context.Context, t *testing.T, s *suiteStorage) {
			storagetesting.RunTestWatchDispatchBookmarkEvents(ctx, t, s, false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			suite(t.Context(), t, newSuiteStorage(t))
		})
	}
}

// TestUpstreamsWatchListSuites has the suites that set a feature gate of the whole process, one after another.
func TestUpstreamsWatchListSuites(t *testing.T) {
	for name, suite := range map[string]func(context.Context, *testing.T, *suiteStorage){
		"WatchSemantics": func(ctx context.Context, t *testing.T, s *suiteStorage) {
			storagetesting.RunWatchSemantics(ctx, t, s)
		},
		"WatchSemanticInitialEventsExtended": func(ctx context.Context, t *testing.T, s *suiteStorage) {
			storagetesting.RunWatchSemanticInitialEventsExtended(ctx, t, s)
		},
		"WatchListMatchSingle": func(ctx context.Context, t *testing.T, s *suiteStorage) {
			storagetesting.RunWatchListMatchSingle(ctx, t, s)
		},
	} {
		t.Run(name, func(t *testing.T) { suite(t.Context(), t, newSuiteStorage(t)) })
	}
}
