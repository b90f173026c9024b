"""Whoever reads a blob sees one version of it, whole, whatever writes and deletes beside it."""

import base64
import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import httpx
import pytest

from phi_assets.emulator.process import Connection
from tests.emulator.http import raw_client, token

SECONDS, BLOBS = 1.5, ("races/one", "races/two")


class Race:
    """Clients that write, read and delete two blobs at the same time, and what they were answered."""

    def __init__(self, emulator: Connection):
        self.base = f"{emulator.base_url}/phistorage.blob.local.emu/azureml-blobstore"
        self.emulator = emulator
        self.authorization = {"Authorization": f"Bearer {token(emulator, 'https://storage.azure.com')}"}
        self.answers: Counter[tuple[str, int]] = Counter()
        self.torn: list[str] = []
        self._lock = threading.Lock()

    def run(self, roles: list[str], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        threads = [threading.Thread(target=self._play, args=(role, n, deadline)) for n, role in enumerate(roles)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _play(self, role: str, number: int, deadline: float) -> None:
        draw = random.Random(number)
        acts: dict[str, Callable[[httpx.Client, str, random.Random], httpx.Response]] = {
            "write": self._write,
            "blocks": self._write_blocks,
            "read": self._read,
            "range": self._read_range,
            "delete": lambda client, url, _: client.delete(url),
            "head": lambda client, url, _: client.head(url),
            "mark": lambda client, url, _: client.put(f"{url}?comp=metadata", headers={"x-ms-meta-marked": "yes"}),
            "list": lambda client, _, __: client.get(f"{self.base}?restype=container&comp=list&prefix=races/"),
        }
        with raw_client(self.emulator) as client:
            client.headers.update(self.authorization)
            while time.monotonic() < deadline:
                answer = acts[role](client, f"{self.base}/{draw.choice(BLOBS)}", draw)
                with self._lock:
                    self.answers[role, answer.status_code] += 1

    @staticmethod
    def _content(draw: random.Random) -> tuple[str, bytes]:
        letter = draw.choice("abcdefghij")
        return letter, letter.encode() * (1000 * (ord(letter) - 96) + 300_000 * draw.randrange(2))

    def _write(self, client: httpx.Client, url: str, draw: random.Random) -> httpx.Response:
        letter, content = self._content(draw)
        headers = {"x-ms-blob-type": "BlockBlob", "x-ms-meta-letter": letter, "x-ms-meta-size": str(len(content))}
        return client.put(url, content=content, headers=headers)

    def _write_blocks(self, client: httpx.Client, url: str, draw: random.Random) -> httpx.Response:
        letter, content = self._content(draw)
        names = [base64.b64encode(f"{letter}{len(content)}{part}".encode()).decode() for part in range(2)]
        for name, part in zip(names, (content[:500], content[500:]), strict=True):
            client.put(url, params={"comp": "block", "blockid": name}, content=part).raise_for_status()
        listed = "".join(f"<Latest>{name}</Latest>" for name in names)
        headers = {"x-ms-meta-letter": letter, "x-ms-meta-size": str(len(content))}
        body = f"<BlockList>{listed}</BlockList>".encode()
        return client.put(url, params={"comp": "blocklist"}, content=body, headers=headers)

    def _read(self, client: httpx.Client, url: str, _: random.Random) -> httpx.Response:
        answer = client.get(url)
        if answer.status_code == 200:
            self._check(answer, answer.content, int(answer.headers["content-length"]))
        return answer

    def _read_range(self, client: httpx.Client, url: str, draw: random.Random) -> httpx.Response:
        start = draw.randrange(1000)
        answer = client.get(url, headers={"x-ms-range": f"bytes={start}-"})
        if answer.status_code == 206:
            self._check(answer, answer.content, int(answer.headers["content-range"].split("/")[1]), start)
        return answer

    def _check(self, answer: httpx.Response, content: bytes, size: int, start: int = 0) -> None:
        headers = answer.headers
        letter, said = headers.get("x-ms-meta-letter", ""), headers.get("x-ms-meta-size", "")
        whole = bytes(content[:1]) * size
        md5 = headers.get("content-md5") or headers.get("x-ms-blob-content-md5")
        is_marked = headers.get("x-ms-meta-marked") == "yes"
        if (
            content != whole[start:]
            or (not is_marked and (letter, said) != (content[:1].decode(), str(size)))
            or (md5 is not None and md5 != base64.b64encode(hashlib.md5(whole).digest()).decode())
        ):
            self.torn.append(f"{len(content)} of {size} bytes, {dict(headers)}")


@pytest.fixture
def race(emulator: Connection) -> Race:
    return Race(emulator)


ROLES = ["write", "write", "write", "blocks", "blocks", "read", "read", "range", "delete", "head", "mark", "list"]


def test_nothing_is_torn_and_nothing_is_a_defect(race: Race) -> None:
    race.run(ROLES, SECONDS)
    assert race.torn == []
    allowed = {
        "write": {201},
        "blocks": {201, 400},  # another list has been committed first, and discards the other blocks
        "read": {200, 404},
        "range": {206, 404, 416},
        "delete": {202, 404},
        "head": {200, 404},
        "mark": {200, 404},
        "list": {200},
    }
    strange = {key: count for key, count in race.answers.items() if key[1] not in allowed[key[0]]}
    assert strange == {}
    assert race.answers["read", 200] > 5
    assert race.answers["delete", 202] > 0


def test_a_whole_blob_has_its_md5_and_a_part_of_it_has_it_under_another_name(race: Race) -> None:
    with raw_client(race.emulator) as client:
        client.headers.update(race.authorization)
        url = f"{race.base}/races/sums"
        client.put(url, content=b"content", headers={"x-ms-blob-type": "BlockBlob"}).raise_for_status()
        md5 = base64.b64encode(hashlib.md5(b"content").digest()).decode()
        assert client.get(url).headers["content-md5"] == md5
        part = client.get(url, headers={"x-ms-range": "bytes=0-2"})
        assert (part.content, part.headers.get("content-md5")) == (b"con", None)
        assert part.headers["x-ms-blob-content-md5"] == md5
        # A job writes into the same file: what was known of the old content is not said of the new one.
        path = race.emulator.directory / "blobs" / "azureml-blobstore" / "races" / "sums"
        for content in (b"other content", b"CONTENT"):
            path.write_bytes(content)
            assert "content-md5" not in client.get(url).headers
