package rbac

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
)

// index is the roles, and the bindings by the subjects that they name.
//
// Ownership: mu guards the maps, and all that they lead to but the reasons of grants.
// Invariant: a role is in roles exactly if it exists or a binding refers to it.
// Invariant: a list of grants is sorted by the names of their bindings, with one grant of each.
type index struct {
	mu       sync.RWMutex
	roles    map[roleID]*role
	bindings map[objectID]*binding
	// users has service accounts, too, under the names of their users.
	users, groups map[objectID][]*grant
}

// objectID is a name in a namespace, or, without one, in the cluster.
type objectID struct{ namespace, name string }

// roleID is what a binding refers to. A Role is in the binding's namespace, a ClusterRole has none.
type roleID struct {
	kind string
	objectID
}

// binding is a RoleBinding or a ClusterRoleBinding.
type binding struct {
	objectID
	ref      rbacv1.RoleRef
	subjects []rbacv1.Subject
	role     *role
}

// grant is what a binding gives to one of its subjects.
type grant struct {
	*binding
	subject int // in the binding's list
	reason  atomic.Pointer[string]
}

func newIndex() *index {
	x := &index{}
	x.clear()
	return x
}

func (x *index) clear() {
	x.roles, x.bindings = map[roleID]*role{}, map[objectID]*binding{}
	x.users, x.groups = map[objectID][]*grant{}, map[objectID][]*grant{}
}

// setRole adds a role or replaces its rules. They are read when they are needed, from any goroutine.
func (x *index) setRole(id roleID, read func() *rules) {
	r := x.roleOf(id)
	*r = role{references: r.references, exists: true, read: sync.OnceValue(read)}
}

func (x *index) removeRole(id roleID) {
	if r := x.roles[id]; r != nil {
		*r = role{references: r.references}
		x.forget(id, r)
	}
}

// roleOf returns the entry of a role, which may not exist.
func (x *index) roleOf(id roleID) *role {
	r := x.roles[id]
	if r == nil {
		r = &role{}
		x.roles[id] = r
	}
	return r
}

func (x *index) forget(id roleID, r *role) {
	if !r.exists && r.references == 0 {
		delete(x.roles, id)
	}
}

// reference is the role that a binding refers to.
func reference(namespace string, ref rbacv1.RoleRef) roleID {
	if ref.Kind == "ClusterRole" {
		namespace = ""
	}
	return roleID{ref.Kind, objectID{namespace, ref.Name}}
}

// setBinding adds a binding or replaces it.
func (x *index) setBinding(id objectID, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
	x.removeBinding(id)
	b := &binding{objectID: id, ref: ref, subjects: subjects, role: x.roleOf(reference(id.namespace, ref))}
	b.role.references++
	x.bindings[id] = b
	for i := range subjects {
		if table, key, ok := x.placeOf(b, i); ok {
			table[key] = insert(table[key], &grant{binding: b, subject: i})
		}
	}
}

func (x *index) removeBinding(id objectID) {
	b := x.bindings[id]
	if b == nil {
		return
	}
	delete(x.bindings, id)
	for i := range b.subjects {
		table, key, ok := x.placeOf(b, i)
		if !ok {
			continue
		}
		if list := remove(table[key], b); len(list) > 0 {
			table[key] = list
		} else {
			delete(table, key)
		}
	}
	b.role.references--
	x.forget(reference(id.namespace, b.ref), b.role)
}

// placeOf says where the grants of a subject are kept. A subject of an unknown kind, or a service account of no namespace, is
// nobody.
func (x *index) placeOf(b *binding, i int) (table map[objectID][]*grant, key objectID, ok bool) {
	subject := &b.subjects[i]
	switch subject.Kind {
	case rbacv1.UserKind:
		return x.users, objectID{b.namespace, subject.Name}, true
	case rbacv1.GroupKind:
		return x.groups, objectID{b.namespace, subject.Name}, true
	case rbacv1.ServiceAccountKind:
		namespace := subject.Namespace
		if namespace == "" {
			namespace = b.namespace
		}
		return x.users, objectID{b.namespace, serviceaccount.MakeUsername(namespace, subject.Name)}, namespace != ""
	}
	return nil, objectID{}, false
}

func place(list []*grant, name string) (int, bool) {
	return slices.BinarySearchFunc(list, name, func(g *grant, name string) int { return strings.Compare(g.name, name) })
}

// insert adds a grant, unless the binding names the subject twice: then the first counts.
func insert(list []*grant, g *grant) []*grant {
	i, found := place(list, g.name)
	if found {
		return list
	}
	return slices.Insert(list, i, g)
}

func remove(list []*grant, b *binding) []*grant {
	if i, found := place(list, b.name); found {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// each calls fn for every binding of the namespace (the cluster's, without one) that applies to the user, in the order of their
// names, with the first subject of it that the user is, until fn returns false. mu is held for reading.
func (x *index) each(u user.Info, namespace string, fn func(*grant) bool) bool {
	if u == nil {
		return true
	}
	var room [12][]*grant
	lists := room[:0]
	if list := x.users[objectID{namespace, u.GetName()}]; len(list) > 0 {
		lists = append(lists, list)
	}
	for _, group := range u.GetGroups() {
		if list := x.groups[objectID{namespace, group}]; len(list) > 0 {
			lists = append(lists, list)
		}
	}
	for len(lists) > 0 {
		next := first(lists)
		if !fn(next) {
			return false
		}
		lists = without(lists, next.binding)
	}
	return true
}

// first is the grant whose turn it is.
func first(lists [][]*grant) *grant {
	next := lists[0][0]
	for _, list := range lists[1:] {
		g := list[0]
		if g.binding == next.binding && g.subject < next.subject || g.binding != next.binding && g.name < next.name {
			next = g
		}
	}
	return next
}

// without moves those lists on that begin with a binding.
func without(lists [][]*grant, b *binding) [][]*grant {
	n := 0
	for _, list := range lists {
		if list[0].binding == b {
			list = list[1:]
		}
		if len(list) > 0 {
			lists[n] = list
			n++
		}
	}
	return lists[:n]
}

const allowedBy = "RBAC: allowed by "

// because is the reason for a yes. It is made when it is first needed, and kept.
func (g *grant) because() string {
	if reason := g.reason.Load(); reason != nil {
		return *reason
	}
	kind, name := "ClusterRoleBinding", g.name
	if g.namespace != "" {
		kind, name = "RoleBinding", g.name+"/"+g.namespace
	}
	reason := fmt.Sprintf("%s%s %q of %s %q to %s", allowedBy, kind, name, g.ref.Kind, g.ref.Name, g.describeSubject())
	g.reason.Store(&reason)
	return reason
}

// String says who is given what by which binding, in upstream's words (pkg/registry/rbac/validation, describers).
func (g *grant) String() string { return g.because()[len(allowedBy):] }

func (g *grant) describeSubject() string {
	s := &g.subjects[g.subject]
	name := s.Name
	if s.Kind == rbacv1.ServiceAccountKind {
		namespace := s.Namespace
		if namespace == "" {
			namespace = g.namespace
		}
		name += "/" + namespace
	}
	return fmt.Sprintf("%s %q", s.Kind, name)
}
