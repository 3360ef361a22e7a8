"""Messages for what the machine lacks: disk space, permissions, file handles, memory, threads."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

SPACE = (
    "free space there, or write to another disk; temporary files follow TMPDIR, and worker "
    "processes need /dev/shm"
)
PERMISSION = "either change its permissions or set another folder"
HANDLES = "raise the limit of open files (ulimit -n), or use fewer workers"
MEMORY = "use fewer workers or smaller images and batches, or a machine with more memory"
PROCESSES = "use fewer workers, or raise the limit of processes (ulimit -u)"
FIXES = {
    errno.ENOSPC: SPACE,
    errno.EDQUOT: SPACE,
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), or write to another file system",
    errno.EROFS: PERMISSION,
    errno.EACCES: PERMISSION,
    errno.EPERM: PERMISSION,
    errno.EMFILE: HANDLES,
    errno.ENFILE: HANDLES,
    errno.ENOMEM: MEMORY,
    errno.EAGAIN: PROCESSES,
    errno.ENAMETOOLONG: "shorten the names of the folders and files",
}


NO_THREAD = ("can't start new thread", "Resource temporarily unavailable")  # Python's, and C++'s


@contextmanager
def missing_threads_as_os_errors() -> Iterator[None]:
    """Turn the RuntimeError of a thread that the system refuses into the error that it gave.

    Raises:
        OSError: no thread can be started.
    """
    try:
        yield
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None:  # joblib fails again while it cleans up
            if str(cause).startswith(NO_THREAD):
                raise OSError(errno.EAGAIN, str(cause)) from error
            cause = cause.__context__
        raise


def message_of(error: Exception) -> str:
    """The message of an error, with what to do if the operating system raised it.

    Example:
        >>> message_of(OSError(errno.EROFS, "Read-only file system", "out/prepare"))
        'out/prepare: expected to use it, but got: Read-only file system - either change its \
permissions or set another folder'
    """
    if isinstance(error, MemoryError):
        return f"Expected enough memory, but got: {error or 'out of memory'} - {MEMORY}"
    if isinstance(error, OSError) and error.errno in FIXES:
        subject = f"{error.filename}: expected" if error.filename else "Expected"
        it = "it" if error.filename else "a file, worker process or thread"
        return f"{subject} to use {it}, but got: {error.strerror} - {FIXES[error.errno]}"
    return str(error)
