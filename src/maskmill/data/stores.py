"""Where a sharded data set lies: a folder, or S3 and what speaks its protocol."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from maskmill.canonical.files import inside, write_bytes

S3 = "s3://"
TRIES = 4
ABSENT = ("404", "NoSuchKey", "NoSuchBucket")


class Store(Protocol):
    """Named files; names are relative and use /."""

    def has(self, name: str) -> bool:
        """Whether there is such a file."""

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        """A file's bytes, or at most `size` of them from `start`."""

    def sizes(self, folder: str) -> dict[str, int]:
        """The files in a folder and their bytes."""

    def write(self, name: str, data: bytes) -> None:
        """Write a small file, whole or not at all."""

    def upload(self, name: str, path: Path) -> None:
        """Take a local file over, whole or not at all; the local one may be gone afterwards."""

    def where(self, name: str) -> str:
        """The full name, for messages."""


class LocalStore:
    """A folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return inside(self.root, name).is_file()

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        """A file's bytes, or at most `size` of them from `start`."""
        path = inside(self.root, name)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: expected a file here, but there is none - check the path or run the stage before"
            )
        with path.open("rb") as file:
            file.seek(start)
            return file.read() if size is None else file.read(size)

    def sizes(self, folder: str) -> dict[str, int]:
        """The files in a folder and their bytes."""
        return {
            path.name: path.stat().st_size
            for path in inside(self.root, folder).iterdir()
            if path.is_file()
        }

    def write(self, name: str, data: bytes) -> None:
        """Write a small file, whole or not at all."""
        write_bytes(inside(self.root, name), data)

    def upload(self, name: str, path: Path) -> None:
        """Take a local file over, whole or not at all."""
        target = inside(self.root, name)
        part = target.with_name(
            f".{target.name}.part"
        )  # `path` may lie on another disk, whose files cannot be renamed to this one
        target.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as source, part.open("wb") as copy:
            while block := source.read(1 << 20):
                copy.write(block)
        part.replace(target)

    def where(self, name: str) -> str:
        """The full name, for messages."""
        return str(self.root / name)


class S3Store:
    """A bucket or a part of one. Endpoint, region and credentials are boto3's business: AWS_ENDPOINT_URL, AWS_PROFILE and the others.

    Args:
        url: s3://BUCKET/PREFIX.

    Raises:
        ValueError: the address names no bucket, or boto3 is not installed.
    """

    def __init__(self, url: str) -> None:
        self.bucket, _, prefix = url.removeprefix(S3).strip("/").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        if not self.bucket:
            raise ValueError(f"Expected s3://BUCKET/PREFIX, but got {url!r} - name the bucket")
        try:
            import boto3  # noqa: F401 - only to say so early
        except ModuleNotFoundError as error:
            raise ValueError(
                f"Expected the package boto3 for {url}, but it is missing - pip install 'maskmill[s3]'"
            ) from error
        self._connection: tuple[int, Any] = (0, None)

    def has(self, name: str) -> bool:
        """Whether there is such an object."""
        from botocore.exceptions import ClientError

        with self._explained(name):
            try:
                self._client().head_object(Bucket=self.bucket, Key=self._prefix + name)
            except ClientError as error:
                if error.response["Error"]["Code"] in ABSENT:
                    return False
                raise
        return True

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        """An object's bytes, or at most `size` of them from `start`."""
        part = {} if size is None else {"Range": f"bytes={start}-{start + size - 1}"}
        with self._explained(name):
            return self._get(self._prefix + name, part, tries=TRIES)

    def _get(self, key: str, part: dict[str, str], *, tries: int) -> bytes:
        """Get an object, again where the answer breaks off: boto3 itself only tries requests again, not what follows them."""
        from botocore.exceptions import (
            IncompleteReadError,
            ReadTimeoutError,
            ResponseStreamingError,
        )

        try:
            return bytes(
                self._client().get_object(Bucket=self.bucket, Key=key, **part)["Body"].read()
            )
        except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
            if tries == 1:
                raise
        return self._get(key, part, tries=tries - 1)

    def sizes(self, folder: str) -> dict[str, int]:
        """The objects in a folder and their bytes."""
        prefix = f"{self._prefix}{folder}/"
        with self._explained(folder):
            pages = (
                self._client()
                .get_paginator("list_objects_v2")
                .paginate(Bucket=self.bucket, Prefix=prefix)
            )
            return {
                row["Key"].removeprefix(prefix): row["Size"]
                for page in pages
                for row in page.get("Contents", [])
            }

    def write(self, name: str, data: bytes) -> None:
        """Write a small object; S3 shows objects only when they are whole."""
        with self._explained(name):
            self._client().put_object(Bucket=self.bucket, Key=self._prefix + name, Body=data)

    def upload(self, name: str, path: Path) -> None:
        """Upload a local file, in parts where it is large."""
        with self._explained(name):
            self._client().upload_file(str(path), self.bucket, self._prefix + name)

    def where(self, name: str) -> str:
        """The full name, for messages."""
        return f"{S3}{self.bucket}/{self._prefix}{name}"

    def _client(self) -> Any:
        process, client = self._connection
        if (
            process != os.getpid()
        ):  # loader processes are forks, and must not share their parent's sockets
            import boto3

            client = boto3.session.Session().client("s3")
            self._connection = (os.getpid(), client)
        return client

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {
            "_connection": (0, None)
        }  # spawned loader processes get a copy by pickle

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        """Say what S3 refused, and what to do, in place of boto3's own errors."""
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            answer = error.response["Error"]
            said = f"S3 answers {answer.get('Code')} ({answer.get('Message')})"
            if answer.get("Code") in ABSENT:
                raise FileNotFoundError(
                    f"{self.where(name)}: expected it here, but {said} - check bucket and prefix"
                ) from error
            raise OSError(
                f"{self.where(name)}: expected access, but {said} - check AWS_ACCESS_KEY_ID and the rights it has"
            ) from error
        except (BotoCoreError, S3UploadFailedError) as error:
            raise OSError(
                f"{self.where(name)}: expected an answer, but {error} - check AWS_ENDPOINT_URL, region and credentials"
            ) from error


def load_json(store: Store, name: str) -> Any:
    """The content of a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON.
    """
    try:
        return json.loads(store.read(name))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{store.where(name)}: expected JSON, but found {error} - write the file again"
        ) from error


def open_store(root: str | Path) -> LocalStore | S3Store:
    """The store at a folder or an s3:// address.

    Raises:
        ValueError: the address is of another kind, or boto3 is missing.
    """
    if str(root).startswith(S3):
        return S3Store(str(root))
    if "://" in str(root):
        raise ValueError(
            f"Expected a folder or s3://BUCKET/PREFIX, but got {str(root)!r} - mend data.root"
        )
    return LocalStore(Path(root))
