"""The interop scenario with gmqtt."""

import asyncio
import sys

import gmqtt
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

HOST, PORT = sys.argv[1], int(sys.argv[2])
V5 = sys.argv[3] == "5"
PREFIX = f"gmqtt-{sys.argv[3]}"


class Client:
    """A client whose messages can be waited for."""

    def __init__(self, name, clean=True, will=None):
        self.messages = asyncio.Queue()
        self.acks = asyncio.Queue()
        self.connected = asyncio.Queue()
        expiry = {} if clean or not V5 else {"session_expiry_interval": 60}
        message = gmqtt.Message(*will[:2], qos=will[2]) if will else None
        self.client = gmqtt.Client(f"{PREFIX}-{name}", clean_session=clean, will_message=message, **expiry)
        self.client.on_connect = lambda c, flags, code, p: self.connected.put_nowait((flags, code))
        self.client.on_message = self.received
        self.client.on_subscribe = lambda c, mid, qos, p: self.acks.put_nowait(qos)
        self.client.set_config({"reconnect_retries": 0})

    def received(self, client, topic, payload, qos, properties):
        self.messages.put_nowait((topic, bytes(payload), qos, properties["retain"]))
        return 0

    async def start(self):
        await self.client.connect(HOST, PORT, version=MQTTv50 if V5 else MQTTv311)
        self.flags, code = await asyncio.wait_for(self.connected.get(), 5)
        assert code == 0
        return self

    async def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos=qos)
        assert list(await asyncio.wait_for(self.acks.get(), 5)) == [qos]

    def publish(self, topic, payload, qos, retain=False):
        self.client.publish(topic, payload, qos=qos, retain=retain)

    async def expect(self, topic, payload):
        message = await asyncio.wait_for(self.messages.get(), 5)
        assert message[:2] == (topic, payload), message
        return message

    async def silent(self):
        await asyncio.sleep(0.2)
        assert self.messages.empty(), self.messages.get_nowait()


def step(name):
    print("ok", name, flush=True)


async def main():
    a, b = await Client("a").start(), await Client("b").start()
    step("connect")
    for qos in (0, 1, 2):
        topic = f"{PREFIX}/qos{qos}"
        await b.subscribe(topic, qos)
        for n in range(20):
            a.publish(topic, b"%d" % n, qos)
        for n in range(20):
            assert (await b.expect(topic, b"%d" % n))[2] == qos
        await b.silent()
        step(f"qos {qos}")

    a.publish(f"{PREFIX}/retained", b"kept", 1, retain=True)
    await asyncio.sleep(0.2)
    await b.subscribe(f"{PREFIX}/retained", 1)
    assert (await b.expect(f"{PREFIX}/retained", b"kept"))[3]
    a.publish(f"{PREFIX}/retained", b"", 1, retain=True)
    await b.expect(f"{PREFIX}/retained", b"")
    late = await Client("late").start()
    await late.subscribe(f"{PREFIX}/retained", 1)
    await late.silent()
    step("retained")

    await b.subscribe(f"{PREFIX}/will", 1)
    mortal = await Client("mortal", will=(f"{PREFIX}/will", b"gone", 1)).start()
    mortal.client._connection._transport.abort()
    await b.expect(f"{PREFIX}/will", b"gone")
    step("will")

    members = [await Client("m1").start(), await Client("m2").start()]
    for member in members:
        await member.subscribe(f"$share/{PREFIX}/{PREFIX}/shared", 1)
    for n in range(20):
        a.publish(f"{PREFIX}/shared", b"%d" % n, 1)
    await asyncio.sleep(0.5)
    got = []
    for member in members:
        assert not member.messages.empty()
        while not member.messages.empty():
            got.append(int(member.messages.get_nowait()[1]))
    assert sorted(got) == list(range(20)), got
    step("shared")

    persistent = await Client("persistent", clean=False).start()
    await persistent.subscribe(f"{PREFIX}/resume", 2)
    await persistent.client.disconnect()
    for qos in (1, 2):
        a.publish(f"{PREFIX}/resume", b"while away %d" % qos, qos)
    await asyncio.sleep(0.3)
    persistent = await Client("persistent", clean=False).start()
    assert persistent.flags == 1, "session present"
    for qos in (1, 2):
        assert (await persistent.expect(f"{PREFIX}/resume", b"while away %d" % qos))[2] == qos
    await persistent.client.disconnect()
    await (await Client("persistent", clean=True).start()).client.disconnect()
    step("resume")
    for client in (a, b, late, *members):
        await client.client.disconnect()


asyncio.run(main())
