"""Drives a server over TLS with Debian's python3-etcd3, as users with passwords and with certificates. Arguments: host:port, the
directory of the certificates."""
import sys

import etcd3

host, port = sys.argv[1].rsplit(":", 1)
files = sys.argv[2]


def connect(certificate, user=None, password=None):
    return etcd3.client(host=host, port=int(port), timeout=10, ca_cert=files + "/ca.pem", cert_key="%s/%s-key.pem" % (files, certificate),
                        cert_cert="%s/%s.pem" % (files, certificate), user=user, password=password)


def refused(do, words, what):
    try:
        do()
    except Exception as e:  # the module has no error of its own for most
        if words in repr(e):
            return
        sys.exit("python3-etcd3: %s: refused with %r, not with %r" % (what, e, words))
    sys.exit("python3-etcd3: %s is not refused" % what)


def use(c, who):
    c.put("app/k", who)
    if c.get("app/k")[0] != who.encode():
        sys.exit("python3-etcd3: %s does not read what it has written" % who)
    events, cancel = c.watch_prefix("app/")
    c.put("app/k", "again")
    if next(events).value != b"again":
        sys.exit("python3-etcd3: %s does not see what it has written" % who)
    cancel()
    lease = c.lease(60)
    c.put("app/l", "v", lease=lease)
    lease.revoke()
    if c.get("app/l")[0] is not None:
        sys.exit("python3-etcd3: a key outlives its lease")
    refused(lambda: c.get("secret/key"), "permission denied", "%s reading what is not allowed" % who)
    refused(lambda: c.put("secret/key", "x"), "permission denied", "%s writing what is not allowed" % who)
    refused(lambda: list(c.get_all()), "permission denied", "%s reading everything" % who)
    refused(lambda: c.defragment(), "permission denied", "%s defragmenting" % who)


use(connect("nobody", "ann", "pass"), "password")
use(connect("ann"), "certificate")
use(connect("root", "ann", "pass"), "password beside a certificate")
for c in (connect("nobody", "root", "secret"), connect("root")):
    if c.get("secret/key")[0] != b"hidden":
        sys.exit("python3-etcd3: root does not read everything")
nobody = connect("nobody")
refused(lambda: nobody.get("app/k"), "user name is empty", "nobody")
refused(lambda: connect("nobody", "ann", "wrong"), "authentication failed", "a wrong password")
refused(lambda: connect("nobody", "bob", "pass"), "authentication failed", "a user that is not there")
