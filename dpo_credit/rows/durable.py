"""Files that a run appends to: down to the disk before the work goes on, and locked against a second writer."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from dpo_credit.credit import CreditError

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two runs apart
    fcntl = None  # type: ignore[assignment]


def lock(handle: int, output: Path) -> None:
    """Lock a file until it is closed or the process ends, however it does. A file system without locks goes without.

    Raises:
        CreditError: another run holds the lock of this output.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CreditError(f"another run is writing {output}. Wait for it, or name another output.") from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise


def append(handle: int, path: Path, data: bytes) -> None:
    """Write at a file's end, down to the disk.

    Raises:
        CreditError: the file is no longer where it was.
        OSError: it cannot be written.
    """
    os.lseek(handle, 0, os.SEEK_END)
    written = 0
    while written < len(data):
        written += os.write(handle, data[written:])
    os.fsync(handle)
    if not path.exists() or not os.path.samestat(os.stat(path), os.fstat(handle)):
        raise CreditError(
            f"{path} was moved or deleted while it was written. Put it back with its journal and go on with "
            "--resume, or begin again."
        )


def read(handle: int) -> bytes:
    """All of a file."""
    return os.pread(handle, os.fstat(handle).st_size, 0)


def open_file(path: Path, flags: int) -> int:
    """Open a file that no child process inherits."""
    return os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o666)


def keep_mode(new: Path, old: Path) -> None:
    """Give a new file the mode of the one that it replaces, and its owner where that is allowed."""
    try:
        status = old.stat()
    except FileNotFoundError:
        return
    if hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(new, status.st_uid, status.st_gid)
    os.chmod(new, stat.S_IMODE(status.st_mode))


def sync(path: Path) -> None:
    """Bring a file or a folder down to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
