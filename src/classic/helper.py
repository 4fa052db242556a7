# Runs at the peer, once for each connection; see helper.rs. Works with every Python 3.
from collections.abc import Mapping, MappingView, Sequence, Set
from operator import attrgetter


def plain(value):
    """A copy of a value that travels by value, as deep as that goes; what has no such form is left as it is."""
    if value is None or isinstance(value, bool):
        return value
    # The exact types, since of a subclass (an enum, say) only a reference travels.
    for kind, copy in ((int, int.__int__), (float, float.__float__), (str, str.__str__)):
        if isinstance(value, kind):
            return copy(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return memoryview(value).tobytes()
    if isinstance(value, Mapping):
        return tuple([(plain(key), plain(value[key])) for key in value])
    if isinstance(value, Set) and not isinstance(value, MappingView):
        return frozenset([plain(item) for item in value])
    if isinstance(value, (Sequence, MappingView)):
        return tuple([plain(item) for item in value])
    return value


def run(by_value, value, path, args, kwargs):
    """An attribute of a value, called unless args is None."""
    if path:
        value = attrgetter(path)(value)
    if args is not None:
        value = value(*args, **dict(kwargs))
    return plain(value) if by_value else value
