"""A scripted Python client for the service that server.py and `rpyc serve` offer.

    client.py HOST PORT [CHECK…]
    client.py --unix PATH [CHECK…]
    client.py --list

Runs the named checks, or all of them, each on a connection of its own, and prints one JSON line a check:

    {"check": "add", "value": …}                                      what the check returned
    {"check": "fail", "error": "ValueError", "text": "…", …}          what it raised, in words that do not depend on the server

Bytes are shown as {"bytes": "hex"}, tuples as lists, other objects by their type's name. A Rust test compares the lines of a Rust server with those of
server.py, or with what it expects. Exit status 0 says that every check ran to its end, not that the lines are right.
"""

import argparse
import json
import sys
import time

import rpyc

CHECKS = {}


def check(function):
    CHECKS[function.__name__] = function
    return function


def shown(value):
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if type(value) in (bytes, bytearray):
        return {"bytes": value.hex()}
    if type(value) in (tuple, list):
        return [shown(item) for item in value]
    if type(value) is dict:
        return {key: shown(item) for key, item in value.items()}
    return {"type": type(value).__name__}


def outcome(call, *args, **kwargs):
    """What a call gave or raised, for checks that need more than one."""
    try:
        return shown(call(*args, **kwargs))
    except Exception as error:
        return raised(error)


def raised(error):
    # rpyc makes a class of its own for an exception that it does not know, named module.Class. A builtin arrives as itself.
    return {
        "error": type(error).__name__,
        "builtin": type(error).__module__ == "builtins",
        "text": str(error).split("\n")[0],
        "has_remote_traceback": bool(getattr(error, "_remote_tb", None)),
    }


# Calls and values.


@check
def add(conn):
    return conn.root.add(1, 2)


@check
def add_kinds(conn):
    add = conn.root.add
    return [add(2**200, 1) == 2**200 + 1, add(-5, 3), add("a", "b"), add(b"a", b"b"), add((1,), (2,)), add(1.5, 2)]


@check
def echo_values(conn):
    values = [
        None, True, False, 0, -48, 159, 160, -49, 2**63, -(2**200), 0.0, -0.0, 1.5, float("inf"), "", "a", "é€😀", "x" * 300,
        b"", b"\0", bytes(range(256)), (), (1, 2), (1, (2, ("three", b"4", None))), tuple(range(300)),
        1 + 2j, slice(1, 2, 3), frozenset((1, 2)), Ellipsis, NotImplemented,
    ]
    wrong = [repr(value)[:60] for value in values if not same(conn.root.echo(value), value)]
    nan = conn.root.echo(float("nan"))
    return {"sent": len(values), "wrong": wrong, "nan_stays": nan != nan}


def same(a, b):
    # repr tells 0 from -0.0, 1 from True and 1 from 1.0, which == does not.
    return type(a) is type(b) and repr(a) == repr(b)


@check
def upper(conn):
    return conn.root.upper("straße")


@check
def sizes(conn):
    wrong = []
    for n in (0, 1, 2999, 3000, 3001, 63_994, 64_000, 65_536, 1 << 20):
        if conn.root.blob(n) != bytes(n):
            wrong.append(n)
        if conn.root.echo(b"z" * n) != b"z" * n:
            wrong.append(-n)
    return wrong


@check
def many_calls(conn):
    return sum(conn.root.add(i, 1) for i in range(500))


@check
def keyword_arguments(conn):
    return outcome(conn.root.upper, text="named")


# What a client looks at.


@check
def ping(conn):
    conn.ping()
    conn.ping("some data", timeout=5)
    return "ok"


@check
def dir_root(conn):
    names = dir(conn.root)
    wanted = ("add", "echo", "upper", "sleep", "blob", "fail", "get_service_name", "get_service_aliases")
    # A Python service lists `exposed_add`, and other servers may list `add`; a user of tab completion cares for either.
    return [name for name in wanted if name in names or f"exposed_{name}" in names]


@check
def service_name(conn):
    name, aliases = conn.root.get_service_name(), conn.root.get_service_aliases()
    return {"name_is_str": type(name) is str, "name_is_an_alias": name in aliases}


@check
def has_attributes(conn):
    return [hasattr(conn.root, name) for name in ("add", "no_such_name", "_private", "__class__")]


@check
def getattr_with_default(conn):
    return getattr(conn.root, "no_such_name", "the default")


@check
def repr_of_root(conn):
    return [type(repr(conn.root)) is str, type(str(conn.root)) is str, type(hash(conn.root)) is int, conn.root == conn.root]


@check
def callable_again(conn):
    add = conn.root.add
    return [callable(add), add(1, 1), add(2, 2)]


# What goes wrong.


@check
def unknown_name(conn):
    return conn.root.no_such_name


@check
def unknown_call(conn):
    return conn.root.no_such_name(1)


@check
def private_name(conn):
    return conn.root._private


@check
def setting_an_attribute(conn):
    conn.root.add = 1


@check
def wrong_arity(conn):
    return [kind_only(conn.root.add, *args) for args in ((), (1,), (1, 2, 3))]


@check
def wrong_keyword(conn):
    return kind_only(conn.root.upper, no_such_keyword=1)


@check
def wrong_type(conn):
    return [kind_only(conn.root.add, 1, "a"), kind_only(conn.root.blob, "many")]


def kind_only(call, *args, **kwargs):
    """Which exception a call raises: the texts of TypeErrors are the server's own."""
    found = outcome(call, *args, **kwargs)
    if isinstance(found, dict) and "error" in found:
        del found["text"]
    return found


@check
def fail(conn):
    return conn.root.fail("on purpose")


@check
def fail_is_caught_by_class(conn):
    try:
        conn.root.fail("é")
    except ValueError as error:
        return list(error.args)


@check
def lives_on_after_errors(conn):
    for _ in range(20):
        outcome(conn.root.fail, "again")
        outcome(getattr, conn.root, "no_such_name")
    return conn.root.add(20, 22)


# Time.


@check
def async_call(conn):
    result = rpyc.async_(conn.root.add)(20, 22)
    result.wait()
    return [result.ready, result.error, result.value]


@check
def async_error(conn):
    result = rpyc.async_(conn.root.fail)("later")
    result.wait()
    return [result.ready, result.error, outcome(lambda: result.value)]


@check
def async_many(conn):
    add = rpyc.async_(conn.root.add)
    return sum(result.value for result in [add(i, i) for i in range(200)])


@check
def async_callback(conn):
    seen = []
    result = rpyc.async_(conn.root.upper)("done")
    result.add_callback(lambda result: seen.append(result.value))
    result.wait()
    return seen


@check
def timed_in_time(conn):
    return rpyc.timed(conn.root.add, 10)(1, 2).value


@check
def timed_too_late(conn):
    result = rpyc.timed(conn.root.sleep, 0.2)(1)
    found = kind_only(lambda: result.value)
    found["expired"] = result.expired
    del found["has_remote_traceback"]  # raised here, not there
    return found


@check
def call_after_late_reply(conn):
    rpyc.timed(conn.root.sleep, 0.05)(0.3)
    time.sleep(0.5)
    return conn.root.add(1, 2)


@check
def sleep_values(conn):
    return [conn.root.sleep(0), conn.root.sleep(0.01)]


# The end.


@check
def close(conn):
    conn.root.add(1, 2)
    conn.close()
    return [conn.closed, kind_only(lambda: conn.root)]


@check
def close_twice(conn):
    conn.close()
    conn.close()
    return conn.closed


@check
def close_with_calls_pending(conn):
    result = rpyc.async_(conn.root.sleep)(0.2)
    conn.close()
    return [conn.closed, kind_only(lambda: result.value)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--unix")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("rest", nargs="*")
    options = parser.parse_args()
    if options.list:
        print("\n".join(CHECKS))
        return
    if options.unix:
        names = options.rest

        def connect():
            return rpyc.utils.factory.unix_connect(options.unix)
    else:
        if len(options.rest) < 2:
            parser.error("HOST and PORT, or --unix PATH")
        host, port, *names = options.rest

        def connect():
            return rpyc.connect(host, int(port), ipv6=":" in host)

    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        parser.error(f"no such check: {', '.join(unknown)}")
    for name in names or CHECKS:
        line = {"check": name}
        try:
            conn = connect()
            try:
                line["value"] = shown(CHECKS[name](conn))
            finally:
                conn.close()
        except Exception as error:
            line.update(raised(error))
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
