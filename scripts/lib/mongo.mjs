// Sets up a MongoDB replica set without a shell or a driver: the few commands that scripts/servers needs, over OP_MSG.
//
//   node mongo.mjs initiate HOST:PORT...       forms the replica set rs0; returns once it has a primary and all have joined
//   node mongo.mjs await-members HOST:PORT...  returns once one of them is primary and the rest are secondaries
//   node mongo.mjs await-answer HOST:PORT...   returns once each answers
//   node mongo.mjs primary HOST:PORT...        prints which of them is the primary
//   node mongo.mjs create-users HOST:PORT...   creates `admin` and `weak` through the localhost exception

import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { connect } from 'node:net';

const TIMEOUT_MS = 60_000;
const RETRY_MS = 25;
const OP_MSG = 2013;
const PASSWORD = 'secret';

// --- BSON, as far as commands and their replies need it ---

function encodeValue(value) {
  if (typeof value === 'string') {
    const text = Buffer.from(value + '\0');
    return [0x02, Buffer.concat([int32(text.length), text])];
  }
  if (typeof value === 'boolean') return [0x08, Buffer.from([value ? 1 : 0])];
  if (typeof value === 'number') return [0x10, int32(value)];
  if (Buffer.isBuffer(value)) return [0x05, Buffer.concat([int32(value.length), Buffer.from([0]), value])];
  return [Array.isArray(value) ? 0x04 : 0x03, encode(value)];
}

function encode(document) {
  const parts = [];
  for (const [name, value] of Object.entries(document)) {
    const [type, bytes] = encodeValue(value);
    parts.push(Buffer.from([type]), Buffer.from(name + '\0'), bytes);
  }
  const body = Buffer.concat(parts);
  return Buffer.concat([int32(body.length + 5), body, Buffer.from([0])]);
}

function int32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

// Each entry: the length of a value at an offset, and the value (left out where nobody asks for it).
const DECODERS = {
  0x01: (b, at) => [8, b.readDoubleLE(at)],
  0x02: (b, at) => [4 + b.readInt32LE(at), b.toString('utf8', at + 4, at + 3 + b.readInt32LE(at))],
  0x03: (b, at) => [b.readInt32LE(at), decode(b.subarray(at))],
  0x04: (b, at) => [b.readInt32LE(at), Object.values(decode(b.subarray(at)))],
  0x05: (b, at) => [5 + b.readInt32LE(at), b.subarray(at + 5, at + 5 + b.readInt32LE(at))],
  0x07: () => [12],
  0x08: (b, at) => [1, b[at] === 1],
  0x09: () => [8],
  0x0a: () => [0],
  0x10: (b, at) => [4, b.readInt32LE(at)],
  0x11: () => [8],
  0x12: (b, at) => [8, Number(b.readBigInt64LE(at))],
};

function decode(bytes) {
  const document = {};
  let at = 4;
  while (bytes[at] !== 0) {
    const type = bytes[at];
    const end = bytes.indexOf(0, at + 1);
    const name = bytes.toString('utf8', at + 1, end);
    if (!DECODERS[type]) throw new Error(`BSON type ${type} in field ${name} is not handled here`);
    const [length, value] = DECODERS[type](bytes, end + 1);
    document[name] = value;
    at = end + 1 + length;
  }
  return document;
}

// --- The wire ---

class Connection {
  #socket;
  #received = Buffer.alloc(0);
  #waiting = null;

  static open(address) {
    const [host, port] = address.split(':');
    return new Promise((resolve, reject) => {
      const socket = connect(Number(port), host);
      socket.setNoDelay(true);
      socket.once('error', reject);
      socket.once('connect', () => resolve(new Connection(socket)));
    });
  }

  constructor(socket) {
    this.#socket = socket;
    socket.removeAllListeners('error');
    socket.on('error', (error) => this.#waiting?.reject(error));
    socket.on('close', () => this.#waiting?.reject(new Error('the server closed the connection')));
    socket.on('data', (chunk) => this.#take(chunk));
  }

  #take(chunk) {
    this.#received = Buffer.concat([this.#received, chunk]);
    if (this.#received.length < 4) return;
    const length = this.#received.readInt32LE(0);
    if (this.#received.length < length) return;
    // A reply: header of 16 bytes, flags of 4, section kind of 1, the document.
    const reply = decode(this.#received.subarray(21, length));
    this.#received = this.#received.subarray(length);
    this.#waiting?.resolve(reply);
  }

  // Runs one command against `admin` and returns its reply; a reply that is not ok is an error with the server's code.
  async command(command) {
    const body = encode({ ...command, $db: 'admin' });
    const header = Buffer.concat([int32(21 + body.length), int32(1), int32(0), int32(OP_MSG), int32(0), Buffer.from([0])]);
    const reply = await new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#socket.write(Buffer.concat([header, body]));
    });
    if (reply.ok !== 1) throw Object.assign(new Error(reply.errmsg), { codeName: reply.codeName });
    return reply;
  }

  close() {
    this.#waiting = null;
    this.#socket.destroy();
  }
}

async function run(address, command) {
  const connection = await Connection.open(address);
  try {
    return await connection.command(command);
  } finally {
    connection.close();
  }
}

async function until(what, attempt) {
  const deadline = Date.now() + TIMEOUT_MS;
  let last = '';
  while (Date.now() < deadline) {
    try {
      const result = await attempt();
      if (result) return result;
    } catch (error) {
      last = `: ${error.message}`;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
  throw new Error(`${what}: not within ${TIMEOUT_MS / 1000} s${last}`);
}

// --- What scripts/servers asks for ---

const hello = (address) => run(address, { hello: 1 });

async function findPrimary(addresses) {
  const replies = await Promise.all(addresses.map((address) => hello(address).catch(() => ({}))));
  return addresses[replies.findIndex((reply) => reply.isWritablePrimary)];
}

function awaitMembers(addresses) {
  return until('a primary, and every member in the replica set', async () => {
    const replies = await Promise.all(addresses.map(hello));
    return replies.some((reply) => reply.isWritablePrimary)
      && replies.every((reply) => reply.isWritablePrimary || reply.secondary);
  });
}

async function initiate(addresses) {
  const config = {
    _id: 'rs0',
    members: addresses.map((host, _id) => ({ _id, host })),
    // Short, so that forming the set and failing over take a few seconds at most.
    settings: { electionTimeoutMillis: 2000, heartbeatIntervalMillis: 500 },
  };
  await run(addresses[0], { replSetInitiate: config });
  await awaitMembers(addresses);
}

// SCRAM-SHA-256 (RFC 5802, RFC 7677), needed because the localhost exception ends with the first user.
async function authenticate(connection, user, password) {
  const hmac = (key, text) => createHmac('sha256', key).update(text).digest();
  const clientFirst = `n=${user},r=${randomBytes(18).toString('base64')}`;
  const start = await connection.command({
    saslStart: 1,
    mechanism: 'SCRAM-SHA-256',
    payload: Buffer.from(`n,,${clientFirst}`),
    options: { skipEmptyExchange: true },
  });
  const serverFirst = start.payload.toString();
  const { r, s, i } = Object.fromEntries(serverFirst.split(',').map((part) => [part[0], part.slice(2)]));
  const salted = pbkdf2Sync(password, Buffer.from(s, 'base64'), Number(i), 32, 'sha256');
  const clientKey = hmac(salted, 'Client Key');
  const clientFinal = `c=biws,r=${r}`;
  const signature = hmac(
    createHash('sha256').update(clientKey).digest(),
    `${clientFirst},${serverFirst},${clientFinal}`,
  );
  const proof = clientKey.map((byte, index) => byte ^ signature[index]).toString('base64');
  await connection.command({
    saslContinue: 1,
    conversationId: start.conversationId,
    payload: Buffer.from(`${clientFinal},p=${proof}`),
  });
}

async function createUsers(addresses) {
  const primary = await until('a primary', () => findPrimary(addresses));
  const connection = await Connection.open(primary);
  try {
    await connection.command({ createUser: 'admin', pwd: PASSWORD, roles: ['root'] });
    await authenticate(connection, 'admin', PASSWORD);
    await connection.command({ createUser: 'weak', pwd: PASSWORD, roles: [{ role: 'read', db: 'nothing' }] });
  } finally {
    connection.close();
  }
}

const ACTIONS = {
  initiate,
  'await-members': awaitMembers,
  'await-answer': (addresses) => until('an answer', () => Promise.all(addresses.map(hello))),
  primary: async (addresses) => console.log(await until('a primary', () => findPrimary(addresses))),
  'create-users': createUsers,
};

const [action, ...addresses] = process.argv.slice(2);
try {
  if (!ACTIONS[action] || addresses.length === 0) throw new Error('usage: mongo.mjs ACTION HOST:PORT...');
  await ACTIONS[action](addresses);
} catch (error) {
  console.error(`servers: MongoDB, ${action}: ${error.message}`);
  process.exitCode = 1;
}
