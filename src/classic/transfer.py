# Runs at the peer, once for each transfer; see transfer.rs. Works with every Python 3.
import errno
import os
import stat
import threading


class Piecewise:
    """A file that is read or written in pieces, each at its own place, in any order."""

    def __init__(self, file):
        self.file = file
        self.lock = threading.Lock()

    def read_at(self, offset, count):
        with self.lock:
            self.file.seek(offset)
            return self.file.read(count)

    def write_at(self, offset, piece):
        with self.lock:
            self.file.seek(offset)
            self.file.write(piece)


class Temporary:
    """A file beside the final name, until it is finished. Without that it goes with the last reference.

    The peer writes through a Piecewise and holds this only, so that the end of a connection in the middle of a write leaves no
    reference behind in the frames of the exception.
    """

    name = None

    def __init__(self, path):
        self.path = os.path.realpath(path)
        try:
            mode = os.stat(self.path).st_mode
        except FileNotFoundError:
            mode = None
        if mode is not None and stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if mode is not None and not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        name = "%s.%d-%x.part" % (self.path, os.getpid(), id(self))
        self.file = open(name, "xb")
        self.name = name
        if mode is not None:
            os.chmod(name, stat.S_IMODE(mode))

    def finish(self):
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            os.replace(self.name, self.path)
            self.name = None
        finally:
            self.discard()

    def discard(self):
        if self.name is not None:
            name, self.name = self.name, None
            try:
                self.file.close()
            finally:
                os.remove(name)

    __del__ = discard


def upload(path):
    temporary = Temporary(path)
    return temporary, Piecewise(temporary.file)


def download(path):
    file = open(path, "rb")
    return Piecewise(file), os.fstat(file.fileno()).st_size
