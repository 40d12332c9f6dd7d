// The interop scenario with MQTT.js. The library is found in target/interop.
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";

const require = createRequire(fileURLToPath(new URL("../../target/interop/", import.meta.url)));
const mqtt = require("mqtt");

const [host, port, version] = process.argv.slice(2);
const v5 = version === "5";
const prefix = `mqttjs-${version}`;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const step = (name) => console.log("ok", name);

class Client {
  messages = [];

  static async start(name, { clean = true, will } = {}) {
    const self = new Client();
    self.client = mqtt.connect({
      host,
      port: Number(port),
      protocolVersion: v5 ? 5 : 4,
      clientId: `${prefix}-${name}`,
      clean,
      will,
      reconnectPeriod: 0,
      properties: v5 && !clean ? { sessionExpiryInterval: 60 } : undefined,
    });
    // Messages of a resumed session may come right behind CONNACK.
    self.client.on("message", (topic, payload, packet) => self.messages.push({ topic, payload: String(payload), packet }));
    self.connack = await new Promise((done, fail) => {
      self.client.once("connect", done);
      self.client.once("error", fail);
    });
    return self;
  }

  async subscribe(topic, qos) {
    const [granted] = await this.client.subscribeAsync(topic, { qos });
    assert.equal(granted.qos, qos);
  }

  publish(topic, payload, qos, retain = false) {
    return this.client.publishAsync(topic, payload, { qos, retain });
  }

  async expect(topic, payload) {
    for (let waited = 0; this.messages.length === 0 && waited < 5000; waited += 5) await pause(5);
    const message = this.messages.shift();
    assert.deepEqual([message?.topic, message?.payload], [topic, payload]);
    return message.packet;
  }

  async silent() {
    await pause(200);
    assert.equal(this.messages.length, 0);
  }

  leave() {
    return this.client.endAsync();
  }
}

const a = await Client.start("a");
const b = await Client.start("b");
step("connect");
for (const qos of [0, 1, 2]) {
  const topic = `${prefix}/qos${qos}`;
  await b.subscribe(topic, qos);
  for (let n = 0; n < 20; n++) await a.publish(topic, String(n), qos);
  for (let n = 0; n < 20; n++) assert.equal((await b.expect(topic, String(n))).qos, qos);
  await b.silent();
  step(`qos ${qos}`);
}

await a.publish(`${prefix}/retained`, "kept", 1, true);
await b.subscribe(`${prefix}/retained`, 1);
assert.ok((await b.expect(`${prefix}/retained`, "kept")).retain);
await a.publish(`${prefix}/retained`, "", 1, true);
await b.expect(`${prefix}/retained`, "");
const late = await Client.start("late");
await late.subscribe(`${prefix}/retained`, 1);
await late.silent();
await late.leave();
step("retained");

await b.subscribe(`${prefix}/will`, 1);
const mortal = await Client.start("mortal", { will: { topic: `${prefix}/will`, payload: Buffer.from("gone"), qos: 1 } });
mortal.client.stream.destroy();
await b.expect(`${prefix}/will`, "gone");
step("will");

const members = [await Client.start("m1"), await Client.start("m2")];
for (const member of members) await member.subscribe(`$share/${prefix}/${prefix}/shared`, 1);
for (let n = 0; n < 20; n++) await a.publish(`${prefix}/shared`, String(n), 1);
await pause(500);
for (const member of members) assert.ok(member.messages.length > 0);
const got = members.flatMap((member) => member.messages.map((message) => Number(message.payload)));
assert.deepEqual(got.sort((x, y) => x - y), [...Array(20).keys()]);
step("shared");

let persistent = await Client.start("persistent", { clean: false });
assert.equal(persistent.connack.sessionPresent, false);
await persistent.subscribe(`${prefix}/resume`, 2);
await persistent.leave();
for (const qos of [1, 2]) await a.publish(`${prefix}/resume`, `while away ${qos}`, qos);
persistent = await Client.start("persistent", { clean: false });
assert.equal(persistent.connack.sessionPresent, true);
for (const qos of [1, 2]) assert.equal((await persistent.expect(`${prefix}/resume`, `while away ${qos}`)).qos, qos);
await persistent.leave();
await (await Client.start("persistent")).leave();
step("resume");
for (const client of [a, b, ...members]) await client.leave();
