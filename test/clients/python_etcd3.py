"""Drives a server over gRPC with Debian's python3-etcd3. Argument: host:port."""
import io
import sys
import threading

import etcd3

host, port = sys.argv[1].rsplit(":", 1)


def connect():
    return etcd3.client(host=host, port=int(port), timeout=10)


def equal(got, want, what):
    if got != want:
        sys.exit("python3-etcd3: %s: got %r, want %r" % (what, got, want))


def values(pairs):
    return [(m.key, v) for v, m in pairs]


def kv(c):
    c.put("py/a", "1")
    value, meta = c.get("py/a")
    equal(value, b"1", "get")
    equal((meta.key, meta.version), (b"py/a", 1), "meta")
    equal(meta.create_revision, meta.mod_revision, "revisions of a new key")
    c.put("py/a", "2")
    c.put("py/b", b"\x00\xff")
    equal(values(c.get_prefix("py/", sort_order="descend")), [(b"py/b", b"\x00\xff"), (b"py/a", b"2")], "get_prefix")
    equal(values(c.get_range("py/a", "py/b")), [(b"py/a", b"2")], "get_range")
    equal(c.get("py/none"), (None, None), "get of nothing")
    equal(c.put_if_not_exists("py/a", "3"), False, "put_if_not_exists of what is there")
    equal(c.put_if_not_exists("py/c", "3"), True, "put_if_not_exists")
    equal(c.replace("py/c", "3", "4"), True, "replace")
    equal(c.replace("py/c", "3", "5"), False, "replace of another value")
    equal(c.delete("py/c"), True, "delete")
    equal(c.delete("py/c"), False, "delete of nothing")
    equal(c.delete_prefix("py/").deleted, 2, "delete_prefix")


def txn(c):
    c.put("py/t", "x")
    ok, answers = c.transaction(
        compare=[c.transactions.value("py/t") == "x", c.transactions.version("py/u") == 0, c.transactions.mod("py/t") > 0],
        success=[c.transactions.put("py/u", "y"), c.transactions.get("py/u")],
        failure=[c.transactions.delete("py/t")],
    )
    equal(ok, True, "transaction")
    equal(answers[1][0][0], b"y", "a read inside of the transaction")
    ok, _ = c.transaction(compare=[c.transactions.create("py/t") == 0], success=[], failure=[c.transactions.delete("py/t")])
    equal(ok, False, "transaction that fails")
    equal(c.get("py/t"), (None, None), "the failure branch")


def lease(c):
    lease = c.lease(60)
    c.put("py/l", "v", lease=lease)
    equal(lease.granted_ttl, 60, "granted_ttl")
    equal(58 <= lease.remaining_ttl <= 60, True, "remaining_ttl")
    equal(list(lease.keys), [b"py/l"], "keys of the lease")
    equal([r.TTL for r in lease.refresh()], [60], "refresh")
    lease.revoke()
    equal(c.get("py/l"), (None, None), "a key after its lease")
    short = c.lease(2)
    c.put("py/short", "v", lease=short)
    events, cancel = c.watch("py/short")
    event = next(events)
    equal(type(event).__name__, "DeleteEvent", "the end of a lease")
    cancel()


def watch(c):
    rev = c.get_response("py/w").header.revision
    writer = connect()

    def write():
        writer.put("py/w1", "a")
        writer.put("py/w1", "b")
        writer.delete("py/w1")

    events, cancel = c.watch_prefix("py/w", start_revision=rev + 1, prev_kv=True)
    threading.Timer(0.2, write).start()
    seen = []
    for event in events:
        seen.append((type(event).__name__, event.key, event.value, event.prev_value))
        if len(seen) == 3:
            break
    cancel()
    equal(seen, [("PutEvent", b"py/w1", b"a", b""), ("PutEvent", b"py/w1", b"b", b"a"), ("DeleteEvent", b"py/w1", b"", b"b")], "watch")
    again, cancel = c.watch_prefix("py/w", start_revision=rev + 1)
    equal(next(again).value, b"a", "watch of the past")
    cancel()
    c.compact(rev + 3)
    events, cancel = c.watch("py/w1", start_revision=rev + 1)
    try:
        next(events)
        sys.exit("python3-etcd3: a watch of compacted revisions brings events")
    except etcd3.exceptions.RevisionCompactedError as e:
        equal(e.compacted_revision, rev + 3, "compacted revision")


def lock(c):
    # Waiting for a lock that is held fails inside of the module with Debian's tenacity: who holds it is looked up.
    other = connect()
    with c.lock("py-lock", ttl=20) as held:
        equal(held.is_acquired(), True, "lock")
        equal(other.lock("py-lock", ttl=20).is_acquired(), False, "a lock that is held")
        equal(other.put_if_not_exists(held.key, "mine"), False, "the key of a lock that is held")
    equal(other.get(held.key), (None, None), "the key of a lock that was let go")
    again = other.lock("py-lock", ttl=20)
    equal(again.acquire(), True, "a lock that was let go")
    equal(again.release(), True, "release")


def maintenance(c):
    st = c.status()
    equal(st.leader.id, list(c.members)[0].id, "leader")
    equal(st.db_size > 0, True, "db_size")
    backup = io.BytesIO()
    c.snapshot(backup)
    equal(len(backup.getvalue()) % 512, 32, "size of a snapshot modulo 512")
    equal(list(c.list_alarms()), [], "alarms")
    c.defragment()
    c.lease(60, lease_id=5)
    try:
        c.lease(60, lease_id=5)
        sys.exit("python3-etcd3: a lease can be granted twice")
    except etcd3.exceptions.PreconditionFailedError:
        c.revoke_lease(5)


client = connect()
for test in (kv, txn, lease, watch, lock, maintenance):
    test(client)
    print("python3-etcd3: %s ok" % test.__name__, flush=True)
client.close()
