// Sends lines of HAProxy's log with npm's @fluent-org/logger, over TLS, with a shared key, acknowledged:
// send.js PORT MODE KEY CA FIRST COUNT. Ends with 1 if they were not acknowledged.
const fs = require("fs");
const { FluentClient } = require("@fluent-org/logger");

const [port, eventMode, sharedKey, ca, first, count] = process.argv.slice(2);
const client = new FluentClient("haproxy", {
  eventMode,
  socket: {
    host: "127.0.0.1",
    port: Number(port),
    timeout: 5000,
    tls: { ca: fs.readFileSync(ca), servername: "localhost" },
  },
  security: { clientHostname: "client", sharedKey },
  ack: { ackTimeout: 5000 },
});
const fail = (why) => {
  console.error(String(why));
  process.exit(1);
};
client.socketOn("error", fail);
setTimeout(() => fail("no acknowledgement in 10 s"), 10000);
const line = (n) =>
  `{"rc":"r|s|500|a|b|clients/${eventMode.toLowerCase()}|aaaa|bbbb|1","sd":"c","st":200,"ts":"--","tr":3,"p":12,"n":${n}}`;
const sent = [];
for (let n = Number(first); n < Number(first) + Number(count); n++) sent.push(client.emit("access", { log: line(n) }));
Promise.all(sent)
  .then(() => process.exit(0))
  .catch(fail);
