// nodemailer's pool: `node pool.mjs NODEMAILER PORT LETTERS.json CONNECTIONS`; tells what it did as a line of JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [library, port, letters, connections] = process.argv.slice(2);
const nodemailer = createRequire(import.meta.url)(library);
const mails = JSON.parse(readFileSync(letters, "utf8"));
const pool = nodemailer.createTransport({
  pool: true,
  host: "127.0.0.1",
  port: Number(port),
  ignoreTLS: true,
  maxConnections: Number(connections),
  maxMessages: Infinity,
});

const used = process.cpuUsage();
const began = process.hrtime.bigint();
await Promise.all(
  mails.map(({ sender, recipient, subject, text, html }) =>
    pool.sendMail({ from: sender, to: recipient, subject, text, html }),
  ),
);
const seconds = Number(process.hrtime.bigint() - began) / 1e9;
const { user, system } = process.cpuUsage(used);
const peak = /VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"));
pool.close();
console.log(
  JSON.stringify({ mails: mails.length, seconds, cpu: (user + system) / 1e6, rss: Number(peak[1]) / 1024, startup: 0 }),
);
