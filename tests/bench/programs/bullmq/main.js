// BullMQ as a contestant: node main.js SCENARIO URL AMOUNT [OPTIONS]; prints lines of JSON.
// What each scenario is says tests/README.md, under "Programs in other languages".
import { createHash } from "node:crypto";
import { appendFileSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";

const NAME = "bench";
const MANY = 500;
const DEDUPLICATION_MS = 3_600_000; // as long as ours
const [WARM_UP_MS, WARM_MESSAGES, WARM_AT_LAST_MS] = [300, 5000, 2000]; // as work.py
const DRY_MS = 800;
const REST_MS = 2000;
const PAGE_BYTES = 4096;

const [scenario, url, amountText, optionsText = "{}"] = process.argv.slice(2);
const amount = Number(amountText);
const options = { slots: 16, payload_bytes: 100, handler_ms: 0, ...JSON.parse(optionsText) };
const removed = { removeOnComplete: true };

const client = new Redis(url, { maxRetriesPerRequest: null });
const openQueue = () => new Queue(NAME, { connection: client, defaultJobOptions: removed });

const tell = (result) => process.stdout.write(`${JSON.stringify(result)}\n`);
const finish = (result) => process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));

const numbered = (count) => String(count).padStart(options.payload_bytes, "0");
const irregular = (from, to) => from + Math.floor(Math.random() * (to - from + 1));

function cpuMs() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

async function serverMs() {
  const info = await client.info("cpu");
  const used = [...info.matchAll(/^used_cpu_(?:user|sys):(.+)$/gm)];
  return used.reduce((sum, [, seconds]) => sum + Number(seconds) * 1000, 0);
}

/** All clocks at once; the difference of two readings is one measurement. */
const read = async () => ({ server: await serverMs(), at: performance.now(), cpu: cpuMs() });

/** What `messages` have cost since a reading. */
async function since(began, messages) {
  const [at, cpu, server] = [performance.now(), cpuMs(), await serverMs()];
  const count = Math.max(1, messages);
  return {
    per_second: (messages / (at - began.at)) * 1000,
    client_us: ((cpu - began.cpu) / count) * 1000,
    server_us: ((server - began.server) / count) * 1000,
    messages,
  };
}

/** Repeats `step`, which answers how many jobs it sent, for so many seconds once it is warm. */
async function repeat(step) {
  let count = 0;
  const atLast = performance.now() + WARM_AT_LAST_MS;
  while (count < WARM_MESSAGES && performance.now() < atLast) count += await step(count);
  const warm = count;
  const began = await read();
  while (performance.now() - began.at < amount * 1000) count += await step(count);
  finish(await since(began, count - warm));
}

function publish(how) {
  const queue = openQueue();
  return repeat(async (count) => {
    const payload = numbered(count);
    await queue.add(NAME, payload, how(payload));
    return 1;
  });
}

function publishMany() {
  const queue = openQueue();
  return repeat(async (count) => {
    const jobs = Array.from({ length: MANY }, (_, n) => ({ name: NAME, data: numbered(count + n), opts: removed }));
    return (await queue.addBulk(jobs)).length;
  });
}

function deduplicated(payload) {
  const id = createHash("sha256").update(payload).digest("hex");
  return { deduplication: { id, ttl: DEDUPLICATION_MS } };
}

async function fill() {
  const queue = openQueue();
  const job = { name: NAME, data: "x".repeat(options.payload_bytes), opts: removed };
  for (let left = amount; left > 0; left -= MANY) await queue.addBulk(Array(Math.min(MANY, left)).fill(job));
  finish({});
}

function run(handle) {
  const half = options.handler_ms / 2;
  const processor = async (job) => {
    if (half) await sleep(irregular(half, 3 * half));
    return handle(job.data);
  };
  return new Worker(NAME, processor, { connection: client, concurrency: options.slots });
}

/** Measures the jobs that are handled in so many seconds, after a warm-up. */
function work() {
  let done = 0;
  let last = 0;
  const measure = async () => {
    const atLast = performance.now() + WARM_AT_LAST_MS;
    await sleep(WARM_UP_MS);
    while (done < WARM_MESSAGES && performance.now() < atLast) await sleep(20);
    const began = await read();
    const before = done;
    await sleep(amount * 1000);
    const result = await since(began, done - before);
    finish(performance.now() - last > DRY_MS ? { problem: "ran out of tasks" } : result);
  };
  run(() => {
    last = performance.now();
    if (++done === 1) measure();
  });
}

/** Rests for a while, then sends jobs now and then and tells how long each was on its way. */
async function idle() {
  const delays = [];
  const queue = openQueue();
  let resting;
  run((sent) => {
    delays.push(performance.now() - Number(sent));
    if (delays.length === amount) finish({ ...resting, delays_ms: delays });
  });
  await sleep(REST_MS);
  const [began, before] = [performance.now(), cpuMs()];
  await sleep(REST_MS);
  resting = {
    idle_cpu_percent: ((cpuMs() - before) / (performance.now() - began)) * 100,
    resident_mib: (Number(readFileSync("/proc/self/statm", "utf8").split(" ")[1]) * PAGE_BYTES) / 2 ** 20,
  };
  for (let sent = 0; sent < amount; sent++) {
    await queue.add(NAME, String(performance.now()));
    await sleep(irregular(150, 450));
  }
}

/** Never ends a job. */
function hold() {
  let held = 0;
  run(() => {
    if (++held === amount) tell({ held });
    return new Promise(() => {});
  });
}

async function enqueue() {
  const queue = openQueue();
  for (const message of options.messages) await queue.add(NAME, message, { jobId: message });
  finish({});
}

/** A worker whose jobs take so many seconds and write what they do to a book outside Redis. */
function keepBook() {
  const write = (what, message) =>
    appendFileSync(options.book, `${what} ${message} ${(Date.now() / 1000).toFixed(3)}\n`);
  const processor = async (job) => {
    write("began", job.data);
    await sleep(amount * 1000);
    write("ended", job.data);
  };
  const settings = { connection: client, concurrency: options.slots, stalledInterval: 5000 };
  const worker = new Worker(NAME, processor, settings);
  worker.on("error", (error) => process.stderr.write(`${error.message}\n`));
  process.on("SIGTERM", async () => {
    await worker.close();
    process.exit(0);
  });
}

const scenarios = {
  publish: () => publish(() => ({})),
  publish_dedup: () => publish(deduplicated),
  publish_many: publishMany,
  fill,
  work,
  idle,
  start: () => run(() => finish({ cpu_ms: cpuMs() })),
  hold,
  enqueue,
  book: keepBook,
  take: () => run(() => tell({ taken: 1 })),
};
process.on("uncaughtException", (error) => {
  process.stderr.write(`${error.message}\n`, () => process.exit(1));
});
await scenarios[scenario]();
