"""The other end of an encrypted channel, in Python's noiseprotocol.

    noise_peer.py serve KEY LABEL          accepts one connection, and sends back all that comes
    noise_peer.py dial KEY LABEL PORT      dials, sends frames, and expects them back

KEY is in hexadecimal. Both replace their key every few records and print what they counted as a line of JSON.
"""

import json
import random
import socket
import struct
import sys

from noise.connection import NoiseConnection

SUITE = b"Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s"
DATA, FIN, CLOSE, REKEY, PING, PONG = range(6)
REKEY_EVERY = 5
LARGEST = 2000


def named(text):
    return bytes([len(text)]) + text


class Channel:
    """Units over a socket, and records once the handshake is done."""

    def __init__(self, sock, key, label, initiator):
        self.sock = sock
        self.counts = dict.fromkeys(["data", "fin", "close", "rekey", "ping", "pong", "rekeyed"], 0)
        self.sealed = 0
        self.noise = NoiseConnection.from_name(SUITE)
        self.noise.set_psks(psk=key)
        self.noise.set_prologue(named(b"rpyc-encrypted-channel") + b"\x01" + named(SUITE) + named(label))
        (self.noise.set_as_initiator if initiator else self.noise.set_as_responder)()
        self.noise.start_handshake()
        # Records of up to LARGEST bytes, never dead, no features, and something that only a later version knows.
        terms = struct.pack(">HIII", LARGEST, 0, 0, 0) + b"later"
        if initiator:
            self.put(self.noise.write_message(terms))
            self.theirs = self.noise.read_message(self.unit())
        else:
            self.theirs = self.noise.read_message(self.unit())
            self.put(self.noise.write_message(terms))
        self.record = struct.unpack_from(">H", self.theirs)[0]

    def exactly(self, count):
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            if not piece:
                raise EOFError(f"the stream ended after {len(data)} of {count} bytes")
            data += piece
        return data

    def unit(self):
        (length,) = struct.unpack(">H", self.exactly(2))
        return self.exactly(length)

    def put(self, unit):
        self.sock.sendall(struct.pack(">H", len(unit)) + bytes(unit))

    def send(self, kind, body=b""):
        if self.sealed == REKEY_EVERY:
            self.put(self.noise.encrypt(bytes([REKEY])))
            self.noise.rekey_outbound_cipher()
            self.counts["rekeyed"] += 1
            self.sealed = 0
        self.put(self.noise.encrypt(bytes([kind]) + body))
        self.sealed += 1

    def send_data(self, data):
        """In records of all sizes, with empty ones and questions between them."""
        while data:
            size = random.choice([0, 1, 100, LARGEST, self.record])
            self.send(DATA, data[:size])
            data = data[size:]
            if random.random() < 0.1:
                self.send(PING)

    def receive(self):
        """The next data, or None at the end."""
        while True:
            opened = bytes(self.noise.decrypt(self.unit()))
            kind, body = opened[0], opened[1:]
            self.counts[["data", "fin", "close", "rekey", "ping", "pong"][kind]] += 1
            assert kind in (DATA, CLOSE) or not body, opened
            assert len(body) <= LARGEST, len(body)
            if kind == DATA:
                return body
            if kind == REKEY:
                self.noise.rekey_inbound_cipher()
            if kind == PING:
                self.send(PONG)
            if kind == FIN:
                return None
            assert kind != CLOSE, opened


def serve(key, label):
    listener = socket.create_server(("127.0.0.1", 0))
    print("READY", listener.getsockname()[1], flush=True)
    channel = Channel(listener.accept()[0], key, label, initiator=False)
    while (data := channel.receive()) is not None:
        channel.send_data(data)
    return channel


def dial(key, label, port):
    print("READY", port, flush=True)
    channel = Channel(socket.create_connection(("127.0.0.1", port)), key, label, initiator=True)
    frames = [bytes([at]) * size for at, size in enumerate([0, 1, 64, 1380, 1381, 1382, 5000, 70000] * 4)]
    sent = b"".join(struct.pack(">IB", len(frame), 0) + frame + b"\n" for frame in frames)
    came = b""
    for at in range(0, len(sent), 10000):
        piece = sent[at : at + 10000]
        channel.send_data(piece)
    while len(came) < len(sent):
        data = channel.receive()
        assert data is not None, "an early end"
        came += data
    assert came == sent, "not what was sent"
    return channel


def main():
    random.seed(7)
    mode, key, label, *rest = sys.argv[1:]
    key, label = bytes.fromhex(key), label.encode()
    channel = serve(key, label) if mode == "serve" else dial(key, label, int(rest[0]))
    channel.send(FIN)
    if mode == "dial":
        assert channel.receive() is None, "more than was sent"
    channel.sock.shutdown(socket.SHUT_WR)
    print(json.dumps(channel.counts | {"hash": channel.noise.get_handshake_hash().hex()}), flush=True)
    assert channel.sock.recv(1) == b"", "something behind the end"


main()
