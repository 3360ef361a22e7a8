"""The files of a data set, in a local folder or at any URL that fsspec opens."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import fsspec
from fsspec import AbstractFileSystem

from maskmill.canonical.files import decode_text, inside, parse_json, write_bytes

EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs"}  # URL protocol -> extra of maskmill
COPY_BLOCK_BYTES = 1 << 20


class Store(Protocol):
    """Named files. Names are relative and separate folders by `/`."""

    def has(self, name: str) -> bool:
        """Whether the file exists."""

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        """The bytes of a file: all of them, or at most `size` from position `start`."""

    def sizes(self, names: Sequence[str]) -> list[int]:
        """The size of each file in bytes."""

    def write(self, name: str, data: bytes) -> None:
        """Write a small file, completely or not at all."""

    def upload(self, name: str, local: Path) -> None:
        """Copy a local file into the store, completely or not at all."""

    def where(self, name: str) -> str:
        """The full path or URL of a file, for messages."""


class LocalStore:
    """The files of a local folder, read without fsspec, which is slower."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def has(self, name: str) -> bool:
        """Whether the file exists."""
        return inside(self.root, name).is_file()

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        """The bytes of a file: all of them, or at most `size` from position `start`.

        Raises:
            FileNotFoundError: the file does not exist.
        """
        with self._existing(name).open("rb") as file:
            file.seek(start)
            return file.read() if size is None else file.read(size)

    def sizes(self, names: Sequence[str]) -> list[int]:
        """The size of each file in bytes.

        Raises:
            FileNotFoundError: a file does not exist.
        """
        return [self._existing(name).stat().st_size for name in names]

    def write(self, name: str, data: bytes) -> None:
        """Write a small file, completely or not at all."""
        write_bytes(inside(self.root, name), data)

    def upload(self, name: str, local: Path) -> None:
        """Copy a local file into the store, completely or not at all."""
        target = inside(self.root, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Copied, not renamed: `local` may be on another disk.
        unfinished = target.with_name(f".{target.name}.part")
        with local.open("rb") as source, unfinished.open("wb") as copy:
            while block := source.read(COPY_BLOCK_BYTES):
                copy.write(block)
        unfinished.replace(target)

    def where(self, name: str) -> str:
        """The full path of a file, for messages."""
        return str(self.root / name)

    def _existing(self, name: str) -> Path:
        path = inside(self.root, name)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: expected a file, but there is none - "
                "either check the path or run the stage that writes it"
            )
        return path


class RemoteStore:
    """The files below a URL, read by fsspec: s3://, gs://, https://, memory:// and others.

    Endpoints and credentials are those of the fsspec package for the protocol: s3fs reads
    AWS_ENDPOINT_URL, AWS_PROFILE and the other AWS variables, gcsfs reads
    GOOGLE_APPLICATION_CREDENTIALS.

    Args:
        url: PROTOCOL://BUCKET/FOLDER.

    Raises:
        ValueError: the URL names no bucket or folder, the protocol is unknown, or the package that
            opens it is not installed.
    """

    def __init__(self, url: str) -> None:
        protocol, _, location = url.partition("://")
        if not location.strip("/"):
            raise ValueError(
                f"Expected {protocol}://BUCKET/FOLDER, but got {url!r} - add the bucket or folder"
            )
        _check_protocol(protocol.rpartition("::")[2], url)  # s3 of simplecache::s3
        self.url = url.rstrip("/")
        self._opened: dict[int, tuple[AbstractFileSystem, str]] = {}

    def has(self, name: str) -> bool:
        """Whether the file exists."""
        file_system, path = self._open(name)
        with self._explained(name):
            try:  # not `exists`, which answers False when the server cannot be reached
                return bool(file_system.info(path)["type"] == "file")
            except FileNotFoundError as error:
                # Over HTTP, fsspec also says "not found" when a connection fails.
                if error.__cause__ is None or isinstance(error.__cause__, FileNotFoundError):
                    return False
                raise

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        """The bytes of a file: all of them, or at most `size` from position `start`.

        Raises:
            FileNotFoundError: the file does not exist.
            OSError: access fails, or the server cannot send a range of bytes.
        """
        file_system, path = self._open(name)
        with self._explained(name):
            if size is None:
                return bytes(file_system.cat_file(path))
            data = bytes(file_system.cat_file(path, start=start, end=start + size))
        if len(data) > size:
            raise OSError(
                f"{self.where(name)}: expected {size} bytes from position {start}, but the server "
                "sent the whole file - use a server that supports the Range header of HTTP"
            )
        return data

    def sizes(self, names: Sequence[str]) -> list[int]:
        """The size of each file in bytes.

        Raises:
            FileNotFoundError: a file does not exist.
            OSError: access fails.
        """
        file_system, root = self._open("")
        for name in names:
            inside(Path(root), name)  # refuses names that leave the folder
        paths = [f"{root}{name}" for name in names]
        with self._explained(""):
            return list(file_system.sizes(paths))

    def write(self, name: str, data: bytes) -> None:
        """Write a small file. Object stores show a file only when it is complete."""
        file_system, path = self._open(name)
        with self._explained(name):
            file_system.pipe_file(path, data)

    def upload(self, name: str, local: Path) -> None:
        """Copy a local file into the store, in several parts if it is large."""
        file_system, path = self._open(name)
        with self._explained(name):
            file_system.put_file(str(local), path)

    def where(self, name: str) -> str:
        """The URL of a file, for messages."""
        return f"{self.url}/{name}"

    def _open(self, name: str) -> tuple[AbstractFileSystem, str]:
        """This process's own file system object, and the path of a file in it.

        Such an object has a thread and sockets, which a forked loader process must not share with
        its parent. A fork keeps the parent's object, since deleting it would close the parent's
        connections.
        """
        process = os.getpid()
        if process not in self._opened:
            with self._explained(""):
                file_system, root = fsspec.url_to_fs(self.url, skip_instance_cache=True)
            self._opened[process] = file_system, root.rstrip("/")
        file_system, root = self._opened[process]
        inside(Path(root), name)  # refuses names that leave the folder
        return file_system, f"{root}/{name}"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": {}}  # a spawned process opens its own

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        """Turn the exceptions of any fsspec package into one clear message."""
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{self.where(name)}: expected a file, but got: {error.__cause__ or error} - "
                "check the URL and the network"
            ) from error
        except Exception as error:  # the packages' exceptions have no base class in common
            raise OSError(
                f"{self.where(name)}: expected access, but got {type(error).__name__}: {error} - "
                "check the endpoint, the credentials and their permissions"
            ) from error


def _check_protocol(protocol: str, url: str) -> None:
    """Check that the package for a protocol is installed, without connecting to anything."""
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        remedy = f"pip install 'maskmill[{extra}]'" if extra else str(error)
        raise ValueError(
            f"Expected the fsspec package for {url}, but it is not installed - {remedy}"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"Expected a folder or a URL that fsspec opens, but got {url!r} ({error}) - "
            "check data.root or shard.out"
        ) from error


def load_json(store: Store, name: str) -> Any:
    """The content of a JSON file.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not JSON.
    """
    where = store.where(name)
    return parse_json(decode_text(store.read(name), where, expected="a JSON file"), where)


def open_store(root: str | Path) -> LocalStore | RemoteStore:
    """The store of a folder or URL.

    Raises:
        ValueError: the URL names no bucket or folder, the protocol is unknown, or the package that
            opens it is not installed.
    """
    address = str(root)
    if address.startswith("file://"):
        return LocalStore(Path(address.removeprefix("file://")))
    if "://" in address:
        return RemoteStore(address)
    return LocalStore(Path(root))
