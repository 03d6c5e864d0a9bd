"""A transport that answers from a function, and remembers what it was asked."""

import asyncio
import json
import re
from urllib.parse import unquote

import msgspec

from profilekit.engine.transport import HttpResponse

# Where this is the answer, its user is the one that is asked for.
AMPLITUDE = b'{"userData": {"user_id": "u", "cohort_ids": ["c1"]}}'


class Stub:
    """Give an instance as ``transport=``; it serves every account."""

    says_when_sent = True

    def __init__(self, answer=None, *, latency=0.0):
        self._answer = answer or (lambda request: HttpResponse(200, {}, AMPLITUDE))
        self._latency = latency
        self.requests = []
        self.times = []
        self.under_way = 0
        self.most_under_way = 0
        self.closed = False

    def __call__(self, account):
        self.account = account
        return self

    async def exchange(self, request, deadline, sent):
        sent()
        self.requests.append(request)
        self.times.append(asyncio.get_running_loop().time())
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self._latency)
            answer = self._answer(request)
            if isinstance(answer, BaseException):
                raise answer
            return about(request, answer)
        finally:
            self.under_way -= 1

    async def close(self):
        self.closed = True


def about(request, answer):
    """Return an answer about the user of a request."""
    asked = re.search(r"user_id=([^&]+)", request.target)
    if asked is None or answer.body != AMPLITUDE:
        return answer
    user_id = json.dumps(unquote(asked[1])).encode()
    return msgspec.structs.replace(answer, body=AMPLITUDE.replace(b'"u"', user_id))


def answering(*answers):
    """Return an answer function that gives these in turn, and the last one for ever."""
    left = list(answers)

    def answer(_):
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


def response(status=200, body=b"", **headers):
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)
