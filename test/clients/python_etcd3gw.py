"""Drives a server's JSON gateway with Debian's python3-etcd3gw. Argument: host:port."""
import queue
import sys

import etcd3gw
from etcd3gw import exceptions

host, port = sys.argv[1].rsplit(":", 1)


def connect(path="/v3/"):
    return etcd3gw.Etcd3Client(host=host, port=int(port), api_path=path, timeout=10)


def equal(got, want, what):
    if got != want:
        sys.exit("python3-etcd3gw: %s: got %r, want %r" % (what, got, want))


def kv(c):
    equal(c.put("gw/a", "1"), True, "put")
    equal(c.get("gw/a"), [b"1"], "get")
    equal(c.get("gw/none"), [], "get of nothing")
    value, meta = c.get("gw/a", metadata=True)[0]
    equal((meta["key"], meta["version"]), (b"gw/a", "1"), "metadata")
    equal(c.create("gw/b", "2"), True, "create")
    equal(c.create("gw/b", "3"), False, "create of what is there")
    equal(c.replace("gw/b", "2", "4"), True, "replace")
    equal(c.replace("gw/b", "2", "5"), False, "replace of another value")
    got = [(m["key"], v) for v, m in c.get_prefix("gw/", sort_order="descend", sort_target="key")]
    equal(got, [(b"gw/b", b"4"), (b"gw/a", b"1")], "get_prefix")
    equal(connect("/v3beta/").get("gw/a"), [b"1"], "get below /v3beta/")
    equal(c.delete("gw/a"), True, "delete")
    equal(c.delete("gw/a"), False, "delete of nothing")
    equal(c.delete_prefix("gw/"), True, "delete_prefix")


def txn(c):
    key = "Z3cvdA=="  # gw/t
    result = c.transaction({
        "compare": [{"key": key, "result": "EQUAL", "target": "VERSION", "version": 0}],
        "success": [{"request_put": {"key": key, "value": "eA=="}}, {"request_range": {"key": key}}],
        "failure": [],
    })
    equal(result["succeeded"], True, "transaction")
    equal(result["responses"][1]["response_range"]["kvs"][0]["value"], "eA==", "a read inside of the transaction")
    result = c.transaction({
        "compare": [{"key": key, "result": "EQUAL", "target": "VALUE", "value": "eQ=="}],
        "success": [], "failure": [{"request_delete_range": {"key": key}}],
    })
    equal("succeeded" in result, False, "transaction that fails")
    equal(result["responses"][0]["response_delete_range"]["deleted"], "1", "the failure branch")
    try:
        c.put("", "x")
        sys.exit("python3-etcd3gw: a key may be empty")
    except exceptions.Etcd3Exception as e:
        equal("key is not provided" in str(e.detail_text), True, "error: %s" % e.detail_text)


def lease(c):
    lease = c.lease(60)
    equal(c.put("gw/l", "v", lease=lease), True, "put with a lease")
    equal(lease.refresh(), 60, "refresh")
    equal(58 <= lease.ttl() <= 60, True, "ttl")
    equal(lease.keys(), [b"gw/l"], "keys of the lease")
    equal(lease.revoke(), True, "revoke")
    equal(c.get("gw/l"), [], "a key after its lease")
    equal(lease.ttl(), -1, "ttl of a lease that is gone")


def watch(c):
    events, cancel = c.watch_prefix("gw/w")
    writer = connect()
    writer.put("gw/w1", "a")
    writer.delete("gw/w1")
    event = next(events)
    equal((event["kv"]["key"], event["kv"]["value"], "type" in event), (b"gw/w1", b"a", False), "put event")
    event = next(events)
    equal((event["kv"]["key"], event["type"]), (b"gw/w1", "DELETE"), "delete event")
    cancel()
    rev = int(event["kv"]["mod_revision"])
    got = queue.Queue()
    past = etcd3gw.watch.Watcher(c, "gw/w1", got.put, start_revision=rev - 1)
    equal(got.get(timeout=10)["kv"]["value"], b"a", "watch of the past")
    past.stop()


def lock(c):
    with c.lock("gw-lock", ttl=20) as held:
        equal(held.is_acquired(), True, "lock")
        equal(connect().lock("gw-lock", ttl=20).acquire(), False, "a lock that is held")
        equal(held.refresh(), 20, "refresh of a lock")
    equal(connect().lock("gw-lock", ttl=20).acquire(), True, "a lock that was let go")


def maintenance(c):
    st = c.status()
    equal(st["leader"], c.members()[0]["ID"], "leader")
    equal(int(st["dbSize"]) > 0, True, "dbSize")


client = connect()
for test in (kv, txn, lease, watch, lock, maintenance):
    test(client)
    print("python3-etcd3gw: %s ok" % test.__name__, flush=True)
