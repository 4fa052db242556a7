"""A Python client that measures calls of `add`.

    client.py PORT...

Prints `READY` and connects once to each port. Each line `<n-th port> <how> <seconds>` on standard input is answered with a line
`<calls> <seconds>`; the ways are the functions below. It ends when its standard input does.
"""

import sys
import time
from collections import deque

import rpyc
from rpyc.core import consts

# Calls under way at once, and calls between two looks at the clock.
WINDOW = STEP = 64


def attribute(connection):
    """As one writes it: an attribute, then a call."""
    root = connection.root

    def step():
        for i in range(STEP):
            assert root.add(i, 2) == i + 2

    return step, lambda: None


def callattr(connection):
    """Attribute and call in one request, as the Rust client asks."""
    root = connection.root
    ask = connection.sync_request

    def step():
        for i in range(STEP):
            assert ask(consts.HANDLE_CALLATTR, root, "add", (i, 2)) == i + 2

    return step, lambda: None


def waves(connection):
    """`async_`: so many calls are sent, then their results are taken."""
    add = rpyc.async_(connection.root.add)

    def step():
        for result in [add(i, 2) for i in range(WINDOW)]:
            result.value

    return step, lambda: None


def window(connection):
    """`async_`, with so many calls under way at all times; the oldest is waited for."""
    add = rpyc.async_(connection.root.add)
    waiting = deque(add(i, 2) for i in range(WINDOW))

    def step():
        for i in range(STEP):
            waiting.popleft().value
            waiting.append(add(i, 2))

    def finish():
        while waiting:
            waiting.popleft().value

    return step, finish


def measure(connection, how, seconds):
    step, finish = how(connection)
    calls = 0
    began = now = time.perf_counter()
    while now < began + seconds:
        step()
        calls += STEP
        now = time.perf_counter()
    finish()
    return calls, now - began


def main():
    connections = [rpyc.connect("127.0.0.1", int(port)) for port in sys.argv[1:]]
    ways = {how.__name__: how for how in (attribute, callattr, waves, window)}
    print("READY", flush=True)
    for line in sys.stdin:
        port, how, seconds = line.split()
        print(*measure(connections[int(port)], ways[how], float(seconds)), flush=True)


main()
