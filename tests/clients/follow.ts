// Registers, sends and follows with the types of the document alone; any of them that is wrong does not compile.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Status = components["schemas"]["NotificationOut"]["status"];
const OPEN: readonly Status[] = ["scheduled", "queued", "sending", "deferred"];

const api = createClient<paths>({
  baseUrl: process.env["POSTROOM_URL"] ?? "",
  headers: { Authorization: `Bearer ${process.env["POSTROOM_KEY"] ?? ""}` },
});

const registered = await api.POST("/v1/users", { body: { username: "ann", email: "ann@example.org" } });
if (registered.error) throw new Error(registered.error.detail);
const user = registered.data.id;
if (user === null) throw new Error("only browser keys are not told the id");

const sent = await api.POST("/v1/notifications", {
  params: { header: { "Idempotency-Key": "follow-1" } },
  body: {
    to: ["bob@example.org", { email: "eve@example.org", name: "Eve" }, { user_id: user }],
    subject: "Hello",
    text: "Good day.\n",
    tags: ["clients"],
    metadata: { order: "7" },
    status_token: false,
  },
});
if (sent.error) throw new Error(sent.error.detail);

let status: components["schemas"]["NotificationOut"] = sent.data;
while (OPEN.includes(status.status)) {
  await new Promise((done) => setTimeout(done, 200));
  const read = await api.GET("/v1/notifications/{notification_id}", {
    params: { path: { notification_id: status.id } },
  });
  if (!read.data) throw new Error("no status");
  status = read.data;
}

const listed = await api.GET("/v1/notifications", { params: { query: { tag: "clients", status: "sent", limit: 1 } } });
const wrong = await api.POST("/v1/notifications", { body: { to: "nobody", subject: "x", text: "y", status_token: false } });
console.log(
  JSON.stringify({
    status: status.status,
    recipients: status.deliveries.map((one) => one.recipient),
    codes: status.deliveries.map((one) => one.history.at(-1)?.code ?? null),
    listed: listed.data?.data.map((one) => one.id) ?? [],
    id: status.id,
    wrong: wrong.error?.errors?.map((one) => one.pointer) ?? [],
  }),
);
