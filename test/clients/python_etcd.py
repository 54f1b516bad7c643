"""Drives a server's v2 API with Debian's python3-etcd. Argument: host:port."""
import sys
import threading
import time

import etcd
import etcd.auth

host, port = sys.argv[1].rsplit(":", 1)


def connect(**how):
    return etcd.Client(host=host, port=int(port), **how)


def equal(got, want, what):
    if got != want:
        sys.exit("python3-etcd: %s: got %r, want %r" % (what, got, want))


def raises(kind, what, f, *args, **how):
    try:
        got = f(*args, **how)
    except kind as e:
        return e
    sys.exit("python3-etcd: %s: got %r, want %s" % (what, got, kind.__name__))


def keys(c):
    raises(etcd.EtcdKeyNotFound, "get of nothing", c.get, "/py/a")
    equal("/py/a" in c, False, "in")
    r = c.write("/py/a", "1")
    equal((r.action, r.key, r.value, r.newKey, r.ttl, r.dir), ("set", "/py/a", "1", True, None, False), "write")
    equal((r.createdIndex, r.modifiedIndex), (r.etcd_index,) * 2, "indexes of a new key")
    r = c.set("/py/a", "zwei \u00fc&=+%")
    equal((r.newKey, r.value, r._prev_node.value), (False, "zwei \u00fc&=+%", "1"), "set")
    equal(c.get("/py/a").value, "zwei \u00fc&=+%", "get")
    raises(etcd.EtcdAlreadyExist, "prevExist=False", c.write, "/py/a", "x", prevExist=False)
    raises(etcd.EtcdKeyNotFound, "prevExist=True", c.write, "/py/none", "x", prevExist=True)
    raises(etcd.EtcdNotDir, "a key below a key", c.write, "/py/a/b", "x")
    raises(etcd.EtcdNotFile, "a value of a directory", c.write, "/py", "x")
    raises(etcd.EtcdRootReadOnly, "a value of the root", c.write, "/", "x")
    raises(etcd.EtcdValueError, "a ttl that is no number", c.write, "/py/a", "x", ttl="soon")
    equal(c.test_and_set("/py/a", "3", "zwei \u00fc&=+%").action, "compareAndSwap", "test_and_set")
    raises(etcd.EtcdCompareFailed, "test_and_set", c.test_and_set, "/py/a", "4", "other")
    equal(c.write("/py/a", "5", prevIndex=c.get("/py/a").modifiedIndex).value, "5", "prevIndex")
    raises(etcd.EtcdCompareFailed, "prevIndex", c.write, "/py/a", "6", prevIndex=1)
    got = c.read("/py/a")
    got.value = "7"
    equal(c.update(got).value, "7", "update")
    raises(etcd.EtcdCompareFailed, "update of what has changed", c.update, got)
    raises(etcd.EtcdCompareFailed, "delete of another value", c.delete, "/py/a", prevValue="x")
    equal(c.delete("/py/a", prevValue="7").action, "compareAndDelete", "delete with prevValue")
    c.write("/py/a", "8")
    equal(c.pop("/py/a").value, "8", "pop")


def directories(c):
    r = c.write("/py/d", None, dir=True, ttl=30)
    equal((r.dir, r.ttl), (True, 30), "a directory with ttl")
    raises(etcd.EtcdNotFile, "a directory that is there", c.write, "/py/d", None, dir=True)
    raises(etcd.EtcdAlreadyExist, "a directory that is there, prevExist=False", c.write, "/py/d", None, dir=True, prevExist=False)
    equal(c.write("/py/d", None, dir=True, ttl=31, prevExist=True).ttl, 31, "a directory's ttl")
    d = c.get("/py/d")
    d.ttl = 120
    equal(c.update(d).ttl, 120, "update of a directory")
    for name in ("y", "x", "sub/z"):
        c.write("/py/d/" + name, name)
    r = c.read("/py/d", recursive=True, sorted=True)
    equal([(n.key, n.value) for n in r.leaves], [("/py/d/sub/z", "sub/z"), ("/py/d/x", "x"), ("/py/d/y", "y")], "leaves")
    equal(sorted(n.key for n in r.get_subtree() if n.dir), ["/py/d", "/py/d/sub"], "directories of the subtree")
    first, second = (c.write("/py/queue", v, append=True) for v in ("one", "two"))
    equal(first.key < second.key and len(first.key) == len("/py/queue/") + 20, True, "keys in order")
    equal([n.value for n in c.read("/py/queue", sorted=True, quorum=True).leaves], ["one", "two"], "the queue")
    raises(etcd.EtcdNotFile, "delete of a directory", c.delete, "/py/d")
    raises(etcd.EtcdDirNotEmpty, "delete of a directory that is not empty", c.delete, "/py/d", dir=True)
    c.delete("/py/d/x", dir=False)
    equal(c.delete("/py/d", recursive=True).dir, True, "delete of a tree")
    raises(etcd.EtcdKeyNotFound, "what was below", c.get, "/py/d/y")


def ttl(c):
    equal(c.write("/py/t", "v", ttl=1).ttl, 1, "ttl")
    began = time.time()
    r = c.watch("/py/t", timeout=10)
    equal((r.action, r._prev_node.value, r.value), ("expire", "v", None), "expiry")
    equal(0.9 < time.time() - began < 4, True, "the time it took")
    c.write("/py/t", "v", ttl=60)
    watcher = connect()
    index = c.refresh("/py/t", ttl=90).modifiedIndex
    raises(etcd.EtcdWatchTimedOut, "a refresh tells nobody", watcher.watch, "/py/t", index=index, timeout=1)
    r = c.get("/py/t")
    equal((r.value, 88 <= r.ttl <= 90), ("v", True), "a refreshed key")
    raises(etcd.EtcdKeyNotFound, "refresh of nothing", c.refresh, "/py/none", ttl=5)
    equal(c.write("/py/t", "v").ttl, None, "a write without ttl")


def watch(c):
    start = c.write("/py/w/a", "0").modifiedIndex + 1
    writer = connect()

    def write():
        for v in ("1", "2", "3"):
            writer.write("/py/w/a", v)
        writer.write("/py/w/b", "4")
        writer.delete("/py/w/b")

    threading.Timer(0.3, write).start()
    seen = []
    for r in c.eternal_watch("/py/w", index=start, recursive=True):
        seen.append((r.action, r.key, r.value))
        if len(seen) == 5:
            break
    equal(seen, [("set", "/py/w/a", v) for v in "123"] + [("set", "/py/w/b", "4"), ("delete", "/py/w/b", None)], "eternal_watch")
    again = c.watch("/py/w/a", index=start, timeout=5)
    equal((again.value, again.etcd_index >= again.modifiedIndex), ("1", True), "watch of the past")
    raises(etcd.EtcdWatchTimedOut, "watch of a directory alone", c.watch, "/py/w", timeout=0.5)
    for i in range(1001):
        writer.write("/py/other", str(i))
    raises(etcd.EtcdEventIndexCleared, "watch of what is forgotten", c.watch, "/py/w/a", index=start, timeout=5)


def lock(c):
    one, two = etcd.Lock(c, "py"), etcd.Lock(connect(), "py")
    equal(one.acquire(blocking=True, lock_ttl=60), True, "lock")
    equal(two.acquire(blocking=False, lock_ttl=60), False, "a lock that is held")
    equal((one.is_acquired, two.is_acquired), (True, False), "who holds it")
    waiter = threading.Thread(target=two.acquire, kwargs={"lock_ttl": 60, "timeout": 20}, daemon=True)
    waiter.start()
    waiter.join(0.5)
    equal(waiter.is_alive(), True, "waiting for a lock")
    one.release()
    waiter.join(10)
    equal((waiter.is_alive(), two.is_acquired), (False, True), "a lock that was let go")
    two.release()
    with etcd.Lock(c, "py") as held:
        equal(held.is_acquired, True, "a lock as a context")
    dead = etcd.Lock(c, "dead")
    dead.acquire(lock_ttl=1)
    equal(two.client.read("/_locks/dead").dir, True, "the directory of locks")
    heir = etcd.Lock(connect(), "dead")
    equal(heir.acquire(lock_ttl=60, timeout=10), True, "a lock whose holder has died")
    equal(dead.is_acquired, False, "a lock that was lost")
    heir.release()
    # etcd 2.0 took the old modules for locks and elections away, and the client says so itself.
    raises(NotImplementedError, "election", lambda: c.election)


def cluster(c):
    equal("http://%s:%s" % (host, port) in c.machines, True, "machines")
    m = c.leader
    equal(m["id"] in c.members, True, "the leader among the members")
    equal(sorted(m), ["clientURLs", "id", "name", "peerURLs"], "a member")
    equal(c.stats["leaderInfo"]["leader"], m["id"], "stats")
    equal(c.leader_stats["leader"], m["id"], "leader_stats")
    before = c.store_stats
    c.write("/py/s", "v")
    c.get("/py/s")
    after = c.store_stats
    equal(after["setsSuccess"] - before["setsSuccess"], 1, "setsSuccess")
    equal(after["getsSuccess"] > before["getsSuccess"], True, "getsSuccess")
    equal(c.version[:2] == "3." and c.cluster_version[:2] == "3.", True, "versions")
    # A client that may reconnect goes on at another member of its list.
    both = etcd.Client(host=(("127.0.0.1", 1), (host, int(port))), allow_reconnect=True)
    equal(both.write("/py/s", "w").value, "w", "a client that reconnects")
    raises(etcd.EtcdClusterIdChanged, "another cluster", connect(expected_cluster_id="1").get, "/py/s")


def auth(c):
    user = etcd.auth.EtcdUser(c, "root")
    user.password = "testpass"
    user.write()
    root = connect(username="root", password="testpass")
    switch = etcd.auth.Auth(root)
    equal(switch.active, False, "auth before it is on")
    switch.active = True
    try:
        equal(switch.active, True, "auth")
        equal([u["user"] for u in etcd.auth.EtcdUser(root, "root").names], ["root"], "users")
        role = etcd.auth.EtcdRole(root, "reader")
        role.acls = {"*": "R", "/py/test/*": "RW"}
        role.write()
        role.revoke("/py/test/*", "W")
        role.write()
        role.grant("/py/pub/*", "RW")
        role.write()
        again = etcd.auth.EtcdRole(root, "reader")
        again.read()
        equal(again.acls, {"*": "R", "/py/test/*": "R", "/py/pub/*": "RW"}, "a role")
        equal([r["role"] for r in role.names], ["guest", "reader", "root"], "roles")
        ann = etcd.auth.EtcdUser(root, "ann")
        ann.password = "pw"
        ann.roles = ["reader"]
        ann.write()
        guest = etcd.auth.EtcdRole(root, "guest")
        guest.read()
        equal(guest.acls, {"/*": "RW"}, "guest")
        guest.revoke("/*", "RW")
        guest.write()
        a = connect(username="ann", password="pw")
        equal(a.write("/py/pub/x", "v").value, "v", "a write that is allowed")
        equal(a.get("/py/pub/x").value, "v", "a read that is allowed")
        raises(etcd.EtcdInsufficientPermissions, "a write that is not", a.write, "/py/test/x", "v")
        raises(etcd.EtcdInsufficientPermissions, "guest", c.get, "/py/pub/x")
        raises(etcd.EtcdInsufficientPermissions, "a wrong password", connect(username="ann", password="no").get, "/py/pub/x")
        raises(etcd.EtcdInsufficientPermissions, "users, for ann", etcd.auth.EtcdUser(a, "root").read)
        raises(etcd.EtcdKeyNotFound, "a user that is not there", etcd.auth.EtcdUser(root, "nobody").read)
        raises(etcd.EtcdKeyNotFound, "delete of a user that is not there", etcd.auth.EtcdUser(root, "nobody").delete)
        ann.delete()
        role.delete()
    finally:
        switch.active = False
    for kind, name in ((etcd.auth.EtcdUser, "root"), (etcd.auth.EtcdRole, "guest")):
        kind(c, name).delete()
    equal(c.get("/py/pub/x").value, "v", "a read without auth")


client = connect()
for test in (keys, directories, ttl, watch, lock, cluster, auth):
    test(client)
    print("python3-etcd: %s ok" % test.__name__, flush=True)
