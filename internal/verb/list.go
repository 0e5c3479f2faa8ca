package verb

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validation"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metainternalversionvalidation "k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"github.com/kayak-k8s/kayak/internal/state"
	"github.com/kayak-k8s/kayak/internal/wire"
)

// list answers with the objects under a prefix, as of one revision.
func (a *API) list(ctx context.Context, c *Call) error {
	if c.storage() != nil {
		return a.listElsewhere(ctx, c)
	}
	out, err := c.negotiate(false)
	if err != nil {
		return err
	}
	options, err := c.listOptions()
	if err != nil {
		return err
	}
	page, err := a.page(ctx, c, options)
	if err != nil {
		return err
	}
	a.auditPage(ctx, c, out, page)
	switch {
	case out.Shape == wire.Table:
		return a.listTable(ctx, c, out, page)
	case out.Version == "v1beta1" && out.Media == wire.Protobuf: // the one list whose items are not its field number 2
		return a.listObjects(ctx, c, out, page)
	case out.Shape == wire.MetadataList && page.count == 0: // the one list whose items are null when there are none
		return a.listObjects(ctx, c, out, page)
	}
	form, err := c.form(out)
	if err != nil {
		return err
	}
	return a.listItems(ctx, c, out, form, page)
}

// listObjects answers with a list by decoding all of it.
func (a *API) listObjects(ctx context.Context, c *Call, out wire.Output, p *page) error {
	list, err := p.objects(c)
	if err != nil {
		return err
	}
	return a.respond(ctx, c, out, http.StatusOK, list)
}

// listOptions reads and checks the options of a list, a watch or a deletecollection, and translates field names into the hub
// version's.
func (c *Call) listOptions() (*metainternalversion.ListOptions, error) {
	options := &metainternalversion.ListOptions{}
	if err := c.parameters(options); err != nil {
		return nil, err
	}
	metainternalversion.SetListOptionsDefaults(options, true)
	if err := invalidOptions("ListOptions", metainternalversionvalidation.ValidateListOptions(options, true)); err != nil {
		return nil, err
	}
	if options.FieldSelector != nil {
		selector, err := options.FieldSelector.Transform(c.Resource.FieldLabel)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		options.FieldSelector = selector
	}
	return options, c.selectName(options)
}

// selectName makes the name in the request, from the path or the field selector, a part of the selector.
func (c *Call) selectName(options *metainternalversion.ListOptions) error {
	name := c.Info.Name
	if name == "" {
		return nil
	}
	if options.FieldSelector == nil || options.FieldSelector.Empty() {
		options.FieldSelector = fields.OneTermEqualSelector("metadata.name", name)
		return nil
	}
	if selected, ok := options.FieldSelector.RequiresExactMatch("metadata.name"); !ok || selected != name {
		return apierrors.NewBadRequest("fieldSelector metadata.name doesn't match requested name")
	}
	return nil
}

// selection turns options into what records are asked.
func (c *Call) selection(options *metainternalversion.ListOptions) *selection {
	s := &selection{namespace: c.Info.Namespace, namespaced: c.Resource.Namespaced}
	if options.LabelSelector != nil && !options.LabelSelector.Empty() {
		s.labels = options.LabelSelector
	}
	if options.FieldSelector != nil && !options.FieldSelector.Empty() {
		s.fields = options.FieldSelector
		s.name, _ = options.FieldSelector.RequiresExactMatch("metadata.name")
		if s.namespace == "" {
			s.namespace = selectedNamespace(options.FieldSelector)
		}
	}
	return s
}

// selectedNamespace is the namespace that a request for all namespaces limits itself to, "" for none
// (registry/generic/registry/store.go, ListPredicate).
func selectedNamespace(selector fields.Selector) string {
	namespace, ok := selector.RequiresExactMatch("metadata.namespace")
	if !ok || len(validation.ValidateNamespaceName(namespace, false)) > 0 {
		return ""
	}
	return namespace
}

// page is what one list request gets.
type page struct {
	spans []state.Span
	count int // of records
	meta  metav1.ListMeta
}

// add puts a span behind those that are there.
func (p *page) add(span state.Span) {
	p.spans = append(p.spans, span)
	p.count += len(span.Records)
}

// addOne puts a record behind those that are there.
func (p *page) addOne(record *state.Record) {
	p.count++
	if n := len(p.spans); n > 0 && len(p.spans[n-1].Records) < selectedTogether {
		p.spans[n-1].Records = append(p.spans[n-1].Records, record)
		return
	}
	p.spans = append(p.spans, state.Span{Records: append(make([]*state.Record, 0, 8), record)})
}

// selectedTogether is how many selected records are treated together.
const selectedTogether = 64

// last returns the last record; there is one.
func (p *page) last() *state.Record {
	records := p.spans[len(p.spans)-1].Records
	return records[len(records)-1]
}

// records returns all records in one slice.
func (p *page) records() []*state.Record {
	records := make([]*state.Record, 0, p.count)
	for _, span := range p.spans {
		records = append(records, span.Records...)
	}
	return records
}

// objects decodes the page into a list of the hub version.
func (p *page) objects(c *Call) (runtime.Object, error) { return p.list(c, p.records()) }

// list decodes records of the page into a list of the hub version.
func (p *page) list(c *Call, records []*state.Record) (runtime.Object, error) {
	objects := make([]runtime.Object, len(records))
	for i, record := range records {
		obj, err := decode(c.Resource.Kind, record)
		if err != nil {
			return nil, err
		}
		objects[i] = obj
	}
	list := c.Resource.NewList()
	if err := meta.SetList(list, objects); err != nil {
		return nil, err
	}
	accessor, err := meta.ListAccessor(list)
	if err != nil {
		return nil, err
	}
	accessor.SetResourceVersion(p.meta.ResourceVersion)
	accessor.SetContinue(p.meta.Continue)
	accessor.SetRemainingItemCount(p.meta.RemainingItemCount)
	return list, nil
}

// page reads one page of a list from a snapshot.
func (a *API) page(ctx context.Context, c *Call, options *metainternalversion.ListOptions) (*page, error) {
	want := c.selection(options)
	prefix, exact := want.within(c.Resource, a.Root)
	snapshot, from, err := a.listSnapshot(ctx, c, options, prefix)
	if err != nil {
		return nil, err
	}
	limit := int(options.Limit)
	if options.ResourceVersion == "0" {
		limit = 0 // as upstream: what is at hand is given whole
	}
	p := &page{meta: metav1.ListMeta{ResourceVersion: strconv.FormatInt(snapshot.Revision(), 10)}}
	if exact {
		if record := snapshot.Get(prefix + want.name); want.matches(record) && record.Key >= from {
			p.addOne(record)
		}
		return p, nil
	}
	if !p.fill(snapshot, want, c.Resource.KeyPrefix(a.Root, ""), prefix, from, limit) {
		return p, nil
	}
	next := p.last().Key + "\x00"
	if p.meta.Continue, err = encodeContinue(next, prefix, snapshot.Revision()); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if want.everything() {
		remaining := int64(snapshot.Count(prefix, next))
		p.meta.RemainingItemCount = &remaining
	}
	return p, nil
}

// fill takes what is wanted of the keys under a prefix, all of them below the kind's own prefix, as long as there is room
// within the limit. It reports whether there are more keys; with a selector perhaps none that match, as upstream does not look.
func (p *page) fill(snapshot *state.Snapshot, want *selection, kind, prefix, from string, limit int) (more bool) {
	if limit <= 0 {
		limit = math.MaxInt
	}
	term := want.term()
	snapshot.Spans(kind, prefix, from, func(span state.Span) bool {
		if want.everything() {
			p.add(span.First(limit - p.count))
			return p.count < limit
		}
		for record := range span.Having(term) {
			if want.matches(record) {
				p.addOne(record)
			}
			if p.count == limit {
				return false
			}
		}
		return true
	})
	return p.count == limit && snapshot.Count(prefix, p.last().Key+"\x00") > 0
}

// listSnapshot finds the snapshot that a list reads, and the key it begins at, "" for the first
// (apiserver/pkg/storage/etcd3/store.go, GetList, and cacher/delegator for what is exact).
func (a *API) listSnapshot(ctx context.Context, c *Call, options *metainternalversion.ListOptions, prefix string) (*state.Snapshot, string, error) {
	if options.Continue != "" {
		return a.continued(ctx, c, options, prefix)
	}
	revision, any, err := parseRevision(options.ResourceVersion)
	if err != nil {
		return nil, "", apierrors.NewBadRequest("invalid resource version: " + revisionError(options.ResourceVersion, err).Error())
	}
	exact := revision > 0 && (options.ResourceVersionMatch == metav1.ResourceVersionMatchExact ||
		(options.ResourceVersionMatch == "" && options.Limit > 0))
	snapshot, err := a.snapshot(ctx, revision, any)
	if err == nil && exact {
		snapshot, err = a.State.At(revision)
	}
	return snapshot, "", storeError(err, c)
}

// continued resolves a continue token. A token whose revision is gone gets a new one, with which a client can go on with the
// newest objects where it had stopped.
func (a *API) continued(ctx context.Context, c *Call, options *metainternalversion.ListOptions, prefix string) (*state.Snapshot, string, error) {
	from, revision, err := storage.DecodeContinue(options.Continue, prefix)
	if err != nil {
		return nil, "", apierrors.NewBadRequest("invalid continue token: " + err.Error())
	}
	if options.ResourceVersion != "" && options.ResourceVersion != "0" {
		return nil, "", apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	if revision < 0 { // the token of an inconsistent continuation
		snapshot, err := a.State.Consistent(ctx)
		return snapshot, from, storeError(err, c)
	}
	snapshot, err := a.State.At(revision)
	if errors.Is(err, state.ErrExpired) {
		return nil, "", expiredContinue(from, prefix)
	}
	return snapshot, from, storeError(err, c)
}

// The texts of apiserver/pkg/storage/etcd3/errors.go.
const inconsistentContinue = "The provided continue parameter is too old " +
	"to display a consistent list result. You can start a new list without " +
	"the continue parameter, or use the continue token in this response to " +
	"retrieve the remainder of the results. Continuing with the provided " +
	"token results in an inconsistent list - objects that were created, " +
	"modified, or deleted between the time the first chunk was returned " +
	"and now may show up in the list."

// encodeContinue makes the token that upstream makes: its keys begin with a slash, and it reads both forms.
func encodeContinue(next, prefix string, revision int64) (string, error) {
	return storage.EncodeContinue(next, strings.TrimSuffix(prefix, "/"), revision)
}

func expiredContinue(from, prefix string) error {
	token, err := encodeContinue(from, prefix, -1)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	expired := apierrors.NewResourceExpired(inconsistentContinue)
	expired.ErrStatus.ListMeta.Continue = token
	return expired
}
