// Drives a server's v2 API with the node-etcd package of npm. Argument: host:port.
'use strict';
const assert = require('node:assert');
const Etcd = require('node-etcd');

const address = `http://${process.argv[2]}`;
const etcd = new Etcd(address);

// call turns a call with a callback into a promise; an error carries errorCode.
const call = (name, ...args) => new Promise((resolve, reject) => {
  etcd[name](...args, (err, body, headers) => (err ? reject(err) : resolve({ body, headers })));
});
const refused = (code) => (err) => { assert.strictEqual(err.errorCode, code, String(err)); return true; };
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

async function keys() {
  const set = await call('set', '/node/a', 'eins & zwei');
  assert.deepStrictEqual([set.body.action, set.body.node.value], ['set', 'eins & zwei']);
  assert.strictEqual(set.headers['x-etcd-index'], String(set.body.node.modifiedIndex));
  assert.strictEqual((await call('get', 'node/a')).body.node.value, 'eins & zwei');
  await assert.rejects(call('get', 'node/none'), refused(100));
  const short = await call('set', 'node/t', 'v', { ttl: 60 });
  assert.strictEqual(short.body.node.ttl, 60);
  await assert.rejects(call('set', 'node/a', 'x', { prevExist: false }), refused(105));
  await assert.rejects(call('set', 'node/a/b', 'x'), refused(104));
  assert.strictEqual((await call('del', 'node/t')).body.action, 'delete');
  await assert.rejects(call('del', 'node/t'), refused(100));
}

async function swaps() {
  await call('set', 'node/c', 'old');
  const swap = await call('compareAndSwap', 'node/c', 'new', 'old');
  assert.deepStrictEqual([swap.body.action, swap.body.prevNode.value], ['compareAndSwap', 'old']);
  await assert.rejects(call('compareAndSwap', 'node/c', 'x', 'old'), refused(101));
  await assert.rejects(call('testAndSet', 'node/c', 'x', 'new', { prevIndex: 1 }), refused(101));
  await assert.rejects(call('compareAndDelete', 'node/c', 'old'), refused(101));
  assert.strictEqual((await call('compareAndDelete', 'node/c', 'new')).body.action, 'compareAndDelete');
}

async function directories() {
  assert.strictEqual((await call('mkdir', 'node/dir')).body.node.dir, true);
  await assert.rejects(call('mkdir', 'node/dir'), refused(102));
  assert.strictEqual((await call('mkdir', 'node/short', { ttl: 60 })).body.node.ttl, 60);
  const first = await call('create', 'node/dir', 'one');
  const second = await call('post', 'node/dir', 'two');
  assert.match(first.body.node.key, /^\/node\/dir\/\d{20}$/);
  assert(first.body.node.key < second.body.node.key);
  const list = await call('get', 'node/dir', { recursive: true, sorted: true });
  assert.deepStrictEqual(list.body.node.nodes.map((n) => n.value), ['one', 'two']);
  await assert.rejects(call('rmdir', 'node/dir'), refused(108));
  await assert.rejects(call('del', 'node/dir'), refused(102));
  assert.strictEqual((await call('rmdir', 'node/dir', { recursive: true })).body.node.dir, true);
  await call('rmdir', 'node/short');
}

async function sync() {
  assert.strictEqual(etcd.setSync('node/s', 'v').err, null);
  assert.strictEqual(etcd.getSync('node/s').body.node.value, 'v');
  assert.strictEqual(etcd.mkdirSync('node/sdir').body.node.dir, true);
  assert.strictEqual(etcd.rmdirSync('node/sdir').err, null);
  assert.strictEqual(etcd.delSync('node/s').err, null);
  assert.strictEqual(etcd.getSync('node/s').err.errorCode, 100);
}

async function watch() {
  const start = (await call('set', 'node/w/a', '0')).body.node.modifiedIndex + 1;
  const waiting = call('watch', 'node/w', { recursive: true });
  await pause(300);
  await call('set', 'node/w/a', '1');
  assert.strictEqual((await waiting).body.node.value, '1');
  assert.strictEqual((await call('watchIndex', 'node/w/a', start)).body.node.value, '1');

  const watcher = etcd.watcher('node/w', start, { recursive: true });
  const events = [];
  const five = new Promise((resolve, reject) => {
    watcher.on('change', (e) => { events.push(`${e.action} ${e.node.key} ${e.node.value}`); if (events.length === 5) resolve(); });
    watcher.on('error', reject).on('reconnect', reject);
  });
  let deletions = 0;
  watcher.on('delete', () => { deletions += 1; });
  await call('set', 'node/w/b', '2');
  await call('compareAndSwap', 'node/w/b', '3', '2');
  await call('del', 'node/w/b');
  await call('set', 'node/w/c', '4', { ttl: 60 });
  await five;
  watcher.stop();
  assert.deepStrictEqual(events, ['set /node/w/a 1', 'set /node/w/b 2', 'compareAndSwap /node/w/b 3', 'delete /node/w/b undefined', 'set /node/w/c 4']);
  assert.strictEqual(deletions, 1);
}

// A watcher whose place is forgotten is told where things are, and goes on.
async function resync() {
  const start = (await call('set', 'node/r', '0')).body.node.modifiedIndex;
  for (let i = 0; i < 1010; i += 10) {
    await Promise.all([...Array(10)].map((_, j) => call('set', 'node/other', String(i + j))));
  }
  const watcher = etcd.watcher('node/r', start);
  const cleared = await new Promise((resolve, reject) => watcher.on('resync', resolve).on('error', reject).on('reconnect', reject));
  assert.strictEqual(cleared.errorCode, 401);
  const changed = new Promise((resolve, reject) => watcher.on('change', resolve).on('error', reject).on('reconnect', reject));
  await call('set', 'node/r', '1');
  assert.strictEqual((await changed).node.value, '1');
  watcher.stop();
}

async function cluster() {
  const leader = (await call('leaderStats')).body;
  const self = (await call('selfStats')).body;
  assert.strictEqual(self.leaderInfo.leader, leader.leader);
  assert.match((await call('version')).body.etcdserver, /^3\./);
  await assert.rejects(call('machines'), refused(100)); // it reads a key that etcd has not had since 2.0
  const raw = await call('raw', 'PUT', 'v2/keys/node/raw', 'value', {});
  assert.strictEqual(raw.body.node.value, 'value');
  // Whoever is not there is passed over.
  const both = new Etcd(['http://127.0.0.1:1', address]);
  for (let i = 0; i < 4; i += 1) {
    await new Promise((resolve, reject) => { both.set('node/both', String(i), (err) => (err ? reject(err) : resolve())); });
  }
  await call('del', 'node', { recursive: true });
}

(async () => {
  for (const test of [keys, swaps, directories, sync, watch, resync, cluster]) {
    await test();
    console.log(`npm node-etcd: ${test.name} ok`);
  }
  process.exit(0);
})().catch((e) => {
  console.error('npm node-etcd:', e);
  process.exit(1);
});
