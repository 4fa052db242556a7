"""A Python RPyC server for tests.

    server.py [--host HOST]     TCP on a free port; prints "READY <port>"
    server.py --certfile FILE --keyfile FILE [--cafile FILE]
                                the same with TLS; with a CA file, clients need a certificate
    server.py --unix PATH       a unix socket; prints "READY <path>"
    server.py --stdio           standard input and output are the stream; nothing is printed there

It ends when its standard input does, if that is a pipe: whoever started it is gone then.
"""

import argparse
import hashlib
import os
import stat
import struct
import sys
import threading
import time

import rpyc
from rpyc.core.stream import PipeStream
from rpyc.utils.authenticators import SSLAuthenticator
from rpyc.utils.server import ThreadedServer


# One of each kind of value, and those on each side of a change of its form on the wire. tests/interop/values.rs has the same in Rust.
SAMPLES = (
    None, True, False, NotImplemented, Ellipsis,
    0, 1, -1, -48, -49, 159, 160, 2**31, -(2**31), 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**254, -(10**254), 10**255, 3**5000,
    0.0, -0.0, 1.5, -2.25, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"),
    struct.unpack(">d", bytes.fromhex("7ff8000000000000"))[0],
    struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0],
    struct.unpack(">d", bytes.fromhex("7ffc0000deadbeef"))[0],
    complex(1.5, -2.5), complex(-0.0, 0.0), complex(float("inf"), 1e-300),
    "", "a", "\0", "four", "fives", "\u00e9\u20ac\U0001f600", "\ufeff\u202e\uffff\U0010ffff", "x" * 255, "\u00e9" * 128, "y" * 256,
    b"", b"\0", b"\xff\xfe", b"abc", b"abcd", b"abcde", bytes(range(256)), b"z" * 255, b"z" * 70_000,
    (), (1,), ((),), (1, (2, (3, (4, (5, ()))))), tuple(range(5)), tuple(range(255)), tuple(range(256)), (None, True, "a", b"b", 1.0, (2,)),
    slice(None), slice(1, 2, 3), slice(-1, None, 2**70), slice("a", (1, 2), None),
    frozenset(), frozenset((1,)), frozenset((1, "a", b"b", None, (2, 3))), frozenset((frozenset((1, 2)), frozenset())),
)  # fmt: skip


def exactly(value):
    """Text that two values share only if they have the same type and the same bits."""
    kind = type(value).__name__
    if kind == "float":
        return kind, struct.pack(">d", value).hex()
    if kind == "complex":
        return kind, struct.pack(">dd", value.real, value.imag).hex()
    if kind == "tuple":
        return kind, [exactly(item) for item in value]
    if kind == "frozenset":
        return kind, sorted(map(repr, map(exactly, value)))
    if kind == "slice":
        return kind, [exactly(item) for item in (value.start, value.stop, value.step)]
    return kind, repr(value) if kind != "int" else hex(value)


class CustomError(Exception):
    """An exception that the client does not know."""


class Counter:
    """An object that stays here and is used by reference."""

    def __init__(self, value=0):
        self.exposed_value = value

    def exposed_increment(self, by=1):
        self.exposed_value += by
        return self.exposed_value

    def exposed_get(self):
        return self.exposed_value


class CalcService(rpyc.Service):
    ALIASES = ("CALC", "TEST")

    exposed_version = "1.0"
    exposed_limits = (1, 2.5, b"raw", None)

    def __init__(self):
        self.shared = Counter()
        self.kept = []
        self.here = threading.local()

    def on_connect(self, conn):
        # Each connection is served by a thread of its own.
        self.here.conn = conn

    # Values.
    def exposed_samples(self):
        return SAMPLES

    def exposed_wrong_samples(self, *values):
        """The numbers of those that are not exactly what stands in SAMPLES."""
        if len(values) != len(SAMPLES):
            return (len(values),)
        return tuple(i for i, pair in enumerate(zip(values, SAMPLES)) if exactly(pair[0]) != exactly(pair[1]))

    def exposed_digest(self, data):
        return hashlib.sha256(data).digest()

    def exposed_add(self, a, b):
        return a + b

    def exposed_echo(self, value):
        return value

    def exposed_upper(self, text):
        return text.upper()

    def exposed_length(self, data):
        return len(data)

    def exposed_blob(self, n):
        return bytes(n)

    def exposed_noise(self, n):
        return os.urandom(n)

    def exposed_kwargs(self, *args, **kwargs):
        return (args, tuple(sorted(kwargs.items())))

    def exposed_describe(self, name, *, greeting="hello", times=1):
        return " ".join([f"{greeting} {name}"] * times)

    # Time.
    def exposed_sleep(self, seconds):
        time.sleep(seconds)
        return seconds

    # Exceptions.
    def exposed_fail(self, message):
        raise ValueError(message)

    def exposed_fail_with(self, name, *args):
        raise getattr(__import__("builtins"), name)(*args)

    def exposed_fail_custom(self, code):
        error = CustomError("custom", code)
        error.code = code
        raise error

    def exposed_fail_to_open(self, path):
        open(path)

    def exposed_fail_nested(self):
        try:
            {}["inner"]
        except KeyError as error:
            raise RuntimeError("outer") from error

    # References.
    def exposed_counter(self, value=0):
        return Counter(value)

    def exposed_shared_counter(self):
        return self.shared

    def exposed_generator(self, n):
        return (i * i for i in range(n))

    def exposed_get_list(self):
        return [1, "two", 3.0, None]

    def exposed_get_dict(self):
        return {"one": 1, "two": 2}

    def exposed_instances(self, n):
        return tuple(Counter(i) for i in range(n))

    def exposed_keep(self, thing):
        self.kept.append(thing)

    def exposed_call_kept(self, *args):
        return tuple(thing(*args) for thing in self.kept)

    def exposed_forget(self):
        self.kept.clear()

    def exposed_held(self):
        """How many objects of this process the client of this connection holds, its root included."""
        return len(self.here.conn._local_objects._dict)

    # Calls back to the client while its own call is under way.
    def exposed_callback(self, f, x):
        return f(x)

    def exposed_callback_many(self, f, n):
        return tuple(f(i) for i in range(n))

    def exposed_sink(self, f):
        """A function of this process that calls f in turn."""
        return lambda x: f(x) + 1

    def exposed_descend(self, f, depth):
        """Calls f, which calls this again with a depth of one less, and so on down to 0."""
        return 0 if depth == 0 else f(depth - 1) + 1

    def exposed_callback_async(self, f, n):
        """The calls are sent at once and answered in any order."""
        call = rpyc.async_(f)
        results = [call(i) for i in range(n)]
        return tuple(result.value for result in results)

    def exposed_peer(self):
        """The common name in the client's certificate; None without one."""
        credentials = self.here.conn._config["credentials"] or {}
        names = [value for group in credentials.get("subject", ()) for name, value in group if name == "commonName"]
        return names[0] if names else None

    # The process.
    def exposed_pid(self):
        return os.getpid()

    def exposed_exit(self, status=1):
        os._exit(status)


def end_with_stdin():
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--unix")
    parser.add_argument("--stdio", action="store_true")
    parser.add_argument("--certfile")
    parser.add_argument("--keyfile")
    parser.add_argument("--cafile")
    options = parser.parse_args()
    service = CalcService()

    if options.stdio:
        # Anything printed by accident must not get into the stream.
        stream = PipeStream(os.fdopen(os.dup(0), "rb", 0), os.fdopen(os.dup(1), "wb", 0))
        os.dup2(2, 1)
        rpyc.connect_stream(stream, service).serve_all()
        return

    if options.unix:
        server = ThreadedServer(service, socket_path=options.unix)
        ready = options.unix
    else:
        tls = SSLAuthenticator(options.keyfile, options.certfile, options.cafile) if options.certfile else None
        server = ThreadedServer(service, hostname=options.host, ipv6=":" in options.host, port=0, authenticator=tls)
        ready = server.port
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=end_with_stdin, daemon=True).start()
    server._listen()  # so that READY is true: start() would listen only after this line
    print(f"READY {ready}", flush=True)
    server.start()


if __name__ == "__main__":
    main()
