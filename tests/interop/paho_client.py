"""The interop scenario with paho-mqtt."""

import queue
import socket
import sys
import time

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

HOST, PORT = sys.argv[1], int(sys.argv[2])
V5 = sys.argv[3] == "5"
PREFIX = f"paho-{sys.argv[3]}"


class Client:
    """A client whose messages can be waited for."""

    def __init__(self, name, clean=True, will=None):
        self.messages = queue.Queue()
        self.connects = queue.Queue()
        self.acks = queue.Queue()
        kind = dict(client_id=f"{PREFIX}-{name}", protocol=paho.MQTTv5 if V5 else paho.MQTTv311)
        if not V5:
            kind["clean_session"] = clean
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, **kind)
        self.client.on_connect = lambda c, u, flags, code, p: self.connects.put((flags.session_present, code))
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.on_subscribe = lambda c, u, mid, codes, p: self.acks.put([code.value for code in codes])
        if will:
            self.client.will_set(*will)
        if V5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if clean else 60
            self.client.connect(HOST, PORT, clean_start=clean, properties=properties)
        else:
            self.client.connect(HOST, PORT)
        self.client.loop_start()
        self.session_present, code = self.connects.get(timeout=5)
        assert not code.is_failure, code

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        assert self.acks.get(timeout=5) == [qos]

    def publish(self, topic, payload, qos, retain=False):
        self.client.publish(topic, payload, qos, retain).wait_for_publish(5)

    def expect(self, topic, payload, timeout=5):
        message = self.messages.get(timeout=timeout)
        assert (message.topic, message.payload) == (topic, payload), (message.topic, message.payload)
        return message

    def silent(self):
        time.sleep(0.2)
        assert self.messages.empty(), self.messages.get().payload

    def leave(self):
        self.client.disconnect()
        self.client.loop_stop()

    def die(self):
        self.client.socket().shutdown(socket.SHUT_RDWR)
        self.client.loop_stop()


def step(name):
    print("ok", name, flush=True)


a, b = Client("a"), Client("b")
step("connect")
for qos in (0, 1, 2):
    topic = f"{PREFIX}/qos{qos}"
    b.subscribe(topic, qos)
    for n in range(20):
        a.publish(topic, b"%d" % n, qos)
    for n in range(20):
        assert b.expect(topic, b"%d" % n).qos == qos
    b.silent()
    step(f"qos {qos}")

a.publish(f"{PREFIX}/retained", b"kept", 1, retain=True)
b.subscribe(f"{PREFIX}/retained", 1)
assert b.expect(f"{PREFIX}/retained", b"kept").retain
a.publish(f"{PREFIX}/retained", b"", 1, retain=True)
b.expect(f"{PREFIX}/retained", b"")
late = Client("late")
late.subscribe(f"{PREFIX}/retained", 1)
late.silent()
late.leave()
step("retained")

b.subscribe(f"{PREFIX}/will", 1)
Client("mortal", will=(f"{PREFIX}/will", b"gone", 1)).die()
b.expect(f"{PREFIX}/will", b"gone")
step("will")

members = [Client("m1"), Client("m2")]
for member in members:
    member.subscribe(f"$share/{PREFIX}/{PREFIX}/shared", 1)
for n in range(20):
    a.publish(f"{PREFIX}/shared", b"%d" % n, 1)
time.sleep(0.5)
got = []
for member in members:
    assert not member.messages.empty()
    while not member.messages.empty():
        got.append(int(member.messages.get().payload))
assert sorted(got) == list(range(20)), got
step("shared")

persistent = Client("persistent", clean=False)
assert not persistent.session_present
persistent.subscribe(f"{PREFIX}/resume", 2)
persistent.leave()
for qos in (1, 2):
    a.publish(f"{PREFIX}/resume", b"while away %d" % qos, qos)
persistent = Client("persistent", clean=False)
assert persistent.session_present
for qos in (1, 2):
    assert persistent.expect(f"{PREFIX}/resume", b"while away %d" % qos).qos == qos
persistent.leave()
Client("persistent", clean=True).leave()
step("resume")
for client in (a, b, *members):
    client.leave()
