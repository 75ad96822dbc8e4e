// A Forward server by npm's @fluent-org/logger, over TLS, with a shared key: receive.js PORT KEY CRT KEYFILE.
// Prints each entry as a line of JSON.
const fs = require("fs");
const { FluentServer } = require("@fluent-org/logger");

const [port, sharedKey, crt, key] = process.argv.slice(2);
const server = new FluentServer({
  listenOptions: { port: Number(port), host: "127.0.0.1" },
  security: { serverHostname: "server", sharedKey, authorize: false, userDict: {} },
  keepalive: true,
  tlsOptions: { cert: fs.readFileSync(crt), key: fs.readFileSync(key) },
});
server.on("entry", (tag, time, record) => console.log(JSON.stringify({ tag, time: String(time), record })));
server.listen().then(() => console.error("listening"));
