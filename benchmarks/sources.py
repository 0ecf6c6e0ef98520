"""Sources of requests, one for each kind of load; each says in its first line what it sends."""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmarks.data import Body, Window
from benchmarks.plan import ObjectSet, Stage
from benchmarks.s3_requests import Answer, Request, S3Requests

ATTEMPTS_MAX = 8


class EachSource:
    """One request for each number that this process has a share in, until stopped."""

    def __init__(self, stage: Stage, requests: S3Requests) -> None:
        self.stage = stage
        self.requests = requests
        self.random = random.Random(f"{stage.seed} {stage.process}")
        self._numbers = _share(stage, stage.count)
        self._stopped = False

    def next(self) -> Request | None:
        if self._stopped:
            return None
        number = next(self._numbers, None)
        return None if number is None else self.request(number)

    def done(self, request: Request, answer: Answer | None, error: str) -> None:
        pass

    def stop(self) -> None:
        self._stopped = True

    def request(self, number: int) -> Request:
        raise NotImplementedError

    @property
    def read(self) -> ObjectSet:
        assert self.stage.reads
        return self.stage.reads

    @property
    def written(self) -> ObjectSet:
        assert self.stage.writes
        return self.stage.writes

    def pick(self) -> int:
        """A number of what can be read."""
        return self.random.randrange(self.read.count)


class Fill(EachSource):
    """PutObject for every object of a set; tries again what fails, since later stages need it."""

    def __init__(self, stage: Stage, requests: S3Requests) -> None:
        super().__init__(stage, requests)
        self._again: deque[Request] = deque()
        self._attempts = 0

    def next(self) -> Request | None:
        if self._again:
            request = self._again.popleft()
            return self.request(request.tag)
        return super().next()

    def request(self, number: int) -> Request:
        request = self.requests.put(self.written.key(number), self.written.body(number))
        request.tag = number
        return request

    def done(self, request: Request, answer: Answer | None, error: str) -> None:
        if error and self._attempts < ATTEMPTS_MAX * 10:
            self._attempts += 1
            self._again.append(request)


class Put(EachSource):
    """PutObject of new keys with new bodies."""

    def request(self, number: int) -> Request:
        return self.requests.put(self.written.key(number), self.written.body(number))


class Reupload(EachSource):
    """PutObject of new keys with bodies that are stored already."""

    def request(self, number: int) -> Request:
        return self.requests.put(self.written.key(number), self.read.body(number % self.read.count))


class Get(EachSource):
    """GetObject of random objects of a set."""

    def request(self, number: int) -> Request:
        chosen = self.pick()
        return self.requests.get(self.read.key(chosen), self.read.body(chosen))


class GetOnce(EachSource):
    """GetObject of each object of a set in turn, so that nothing is read twice soon."""

    def request(self, number: int) -> Request:
        number %= self.read.count
        return self.requests.get(self.read.key(number), self.read.body(number))


class Range(EachSource):
    """GetObject with a Range: at random offsets, or one range after the other."""

    def request(self, number: int) -> Request:
        length = int(self.stage.parameters["range"])
        if self.stage.parameters.get("order") == "sequential":
            # All connections advance through one object, as a reader with read-ahead does.
            chosen = self.stage.process % self.read.count
            body = self.read.body(chosen)
            steps = max(1, body.size // length)
            first = (number // self.stage.processes) % steps * length
        else:
            chosen = self.pick()
            body = self.read.body(chosen)
            first = self.random.randrange(max(1, body.size - length + 1))
        return self.requests.get(
            self.read.key(chosen), body, (first, min(length, body.size - first))
        )


class Head(EachSource):
    """HeadObject of random objects of a set."""

    def request(self, number: int) -> Request:
        return self.requests.head(self.read.key(self.pick()))


class List(EachSource):
    """ListObjectsV2 pages of 1,000: flat from a random key, or delimited at one of two levels."""

    def request(self, number: int) -> Request:
        read = self.read
        shape = self.stage.parameters["shape"]
        if shape == "flat":
            return self.requests.list(
                "ListObjectsV2",
                prefix=f"{read.prefix}/",
                start_after=read.key(self.random.randrange(max(1, read.count - 1000))),
                max_keys=1000,
            )
        if shape == "delimited":
            return self.requests.list(
                "ListObjectsV2", prefix=f"{read.prefix}/", delimiter="/", max_keys=1000
            )
        folder = read.key(self.pick()).rpartition("/")[0]
        return self.requests.list(
            "ListObjectsV2", prefix=f"{folder}/", delimiter="/", max_keys=1000
        )


class Backup(Put):
    """A backup night: looks whether an object is there, then uploads it; many small, some large."""

    def __init__(self, stage: Stage, requests: S3Requests) -> None:
        super().__init__(stage, requests)
        self._next: deque[Request] = deque()

    def next(self) -> Request | None:
        return self._next.popleft() if self._next else super().next()

    def request(self, number: int) -> Request:
        head = self.requests.head(self.written.key(number))
        head.statuses = (404,)
        head.tag = number
        return head

    def done(self, request: Request, answer: Answer | None, error: str) -> None:
        if request.label == "HeadObject" and not error:
            self._next.append(super().request(request.tag))


class Scan(EachSource):
    """A sync that finds nothing to do: walks all pages and asks for every tenth object."""

    def __init__(self, stage: Stage, requests: S3Requests) -> None:
        super().__init__(stage, requests)
        self._next: deque[Request] = deque()

    def next(self) -> Request | None:
        return self._next.popleft() if self._next and not self._stopped else super().next()

    def request(self, number: int) -> Request:
        return self._page("")

    def done(self, request: Request, answer: Answer | None, error: str) -> None:
        if error or answer is None or request.label != "ListObjectsV2":
            return
        keys = re.findall(rb"<Key>([^<]+)</Key>", answer.body)
        self._next.extend(self.requests.head(key.decode()) for key in keys[::10])
        if token := answer.element("NextContinuationToken"):
            self._next.append(self._page(token))

    def _page(self, token: str) -> Request:
        more = {"continuation_token": token} if token else {}
        return self.requests.list(
            "ListObjectsV2", prefix=f"{self.read.prefix}/", max_keys=1000, **more
        )


class Readback(Put):
    """PutObject and at once GetObject of the same key, as a verification after an upload does."""

    def __init__(self, stage: Stage, requests: S3Requests) -> None:
        super().__init__(stage, requests)
        self._next: deque[Request] = deque()

    def next(self) -> Request | None:
        return self._next.popleft() if self._next else super().next()

    def request(self, number: int) -> Request:
        request = super().request(number)
        request.tag = number
        return request

    def done(self, request: Request, answer: Answer | None, error: str) -> None:
        if request.label == "PutObject" and not error:
            key, body = self.written.key(request.tag), self.written.body(request.tag)
            self._next.append(self.requests.get(key, body))


@dataclass
class _Upload:
    key: str
    upload_id: str
    bodies: list[Body]
    waiting: deque[int]
    etags: dict[int, str] = field(default_factory=dict)
    failures: int = 0


class Multipart(EachSource):
    """Whole multipart uploads: create, parts over all connections, complete."""

    def __init__(self, stage: Stage, requests: S3Requests) -> None:
        super().__init__(stage, requests)
        self._at_once = int(stage.parameters.get("uploads", 1))
        self._active = 0
        self._uploads: dict[str, _Upload] = {}
        self._next: deque[Request] = deque()

    def next(self) -> Request | None:
        if self._next:
            return self._next.popleft()
        for upload in self._uploads.values():
            if upload.waiting:
                number = upload.waiting.popleft()
                request = self.requests.upload_part(
                    upload.key, upload.upload_id, number, upload.bodies[number - 1]
                )
                request.tag = (upload, number)
                return request
        if self._active >= self._at_once:
            return None
        request_or_none = super().next()
        if request_or_none is not None:
            self._active += 1
        return request_or_none

    def request(self, number: int) -> Request:
        request = self.requests.create_upload(self.written.key(number))
        request.tag = number
        return request

    def done(self, request: Request, answer: Answer | None, error: str) -> None:
        if request.label == "CreateMultipartUpload":
            if error or answer is None:
                self._active -= 1
                return
            upload = self._begin(request.tag, answer.element("UploadId"))
            self._uploads[upload.upload_id] = upload
        elif request.label == "UploadPart":
            upload, number = request.tag
            if error or answer is None:
                upload.failures += 1
                if self._stopped or upload.failures >= ATTEMPTS_MAX:
                    self._give_up(upload)
                else:
                    upload.waiting.append(number)
                return
            upload.etags[number] = answer.header("ETag")
            if len(upload.etags) == len(upload.bodies):
                etags = [upload.etags[number] for number in range(1, len(upload.bodies) + 1)]
                complete = self.requests.complete_upload(upload.key, upload.upload_id, etags)
                complete.tag = upload
                self._next.append(complete)
        elif request.label == "CompleteMultipartUpload":
            self._uploads.pop(request.tag.upload_id)
            self._active -= 1

    def _give_up(self, upload: _Upload) -> None:
        """Aborts an upload, once, however many of its parts are still on their way."""
        if self._uploads.pop(upload.upload_id, None):
            self._active -= 1
            self._next.append(self.requests.abort_upload(upload.key, upload.upload_id))

    def _begin(self, number: int, upload_id: str) -> _Upload:
        whole = self.written.body(number)
        part_bytes = int(self.stage.parameters["part"])
        bodies = []
        stamp = whole.stamp
        for start in range(0, whole.size, part_bytes):
            body = Body(min(part_bytes, whole.size - start), stamp)
            stamp += body.blocks
            bodies.append(body)
        order = list(range(1, len(bodies) + 1))
        if self.stage.parameters.get("order") == "shuffled":
            self.random.shuffle(order)
        return _Upload(self.written.key(number), upload_id, bodies, deque(order))


class Delete(EachSource):
    """DeleteObject of every object of a set."""

    def request(self, number: int) -> Request:
        return self.requests.delete(self.written.key(number))


class CreateBucket(EachSource):
    """CreateBucket, once."""

    def request(self, number: int) -> Request:
        return self.requests.create_bucket()


SOURCES: dict[str, Callable[[Stage, S3Requests], EachSource]] = {
    "fill": Fill,
    "put": Put,
    "reupload": Reupload,
    "get": Get,
    "get-once": GetOnce,
    "range": Range,
    "head": Head,
    "list": List,
    "backup": Backup,
    "scan": Scan,
    "readback": Readback,
    "multipart": Multipart,
    "delete": Delete,
    "create-bucket": CreateBucket,
}


def make_source(stage: Stage) -> EachSource:
    """The source of a stage in this process."""
    return SOURCES[stage.source](stage, S3Requests(stage.target, Window(stage.seed)))


def _share(stage: Stage, count: int | None) -> Iterator[int]:
    number = stage.process
    while count is None or number < count:
        yield number
        number += stage.processes
