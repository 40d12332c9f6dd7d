"""The interop scenario with aiomqtt."""

import asyncio
import os
import sys

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

HOST, PORT = sys.argv[1], int(sys.argv[2])
V5 = sys.argv[3] == "5"
PREFIX = f"aiomqtt-{sys.argv[3]}"


def client(name, clean=True, will=None):
    options = dict(identifier=f"{PREFIX}-{name}", will=will)
    if V5:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 0 if clean else 60
        options.update(protocol=aiomqtt.ProtocolVersion.V5, clean_start=clean, properties=properties)
    else:
        options.update(protocol=aiomqtt.ProtocolVersion.V311, clean_session=clean)
    return aiomqtt.Client(HOST, PORT, **options)


async def expect(receiver, topic, payload):
    message = await asyncio.wait_for(anext(aiter(receiver.messages)), 5)
    assert (str(message.topic), message.payload) == (topic, payload), (message.topic, message.payload)
    return message


async def silent(receiver):
    try:
        message = await asyncio.wait_for(anext(aiter(receiver.messages)), 0.2)
    except asyncio.TimeoutError:
        return
    raise AssertionError(message.payload)


def step(name):
    print("ok", name, flush=True)


async def die():
    await client("mortal", will=aiomqtt.Will(f"{PREFIX}/will", b"gone", 1)).__aenter__()
    os._exit(0)


async def main():
    async with client("a") as a, client("b") as b:
        step("connect")
        for qos in (0, 1, 2):
            topic = f"{PREFIX}/qos{qos}"
            await b.subscribe(topic, qos)
            for n in range(20):
                await a.publish(topic, b"%d" % n, qos)
            for n in range(20):
                assert (await expect(b, topic, b"%d" % n)).qos == qos
            step(f"qos {qos}")

        await a.publish(f"{PREFIX}/retained", b"kept", 1, retain=True)
        await b.subscribe(f"{PREFIX}/retained", 1)
        assert (await expect(b, f"{PREFIX}/retained", b"kept")).retain
        await a.publish(f"{PREFIX}/retained", b"", 1, retain=True)
        await expect(b, f"{PREFIX}/retained", b"")
        async with client("late") as late:
            await late.subscribe(f"{PREFIX}/retained", 1)
            await silent(late)
        step("retained")

        await b.subscribe(f"{PREFIX}/will", 1)
        mortal = await asyncio.create_subprocess_exec(sys.executable, *sys.argv, "mortal")
        await mortal.wait()
        await expect(b, f"{PREFIX}/will", b"gone")
        step("will")

        async with client("m1") as m1, client("m2") as m2:
            for member in (m1, m2):
                await member.subscribe(f"$share/{PREFIX}/{PREFIX}/shared", 1)
            for n in range(20):
                await a.publish(f"{PREFIX}/shared", b"%d" % n, 1)
            await asyncio.sleep(0.5)
            got = []
            for member in (m1, m2):
                assert len(member.messages) > 0
                for _ in range(len(member.messages)):
                    got.append(int((await anext(aiter(member.messages))).payload))
            assert sorted(got) == list(range(20)), got
        step("shared")

        async with client("persistent", clean=False) as persistent:
            await persistent.subscribe(f"{PREFIX}/resume", 2)
        for qos in (1, 2):
            await a.publish(f"{PREFIX}/resume", b"while away %d" % qos, qos)
        async with client("persistent", clean=False) as persistent:
            for qos in (1, 2):
                assert (await expect(persistent, f"{PREFIX}/resume", b"while away %d" % qos)).qos == qos
        async with client("persistent"):
            pass
        step("resume")


asyncio.run(die() if sys.argv[4:] == ["mortal"] else main())
