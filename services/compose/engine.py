"""This machine's Docker engine, as `knarr load` uses it: images out, and commands in containers that may be fed. Through the docker SDK."""

from __future__ import annotations

import http
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, cast

import docker
from docker.constants import DEFAULT_UNIX_SOCKET
from docker.errors import APIError, DockerException, ImageNotFound
from docker.utils import kwargs_from_env
from docker.utils.socket import STDERR, STDOUT
from requests.exceptions import RequestException

from knarr.service.errors import CommandError

# How long the engine may say nothing: it may have to put together an image before it sends its first byte.
SILENCE_SECONDS = 600
# Before each piece of output: whose it is, and its length.
FRAME = struct.Struct(">BxxxL")


class DirectClient(docker.APIClient):
    """Goes to the engine alone: a proxy that the environment names is for what the engine pulls."""

    # The SDK's session sets it to True, and asks the engine something, before anybody else could change it.
    trust_env = property(lambda self: False, lambda self, value: None)


class Engine:
    """By ``DOCKER_HOST``. Raises CommandError, in the engine's words where it has some."""

    def __init__(self) -> None:
        arguments = kwargs_from_env()
        try:
            _knock(arguments.get("base_url", DEFAULT_UNIX_SOCKET))
            self._api = DirectClient(timeout=SILENCE_SECONDS, **arguments)
        except (DockerException, OSError) as error:
            raise CommandError(f"no Docker engine answers; run `make install`, or start it ({error})") from None

    def close(self) -> None:
        self._api.close()

    def containers(self, *labels: str) -> list[dict[str, Any]]:
        """All containers with these labels, running or not, as the API lists them."""
        with _words():
            return list(self._api.containers(all=True, filters={"label": list(labels)}))

    def image(self, name: str) -> dict[str, Any] | None:
        """What the engine knows of an image; None when it has none of this name."""
        with _words():
            try:
                return dict(self._api.inspect_image(name))
            except ImageNotFound:
                return None

    @contextmanager
    def save(self, names: list[str]) -> Iterator[IO[bytes]]:
        """The images as one archive, each shared layer once, which the SDK's own call for a single image cannot do."""
        url = f"{self._api.base_url}/v{self._api.api_version}/images/get"
        with self._api.get(url, params={"names": names}, stream=True, timeout=SILENCE_SECONDS) as response:
            if response.status_code != http.HTTPStatus.OK:
                raise CommandError(str(response.json()["message"]))
            yield cast(IO[bytes], response.raw)

    def load(self, archive: IO[bytes]) -> None:
        """Gives the engine the images of an archive, as `docker load`."""
        with _words():
            for told in self._api.load_image(archive, quiet=True):
                if "error" in told:
                    raise CommandError(str(told["error"]))

    def remove_image(self, name: str) -> None:
        """Takes a name away, and the image where it was the last one; one that a container is of stays."""
        with _words(), suppress(ImageNotFound):
            try:
                self._api.remove_image(name)
            except APIError as error:
                if error.status_code != http.HTTPStatus.CONFLICT:
                    raise

    def output(self, container: str, command: list[str], environment: dict[str, str]) -> str | None:
        """What a command in a container writes to standard output; None when it fails."""
        told = self._start(container, command, environment).finish()
        return told.output.decode(errors="replace").strip() if told.code == 0 else None

    def feed(self, container: str, command: list[str], environment: dict[str, str]) -> Command:
        """Starts a command in a container, to be fed."""
        return self._start(container, command, environment, stdin=True)

    def _start(self, container: str, command: list[str], environment: dict[str, str], *, stdin: bool = False) -> Command:
        with _words():
            made = self._api.exec_create(container, command, stdin=stdin, environment=environment)["Id"]
            return Command(self._api, made, self._api.exec_start(made, socket=True))


@dataclass(frozen=True, slots=True)
class Told:
    """What a command wrote, and its exit code."""

    output: bytes
    complaint: bytes
    code: int

    @property
    def failure(self) -> str:
        """For a person; empty when it succeeded."""
        return "" if self.code == 0 else self.complaint.decode(errors="replace").strip() or f"exit code {self.code}"


class Command:
    """A command that runs in a container."""

    def __init__(self, api: docker.APIClient, identity: str, stream: Any) -> None:
        self._api = api
        self._id = identity
        # The stream reads only; the socket below it does both.
        self._stream = stream
        self._socket: socket.socket = getattr(stream, "_sock", stream)
        self._socket.settimeout(None)

    def write(self, data: bytes) -> None:
        """Feeds it; raises OSError when it reads no more."""
        self._socket.sendall(data)

    def finish(self) -> Told:
        """Ends its input and awaits its end."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        written = {STDOUT: b"", STDERR: b""}
        with suppress(OSError):
            for stream, data in self._frames():
                written[stream] += data
        self._stream.close()
        self._socket.close()
        with _words():
            return Told(written[STDOUT], written[STDERR], self._api.exec_inspect(self._id)["ExitCode"])

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        # What has come with the head of the answer is in the reader already; the SDK's own loop reads the socket and would lose it.
        reader = self._stream._response.raw._fp.fp
        while len(head := reader.read(FRAME.size)) == FRAME.size:
            stream, size = FRAME.unpack(head)
            yield stream, reader.read(size)


def _knock(url: str) -> None:
    """Raises OSError when nobody listens on a Unix socket; the SDK would tell it in three layers, and leave its own socket open."""
    scheme, _, path = url.partition("://")
    if scheme in ("unix", "http+unix"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(f"/{path.lstrip('/')}")


@contextmanager
def _words() -> Iterator[None]:
    """Tells the engine's errors in its own words."""
    try:
        yield
    except APIError as error:
        raise CommandError(str(error.explanation or error)) from error
    except DockerException as error:
        raise CommandError(str(error)) from error
    except RequestException as error:
        raise CommandError(f"the Docker engine broke off: {error}") from error
