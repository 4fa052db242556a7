"""A Python RPyC server for tests.

    server.py [--host HOST]     TCP on a free port; prints "READY <port>"
    server.py --unix PATH       a unix socket; prints "READY <path>"
    server.py --stdio           standard input and output are the stream; nothing is printed there

It ends when its standard input does, if that is a pipe: whoever started it is gone then.
"""

import argparse
import os
import stat
import sys
import threading
import time

import rpyc
from rpyc.core.stream import PipeStream
from rpyc.utils.server import ThreadedServer


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

    # Values.
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

    # Calls back to the client while its own call is under way.
    def exposed_callback(self, f, x):
        return f(x)

    def exposed_callback_many(self, f, n):
        return tuple(f(i) for i in range(n))

    def exposed_callback_async(self, f, n):
        """The calls are sent at once and answered in any order."""
        call = rpyc.async_(f)
        results = [call(i) for i in range(n)]
        return tuple(result.value for result in results)

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
        server = ThreadedServer(service, hostname=options.host, ipv6=":" in options.host, port=0)
        ready = server.port
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=end_with_stdin, daemon=True).start()
    server._listen()  # so that READY is true: start() would listen only after this line
    print(f"READY {ready}", flush=True)
    server.start()


if __name__ == "__main__":
    main()
