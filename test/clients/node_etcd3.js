// Drives a server over gRPC with the etcd3 package of npm. Argument: host:port.
'use strict';
const assert = require('node:assert');
const { Etcd3, EtcdLockFailedError, EtcdLeaseInvalidError } = require('etcd3');

const connect = () => new Etcd3({ hosts: `http://${process.argv[2]}` });

async function kv(c) {
  await c.put('js/a').value('1');
  assert.strictEqual(await c.get('js/a').string(), '1');
  assert.strictEqual(await c.get('js/none').string(), null);
  await c.put('js/b').value(Buffer.from([0, 255]));
  assert.deepStrictEqual(await c.getAll().prefix('js/').keys(), ['js/a', 'js/b']);
  const page = await c.getAll().prefix('js/').sort('Key', 'Descend').limit(1).exec();
  assert.strictEqual(page.more, true);
  assert.strictEqual(page.count, '2');
  assert.strictEqual(page.kvs[0].key.toString(), 'js/b');
  const put = await c.put('js/a').value('2').getPrevious();
  assert.strictEqual(put.value.toString(), '1');
  assert.strictEqual((await c.delete().prefix('js/')).deleted, '2');
  const ns = c.namespace('space/');
  await ns.put('k').value('v');
  assert.strictEqual(await c.get('space/k').string(), 'v');
}

async function txn(c) {
  await c.put('js/t').value('x');
  const done = await c.if('js/t', 'Value', '==', 'x').and('js/u', 'Create', '==', 0)
    .then(c.put('js/u').value('y'), c.get('js/u')).else(c.delete().key('js/t')).commit();
  assert.strictEqual(done.succeeded, true);
  assert.strictEqual(done.responses[1].response_range.kvs[0].value.toString(), 'y');
  const not = await c.if('js/t', 'Version', '>', 5).then().else(c.get('js/t')).commit();
  assert.strictEqual(not.succeeded, false);
  await Promise.all([...Array(5)].map(() => c.stm({ retries: 100 }).transact(async (tx) => {
    const n = Number((await tx.get('js/n').string()) || 0);
    await tx.put('js/n').value(n + 1);
  })));
  assert.strictEqual(await c.get('js/n').number(), 5);
}

async function lease(c) {
  const l = c.lease(60);
  await l.put('js/l').value('v');
  const id = await l.grant();
  const left = await c.leaseClient.leaseTimeToLive({ ID: id, keys: true });
  assert.strictEqual(left.grantedTTL, '60');
  assert.strictEqual(left.keys[0].toString(), 'js/l');
  await l.keepaliveOnce();
  await l.revoke();
  assert.strictEqual(await c.get('js/l').string(), null);
  const gone = c.lease(60);
  const goneID = await gone.grant();
  await c.leaseClient.leaseRevoke({ ID: goneID });
  await assert.rejects(gone.keepaliveOnce(), EtcdLeaseInvalidError);
}

async function watch(c) {
  const w = await c.watch().prefix('js/w').withPreviousKV().create();
  const events = [];
  const three = new Promise((resolve, reject) => {
    const note = (kind) => (kv, prev) => {
      events.push([kind, kv.key.toString(), kv.value.toString(), prev ? prev.value.toString() : null]);
      if (events.length === 3) resolve();
    };
    w.on('put', note('put')).on('delete', note('delete')).on('error', reject);
  });
  await c.put('js/w1').value('a');
  await c.put('js/w1').value('b');
  await c.delete().key('js/w1');
  await three;
  assert.deepStrictEqual(events, [['put', 'js/w1', 'a', null], ['put', 'js/w1', 'b', 'a'], ['delete', 'js/w1', '', 'b']]);
  const rev = (await c.get('js/w1').exec()).header.revision;
  await w.cancel();
  const past = await c.watch().key('js/w1').startRevision(String(rev - 2)).create();
  const first = await new Promise((resolve, reject) => past.on('put', resolve).on('error', reject));
  assert.strictEqual(first.value.toString(), 'a');
  await past.cancel();
}

async function lock(c) {
  const held = await c.lock('js-lock').ttl(20).acquire();
  await assert.rejects(c.lock('js-lock').ttl(20).acquire(), EtcdLockFailedError);
  await held.release();
  await (await c.lock('js-lock').ttl(20).acquire()).release();
}

async function election(c) {
  const one = c.election('js-vote', 10);
  const campaign = one.campaign('one');
  await new Promise((resolve, reject) => campaign.on('elected', resolve).on('error', reject));
  const seen = await one.observe();
  if (seen.leader() === undefined) await new Promise((resolve) => seen.once('change', resolve));
  assert.strictEqual(seen.leader(), 'one');
  assert.strictEqual(await one.leader(), 'one');
  await seen.cancel();
  await campaign.resign();
}

async function maintenance(c) {
  const st = await c.maintenance.status();
  const list = await c.cluster.memberList({});
  assert.strictEqual(st.leader, list.members[0].ID);
  await assert.rejects(c.put('').value('x').exec(), /key is not provided/);
}

(async () => {
  const c = connect();
  for (const test of [kv, txn, lease, watch, lock, election, maintenance]) {
    await test(c);
    console.log(`npm etcd3: ${test.name} ok`);
  }
  c.close();
})().catch((e) => {
  console.error('npm etcd3:', e);
  process.exit(1);
});
