// Sends one mail and follows it until every recipient is finished, in Node 20 or in a browser:
//     node send.mjs ann@example.org      with POSTROOM_URL and POSTROOM_KEY in the environment
//     import { send } from "./send.mjs"  in a page whose origin POSTROOM_CORS_ORIGINS lists

const OPEN = new Set(["scheduled", "queued", "sending", "deferred"]);
const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

/** Returns an answer; waits and asks again where the server says when. Throws the problem of any other refusal. */
async function ask(url, key, options = {}) {
  while (true) {
    const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json", ...options.headers };
    const answer = await fetch(url, { ...options, headers });
    if (answer.ok) return answer;
    const problem = await answer.json();
    if (answer.status !== 429 && answer.status !== 503) {
      throw Object.assign(new Error(`${problem.title}: ${problem.detail}`), { problem });
    }
    await pause(Number(answer.headers.get("Retry-After")));
  }
}

/** Sends a message, and returns how it stands once every recipient is finished; `tell` gets each state before. */
export async function send({ url, key, message, tell = () => {} }) {
  let answer = await ask(`${url}/v1/notifications`, key, {
    method: "POST",
    body: JSON.stringify(message),
    // Should the answer be lost, the same request under the same name sends nothing twice.
    headers: { "Idempotency-Key": globalThis.crypto.randomUUID() },
  });
  const where = answer.headers.get("Location");
  let status = await answer.json();
  while (OPEN.has(status.status)) {
    tell(status);
    await pause(Math.min(Number(answer.headers.get("Retry-After") ?? 1), 5));
    answer = await ask(where, key);
    status = await answer.json();
  }
  return status;
}

if (globalThis.process?.argv[1] && import.meta.url.endsWith(globalThis.process.argv[1].split("/").pop())) {
  const { POSTROOM_URL: url, POSTROOM_KEY: key } = process.env;
  const message = { to: process.argv.slice(2), subject: "Your order", text: "It has left the house.\n" };
  const done = await send({ url, key, message });
  for (const one of done.deliveries) console.log(one.recipient, one.status, one.history.at(-1).reply);
  console.log(done.status);
  process.exitCode = done.status === "sent" ? 0 : 1;
}
