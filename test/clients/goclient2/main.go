// Program goclient2 drives the v2 API of a cluster with etcd's own client for Go, go.etcd.io/etcd/client/v2. Argument:
// the client URLs of its members, separated by commas.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	client "go.etcd.io/etcd/client/v2"
)

// end carries the first difference out of a check.
type end struct{ error }

func fail(format string, args ...any) { panic(end{fmt.Errorf(format, args...)}) }

func ok(err error, what string) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

func equal(got, want any, what string) {
	if !reflect.DeepEqual(got, want) {
		fail("%s: got %v, want %v", what, got, want)
	}
}

// refused checks that a call failed with an error code of the API.
func refused(err error, code int, what string) {
	var e client.Error
	if !errors.As(err, &e) || e.Code != code {
		fail("%s: got %v, want error %d", what, err, code)
	}
}

func within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	_ = cancel // the program is short
	return ctx
}

func soon() context.Context { return within(10 * time.Second) }

func connect(cfg client.Config, urls ...string) client.Client {
	cfg.Endpoints = urls
	cfg.HeaderTimeoutPerRequest = 5 * time.Second
	c, err := client.New(cfg)
	ok(err, "New")
	return c
}

func keys(c client.Client, _ []string) {
	k := client.NewKeysAPI(c)
	_, err := k.Get(soon(), "/go/none", nil)
	if !client.IsKeyNotFound(err) {
		fail("Get of nothing: %v", err)
	}
	r, err := k.Set(soon(), "/go/a", "1 & ü", nil)
	ok(err, "Set")
	equal([]any{r.Action, r.Node.Key, r.Node.Value, r.PrevNode == nil, r.Index}, []any{"set", "/go/a", "1 & ü", true, r.Node.ModifiedIndex}, "Set")
	if len(r.ClusterID) == 0 {
		fail("Set: no cluster id")
	}
	for _, o := range []*client.GetOptions{nil, {Quorum: true}, {Sort: true, Recursive: true}} {
		g, err := k.Get(soon(), "/go/a", o)
		if (o == nil || !o.Quorum) && client.IsKeyNotFound(err) {
			continue // a member that is behind
		}
		ok(err, "Get")
		equal(g.Node.Value, "1 & ü", "Get")
	}
	_, err = k.Create(soon(), "/go/a", "x")
	refused(err, client.ErrorCodeNodeExist, "Create of what is there")
	_, err = k.Update(soon(), "/go/none", "x")
	refused(err, client.ErrorCodeKeyNotFound, "Update of nothing")
	r, err = k.Set(soon(), "/go/a", "2", &client.SetOptions{PrevValue: "1 & ü"})
	ok(err, "PrevValue")
	equal([]any{r.Action, r.PrevNode.Value}, []any{"compareAndSwap", "1 & ü"}, "PrevValue")
	_, err = k.Set(soon(), "/go/a", "3", &client.SetOptions{PrevValue: "other"})
	refused(err, client.ErrorCodeTestFailed, "PrevValue")
	_, err = k.Set(soon(), "/go/a", "3", &client.SetOptions{PrevIndex: 1})
	refused(err, client.ErrorCodeTestFailed, "PrevIndex")
	r, err = k.Set(soon(), "/go/a", "3", &client.SetOptions{PrevIndex: r.Node.ModifiedIndex, PrevExist: client.PrevExist, TTL: time.Minute})
	ok(err, "PrevIndex")
	equal([]any{r.Action, r.Node.TTL, r.Node.TTLDuration()}, []any{"compareAndSwap", int64(60), time.Minute}, "PrevIndex and TTL")
	r, err = k.Set(soon(), "/go/a", "", &client.SetOptions{PrevExist: client.PrevExist, TTL: 2 * time.Minute, Refresh: true})
	ok(err, "Refresh")
	equal([]any{r.Action, r.Node.Value, r.Node.TTL}, []any{"update", "3", int64(120)}, "Refresh")
	r, err = k.Set(soon(), "/go/a", "4", &client.SetOptions{NoValueOnSuccess: true})
	ok(err, "NoValueOnSuccess")
	equal([]any{r.Action, r.Node == nil}, []any{"set", true}, "NoValueOnSuccess")
	_, err = k.Set(soon(), "/go/a/b", "x", nil)
	refused(err, client.ErrorCodeNotDir, "a key below a key")
	_, err = k.Delete(soon(), "/go/a", &client.DeleteOptions{PrevValue: "x"})
	refused(err, client.ErrorCodeTestFailed, "Delete with PrevValue")
	r, err = k.Delete(soon(), "/go/a", &client.DeleteOptions{PrevValue: "4"})
	ok(err, "Delete with PrevValue")
	equal([]any{r.Action, r.PrevNode.Value}, []any{"compareAndDelete", "4"}, "Delete with PrevValue")
	r, err = k.Create(soon(), "/go/a", "5")
	ok(err, "Create")
	_, err = k.Delete(soon(), "/go/a", &client.DeleteOptions{PrevIndex: r.Node.ModifiedIndex})
	ok(err, "Delete with PrevIndex")
	_, err = k.Delete(soon(), "/go/a", nil)
	refused(err, client.ErrorCodeKeyNotFound, "Delete of nothing")
	_, err = k.Set(soon(), "/", "x", nil)
	refused(err, client.ErrorCodeRootROnly, "Set of the root")
}

func directories(c client.Client, _ []string) {
	k := client.NewKeysAPI(c)
	r, err := k.Set(soon(), "/go/dir", "ignored", &client.SetOptions{Dir: true, TTL: time.Minute})
	ok(err, "Dir")
	equal([]any{r.Node.Dir, r.Node.TTL}, []any{true, int64(60)}, "Dir")
	_, err = k.Set(soon(), "/go/dir", "", &client.SetOptions{Dir: true})
	refused(err, client.ErrorCodeNotFile, "Dir of what is there")
	_, err = k.Set(soon(), "/go/dir", "", &client.SetOptions{Dir: true, PrevExist: client.PrevExist, TTL: time.Hour})
	ok(err, "Dir with another TTL")
	for _, name := range []string{"b", "a", "sub/c", "_hidden"} {
		_, err = k.Create(soon(), "/go/dir/"+name, name)
		ok(err, "Create")
	}
	g, err := k.Get(soon(), "/go/dir", &client.GetOptions{Sort: true, Quorum: true})
	ok(err, "Get of a directory")
	var flat []string
	for _, n := range g.Node.Nodes {
		flat = append(flat, fmt.Sprintf("%s %t %d", n.Key, n.Dir, len(n.Nodes)))
	}
	equal(flat, []string{"/go/dir/a false 0", "/go/dir/b false 0", "/go/dir/sub true 0"}, "a listing")
	g, err = k.Get(soon(), "/go/dir", &client.GetOptions{Recursive: true, Sort: true, Quorum: true})
	ok(err, "Get of a tree")
	equal(g.Node.Nodes[2].Nodes[0].Value, "sub/c", "a tree")
	one, err := k.CreateInOrder(soon(), "/go/queue", "one", nil)
	ok(err, "CreateInOrder")
	two, err := k.CreateInOrder(soon(), "/go/queue", "two", &client.CreateInOrderOptions{TTL: time.Minute})
	ok(err, "CreateInOrder")
	equal([]any{len(one.Node.Key), one.Node.Key < two.Node.Key, two.Node.TTL}, []any{len("/go/queue/") + 20, true, int64(60)}, "CreateInOrder")
	_, err = k.Delete(soon(), "/go/dir", nil)
	refused(err, client.ErrorCodeNotFile, "Delete of a directory")
	_, err = k.Delete(soon(), "/go/dir", &client.DeleteOptions{Dir: true})
	refused(err, client.ErrorCodeDirNotEmpty, "Delete of a directory that is not empty")
	for _, name := range []string{"/go/dir", "/go/queue"} {
		r, err = k.Delete(soon(), name, &client.DeleteOptions{Recursive: true})
		ok(err, "Delete of a tree")
		equal(r.Node.Dir, true, "Delete of a tree")
	}
}

func watch(c client.Client, urls []string) {
	k := client.NewKeysAPI(c)
	r, err := k.Set(soon(), "/go/w/a", "0", nil)
	ok(err, "Set")
	w := k.Watcher("/go/w", &client.WatcherOptions{AfterIndex: r.Node.ModifiedIndex, Recursive: true})
	go func() {
		time.Sleep(200 * time.Millisecond)
		for i := range 20 {
			_, _ = k.Set(soon(), "/go/w/"+strconv.Itoa(i), strconv.Itoa(i), nil)
		}
		_, _ = k.Set(soon(), "/go/w/short", "", &client.SetOptions{TTL: time.Second})
		_, _ = k.Delete(soon(), "/go/w/0", nil)
	}()
	last := r.Node.ModifiedIndex
	for i := range 23 {
		e, err := w.Next(soon())
		ok(err, "Next")
		if e.Node.ModifiedIndex <= last {
			fail("Next: index %d after %d", e.Node.ModifiedIndex, last)
		}
		last = e.Node.ModifiedIndex
		switch {
		case i < 20:
			equal([]string{e.Action, e.Node.Value}, []string{"set", strconv.Itoa(i)}, "Next")
		case i == 21:
			equal([]string{e.Action, e.PrevNode.Value}, []string{"delete", "0"}, "Next")
		case i == 22:
			equal([]string{e.Action, e.Node.Key}, []string{"expire", "/go/w/short"}, "Next")
		}
	}
	// From now on, and not of what is below.
	one := client.NewKeysAPI(connect(client.Config{}, urls[0]))
	flat := one.Watcher("/go/w", nil)
	_, err = flat.Next(within(time.Second))
	if !errors.Is(err, context.DeadlineExceeded) {
		fail("a watcher of nothing: %v", err)
	}
	for i := range 1001 {
		_, err = one.Set(soon(), "/go/other", strconv.Itoa(i), nil)
		ok(err, "Set")
	}
	_, err = one.Watcher("/go/w", &client.WatcherOptions{AfterIndex: last - 1, Recursive: true}).Next(soon())
	refused(err, client.ErrorCodeEventIndexCleared, "Next of what is forgotten")
}

func members(c client.Client, urls []string) {
	m := client.NewMembersAPI(c)
	all, err := m.List(soon())
	ok(err, "List")
	var have []string
	for _, x := range all {
		have = append(have, x.ClientURLs...)
	}
	slices.Sort(have)
	want := slices.Sorted(slices.Values(urls))
	equal(have, want, "client URLs")
	lead, err := m.Leader(soon())
	ok(err, "Leader")
	equal(slices.ContainsFunc(all, func(x client.Member) bool { return reflect.DeepEqual(x, *lead) }), true, "the leader among the members")

	// Nobody is added before all members have been connected for some seconds.
	added, err := m.Add(soon(), "http://127.0.0.1:1")
	for range 20 {
		if err == nil {
			break
		}
		time.Sleep(500 * time.Millisecond)
		added, err = m.Add(soon(), "http://127.0.0.1:1")
	}
	ok(err, "Add")
	equal([]any{added.Name, added.PeerURLs, len(added.ClientURLs)}, []any{"", []string{"http://127.0.0.1:1"}, 0}, "Add")
	ok(m.Update(soon(), added.ID, []string{"http://127.0.0.1:2"}), "Update")
	ok(m.Remove(soon(), added.ID), "Remove")
	ok(m.Remove(soon(), added.ID), "Remove of what has gone") // the client takes 410 as success
	_, err = m.Add(soon(), all[0].PeerURLs[0])
	if err == nil || !strings.Contains(err.Error(), "exists") {
		fail("Add of a URL that is there: %v", err)
	}
	err = m.Remove(soon(), "abcdef")
	if err == nil || !strings.Contains(err.Error(), "404") {
		fail("Remove of nobody: %v", err)
	}
	v, err := c.GetVersion(soon())
	ok(err, "GetVersion")
	equal(strings.HasPrefix(v.Server, "3.") && strings.HasPrefix(v.Cluster, "3."), true, "GetVersion")
}

// hosts notes who is asked.
type hosts struct {
	*http.Transport
	last string
}

func (h *hosts) RoundTrip(r *http.Request) (*http.Response, error) {
	h.last = "http://" + r.URL.Host
	return h.Transport.RoundTrip(r)
}

// A client that knows one member learns of the others, and can go to the leader alone.
func follow(_ client.Client, urls []string) {
	c := connect(client.Config{}, urls[0])
	equal(c.Endpoints(), urls[:1], "Endpoints")
	ok(c.Sync(soon()), "Sync")
	equal(slices.Sorted(slices.Values(c.Endpoints())), slices.Sorted(slices.Values(urls)), "Endpoints after Sync")

	seen := &hosts{Transport: &http.Transport{}}
	c = connect(client.Config{SelectionMode: client.EndpointSelectionPrioritizeLeader, Transport: seen}, urls[0])
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := c.AutoSync(ctx, 100*time.Millisecond); !errors.Is(err, context.Canceled) {
			panic(err)
		}
	})
	time.Sleep(time.Second)
	lead, err := client.NewMembersAPI(c).Leader(soon())
	ok(err, "Leader")
	cancel()
	done.Wait()
	for range 5 {
		_, err = client.NewKeysAPI(c).Get(soon(), "/", nil)
		ok(err, "Get")
		equal(seen.last, lead.ClientURLs[0], "who is asked after AutoSync")
	}

	// Who does not answer is passed over.
	c = connect(client.Config{}, append([]string{"http://127.0.0.1:1"}, urls...)...)
	for range 8 {
		_, err = client.NewKeysAPI(c).Get(soon(), "/", nil)
		ok(err, "Get beside an endpoint that is not there")
	}
	_, err = client.NewKeysAPI(connect(client.Config{}, "http://127.0.0.1:1")).Get(soon(), "/", nil)
	var none *client.ClusterError
	if !errors.As(err, &none) {
		fail("Get of nobody: %v", err)
	}
}

// discovery goes through the protocol by which members find one another, with the calls that etcd's server makes.
func discovery(c client.Client, urls []string) {
	keys := client.NewKeysAPI(c)
	const token = "/_etcd/registry/go"
	_, err := keys.Set(soon(), token+"/_config/size", "3", nil)
	ok(err, "the size")
	at := client.NewKeysAPIWithPrefix(connect(client.Config{}, urls...), "/v2/keys/_etcd/registry")
	size, err := at.Get(soon(), "/go/_config/size", &client.GetOptions{Quorum: true})
	ok(err, "the size")
	equal(size.Node.Value, "3", "the size")
	var first *client.Response
	for i := range 3 {
		r, err := at.Create(soon(), fmt.Sprintf("/go/%x", i+10), fmt.Sprintf("m%d=http://127.0.0.1:%d", i, i+1))
		ok(err, "register")
		if first == nil {
			first = r
		}
	}
	_, err = at.Create(soon(), "/go/a", "m0=http://127.0.0.1:9")
	refused(err, client.ErrorCodeNodeExist, "register twice")
	w := at.Watcher("/go", &client.WatcherOptions{AfterIndex: first.Node.CreatedIndex - 1, Recursive: true})
	for i := range 3 {
		e, err := w.Next(soon())
		ok(err, "Next")
		equal(e.Node.Value, fmt.Sprintf("m%d=http://127.0.0.1:%d", i, i+1), "who has registered")
	}
	list, err := at.Get(soon(), "/go", &client.GetOptions{Quorum: true})
	ok(err, "the registry")
	equal(len(list.Node.Nodes), 3, "members of the registry, its settings apart")
}

func auth(_ client.Client, urls []string) {
	urls = urls[:1] // users and roles are what the member that is asked has of them
	c := connect(client.Config{}, urls...)
	users := client.NewAuthUserAPI(c)
	ok(users.AddUser(soon(), "root", "pw"), "AddUser")
	ok(client.NewAuthAPI(c).Enable(soon()), "Enable")
	rc := connect(client.Config{Username: "root", Password: "pw"}, urls...)
	rootAuth := client.NewAuthAPI(rc)
	defer func() { ok(rootAuth.Disable(soon()), "Disable") }()
	users, roles := client.NewAuthUserAPI(rc), client.NewAuthRoleAPI(rc)
	ok(roles.AddRole(soon(), "app"), "AddRole")
	r, err := roles.GrantRoleKV(soon(), "app", []string{"/app/*", "/pub/*"}, client.ReadWritePermission)
	ok(err, "GrantRoleKV")
	equal(r.Permissions.KV.Read, []string{"/app/*", "/pub/*"}, "GrantRoleKV")
	r, err = roles.RevokeRoleKV(soon(), "app", []string{"/pub/*"}, client.WritePermission)
	ok(err, "RevokeRoleKV")
	equal([][]string{r.Permissions.KV.Read, r.Permissions.KV.Write}, [][]string{{"/app/*", "/pub/*"}, {"/app/*"}}, "RevokeRoleKV")
	_, err = roles.GetRole(soon(), "none")
	equal(client.IsRoleNotFound(err), true, "GetRole of nothing")
	all, err := roles.ListRoles(soon())
	ok(err, "ListRoles")
	equal(all, []string{"app", "guest", "root"}, "ListRoles")
	ok(users.AddUser(soon(), "ann", "a"), "AddUser")
	u, err := users.GrantUser(soon(), "ann", []string{"app"})
	ok(err, "GrantUser")
	equal(u.Roles, []string{"app"}, "GrantUser")
	_, err = users.ChangePassword(soon(), "ann", "b")
	ok(err, "ChangePassword")
	u, err = users.GetUser(soon(), "ann")
	ok(err, "GetUser")
	// The client tries another form of the answer first, which leaves an empty name behind.
	equal([]any{u.User, u.Roles, u.Password}, []any{"ann", []string{"", "app"}, ""}, "GetUser")
	_, err = users.GetUser(soon(), "nobody")
	equal(client.IsUserNotFound(err), true, "GetUser of nobody")
	names, err := users.ListUsers(soon())
	ok(err, "ListUsers")
	equal(names, []string{"ann", "root"}, "ListUsers")
	_, err = roles.RevokeRoleKV(soon(), "guest", []string{"/*"}, client.ReadWritePermission)
	ok(err, "RevokeRoleKV of guest")

	ann := connect(client.Config{Username: "ann", Password: "b"}, urls...)
	k := client.NewKeysAPI(ann)
	_, err = k.Set(soon(), "/app/x", "v", nil)
	ok(err, "Set as ann")
	_, err = k.Get(soon(), "/app/x", &client.GetOptions{Quorum: true})
	ok(err, "Get as ann")
	for what, api := range map[string]client.KeysAPI{
		"a write that is not allowed": k,
		"guest":                       client.NewKeysAPI(c),
		"a password that was changed": client.NewKeysAPI(connect(client.Config{Username: "ann", Password: "a"}, urls...)),
	} {
		_, err = api.Set(soon(), "/pub/x", "v", nil)
		refused(err, client.ErrorCodeUnauthorized, what)
	}
	if _, err = client.NewAuthUserAPI(ann).ListUsers(soon()); err == nil || err.Error() != "Insufficient credentials" {
		fail("ListUsers as ann: %v", err)
	}
	if err = client.NewMembersAPI(ann).Remove(soon(), "abc"); err == nil {
		fail("ann may remove members")
	}
	u, err = users.RevokeUser(soon(), "ann", []string{"app"})
	ok(err, "RevokeUser")
	equal(len(u.Roles), 0, "RevokeUser")
	ok(users.RemoveUser(soon(), "ann"), "RemoveUser")
	ok(roles.RemoveRole(soon(), "app"), "RemoveRole")
	_, err = roles.GrantRoleKV(soon(), "guest", []string{"/*"}, client.ReadWritePermission)
	ok(err, "GrantRoleKV of guest")
}

func main() {
	urls := strings.Split(os.Args[1], ",")
	c := connect(client.Config{Transport: &http.Transport{}}, urls...)
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintln(os.Stderr, "Go client/v2:", r)
			os.Exit(1)
		}
	}()
	for _, check := range []struct {
		name string
		run  func(client.Client, []string)
	}{{"keys", keys}, {"directories", directories}, {"watch", watch}, {"members", members}, {"sync", follow}, {"discovery", discovery}, {"auth", auth}} {
		check.run(c, urls)
		fmt.Printf("Go client/v2: %s ok\n", check.name)
	}
}
