"""Whoever watches is told of every attempt and every change, and can hurt nothing."""

import asyncio
import logging
import sys
from unittest.mock import Mock

import pytest
from clock import virtual
from stub import Stub, answering, response

from profilekit import Breaker, Cache, Ok, ProfileClient, Rate, Retry, amplitude, bulk, errors, userflux
from profilekit.engine.transport import HttpResponse
from profilekit.observer import (
    BreakerClosed,
    BreakerOpened,
    Closed,
    DeadLetter,
    Observer,
    Opened,
    Paused,
    QuotaBack,
    QuotaLost,
    Route,
)
from profilekit.outbox import Outbox
from profilekit.simulator import Simulator

ID, KEY = "canary-user", "canary-key"
GET = amplitude.GetProfile(ID)


class Notes:
    """Keeps what it is told."""

    def __init__(self, headers=None):
        self.headers = headers
        self.attempts, self.begun, self.events = [], [], []

    def began(self, attempt):
        self.begun.append((attempt.number, attempt.status))
        attempt.mark = object()
        return self.headers

    def ended(self, attempt):
        assert attempt.mark is not None
        self.attempts.append(attempt)

    def changed(self, event):
        self.events.append(event)

    def of(self, *kinds):
        return [event for event in self.events if isinstance(event, kinds)]


def account(**fields):
    return amplitude.Account(secret_key=KEY, **{"rate": Rate(10_000, per=1), **fields})


def client(notes, stub, *, rate=None, **settings):
    fields = {} if rate is None else {"rate": rate}
    return ProfileClient(account(**fields), transport=stub, observer=notes, **settings)


def seen(notes):
    return [(attempt.number, attempt.status, attempt.error) for attempt in notes.attempts]


def test_the_route_of_a_request_names_no_user_and_is_made_once():
    notes = Notes()
    here = account(base_url="https://host.example:8443/prefix/")

    async def main():
        async with ProfileClient(here, transport=Stub(), observer=notes) as one:
            await one.send(GET)
            await one.send(amplitude.GetProfile("another", get_recs=True))

    virtual(main())
    first, second = notes.attempts
    assert first.route == Route("amplitude", "GET", "/prefix/v1/userprofile", "host.example", 8443, "https")
    assert first.route is second.route
    assert notes.begun == [(1, None), (1, None)]


def test_fields_in_a_path_show_as_they_are_named():
    notes = Notes()
    stub = Stub(answering(response(200, b"{}")))

    async def main():
        async with ProfileClient(userflux.Account(read_key=KEY), transport=stub, observer=notes) as one:
            await one.send(userflux.GetProfile(ID))

    virtual(main())
    assert "{user_id}" in notes.attempts[0].route.url_template
    assert (notes.attempts[0].route.server_port, notes.attempts[0].route.scheme) == (443, "https")


def test_every_attempt_of_a_request_is_told_with_what_it_came_to():
    notes = Notes()
    lost = errors.ConnectionFailedError("broken")
    stub = Stub(answering(response(503), lost, response(404), response(200)), latency=0.25)

    async def main():
        async with client(notes, stub) as one:
            with pytest.raises(errors.ProfileNotFoundError):
                await one.send(GET)

    virtual(main())
    assert seen(notes) == [
        (1, 503, "VendorUnavailableError"),
        (2, None, "ConnectionFailedError"),
        (3, 404, "ProfileNotFoundError"),
    ]
    assert [attempt.seconds for attempt in notes.attempts] == pytest.approx([0.25] * 3)
    assert {attempt.bulk for attempt in notes.attempts} == {False}


def test_a_success_that_the_vendor_means_as_an_error_is_told_as_one_with_its_status():
    notes = Notes()
    stub = Stub(answering(response(200, b'{"error": "User id and device id not seen before"}')))

    async def main():
        async with client(notes, stub, retry=Retry(attempts=1)) as one:
            with pytest.raises(errors.RequestError) as caught:
                await one.send(GET)
            return type(caught.value).__name__

    raised = virtual(main())
    assert seen(notes) == [(1, 200, raised)]


def test_the_wait_for_a_permit_is_told_and_not_counted_into_the_attempt():
    notes = Notes()

    async def main():
        async with client(notes, Stub(latency=0.5), rate=Rate(1, per=10)) as one:
            await one.send(GET)
            async for outcome in one.stream([GET]):
                assert isinstance(outcome, Ok)

    virtual(main())
    first, second = notes.attempts
    assert (first.waited, first.bulk, second.bulk) == (0.0, False, True)
    assert second.waited == pytest.approx(10.19 - 0.5, abs=0.2)
    assert second.seconds == pytest.approx(0.5)


def test_a_stream_held_to_a_share_tells_how_long_it_waited_for_both_permits():
    notes = Notes()

    async def main():
        async with client(notes, Stub(), rate=Rate(2, per=10)) as one:
            async for _ in one.stream([GET, GET], share=0.5):
                pass

    virtual(main())
    assert [attempt.waited for attempt in notes.attempts] == pytest.approx([0.0, 10.19], abs=0.2)


def test_a_request_that_is_cancelled_is_told_as_ended():
    notes = Notes()

    async def main():
        async with client(notes, Stub(latency=60)) as one:
            task = asyncio.create_task(one.send(GET))
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.wait([task])

    virtual(main())
    assert seen(notes) == [(1, None, "CancelledError")]
    assert notes.attempts[0].seconds == pytest.approx(1)


def test_what_was_not_sent_is_no_attempt():
    notes = Notes()

    async def main():
        async with client(notes, Stub(), cache=Cache(ttl=60), rate=Rate(1, per=100)) as one:
            await one.send(GET)
            await one.send(GET)
            with pytest.raises(errors.RequestTimeoutError):
                await one.send(amplitude.GetProfile("another"), timeout=5)

    virtual(main())
    assert len(notes.attempts) == 1


# ---- headers -------------------------------------------------------------------------------------


def headers_sent(headers):
    stub = Stub()

    async def main():
        async with client(Notes(headers), stub) as one:
            await one.send(GET)

    virtual(main())
    return dict(stub.requests[0].headers)


def test_headers_of_the_observer_go_along():
    plain = headers_sent(None)
    assert headers_sent({"traceparent": "00-1-2-01"}) == {**plain, "traceparent": "00-1-2-01"}


def test_headers_of_the_account_and_of_the_transport_win():
    plain = headers_sent(None)
    assert "Authorization" in plain
    bad = {"authorization": "mine", "ACCEPT": "text/html", "Content-Length": "7", "host": "elsewhere"}
    assert headers_sent(bad) == plain


@pytest.mark.parametrize("bad", [{"a": "b\r\nc: d"}, {"a b": "c"}, {"a": 1}, ["a"]])
def test_headers_that_cannot_be_sent_are_left_out(bad, caplog):
    assert headers_sent(bad) == headers_sent(None)
    assert "the observer raised an error" in caplog.text


# ---- an observer that fails ----------------------------------------------------------------------


class Broken:
    def __init__(self, kind=LookupError, *names):
        self.kind, self.names = kind, names or ("began", "ended", "changed")

    def __getattr__(self, name):
        if name not in {"began", "ended", "changed"}:
            raise AttributeError(name)

        def fail(_):
            if name in self.names:
                raise self.kind(f"no {name}")

        return fail


@pytest.mark.parametrize("kind", [LookupError, asyncio.CancelledError])
def test_an_observer_that_raises_hurts_no_request_and_is_logged_once(kind, caplog):
    stub = Stub(answering(response(404, b"no " + ID.encode()), response(200, b'{"userData": {}}')))

    async def main():
        async with client(Broken(kind), stub) as one:
            with pytest.raises(errors.ProfileNotFoundError):
                await one.send(GET)
            outcomes = await one.send_all([GET] * 5)
            return one.stats().in_flight, [type(outcome) for outcome in outcomes]

    assert virtual(main()) == (0, [Ok] * 5)
    (record,) = [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert f"{kind.__name__}: no changed" in record.getMessage()
    assert ID not in caplog.text


class Ending(BaseException):
    """As KeyboardInterrupt, which nobody may keep from its way."""


@pytest.mark.parametrize("name", ["began", "ended"])
def test_what_ends_everything_leaves_no_permit_behind(name):
    async def main():
        before = Notes()
        async with client([before, Broken(Ending, name)], Stub()) as one:
            with pytest.raises(Ending):
                await one.send(GET)
            return one.stats().in_flight, len(before.begun), len(before.attempts)

    assert virtual(main()) == (0, 1, 1)


def test_the_status_is_told_whatever_comes_of_judging_an_answer():
    class Odd(amplitude.Account, frozen=True):
        def secrets(self):
            raise ValueError("odd")

    async def main():
        notes = Notes()
        odd = Odd(secret_key=KEY)
        async with ProfileClient(odd, transport=Stub(lambda _: response(500, b"x")), observer=notes) as one:
            with pytest.raises(ValueError, match="odd"):
                await one.send(GET)
        return [(attempt.status, attempt.error) for attempt in notes.attempts]

    assert virtual(main()) == [(500, "ValueError")]


def test_what_the_vendor_said_of_a_user_is_not_logged_with_what_the_observer_raised(caplog):
    class Late(Notes):
        def ended(self, attempt):
            raise LookupError("late")

    async def main():
        async with client(Late(), Stub(answering(response(404, b"no " + ID.encode())))) as one:
            with pytest.raises(errors.ProfileNotFoundError, match=ID):
                await one.send(GET)

    virtual(main())
    assert "LookupError: late" in caplog.text
    assert ID not in caplog.text


@pytest.mark.parametrize("bad", [object(), Notes, "observer", print])
def test_what_is_no_observer_is_refused(bad):
    with pytest.raises(errors.ConfigError, match="began, ended and changed"):
        ProfileClient(account(), observer=bad)


class Wrapper:
    """Hands on what it is asked to another observer, and counts as false."""

    def __init__(self, observer):
        self.observer = observer

    def __getattr__(self, name):
        return getattr(self.observer, name)

    def __len__(self):
        return 0


def test_an_observer_may_have_its_methods_by_getattr():
    async def main(observer):
        async with client(observer, Stub()) as one:
            await one.send(GET)

    notes, mock = Notes(), Mock(**{"began.return_value": None})
    virtual(main([Wrapper(notes), mock]))
    virtual(main(Wrapper(notes)))
    assert [attempt.status for attempt in notes.attempts] == [200, 200]
    assert mock.began.call_count == mock.ended.call_count == 1


def test_the_protocol_is_what_is_asked_for():
    assert isinstance(Notes(), Observer)
    given = ProfileClient.from_env({"AMPLITUDE_SECRET_KEY": KEY}, observer=Notes())
    assert "new" in repr(given)


# ---- several ---------------------------------------------------------------------------------------


def test_several_observers_are_told_of_everything_and_their_headers_go_along(caplog):
    first, second = Notes({"x-one": "1", "x-both": "1"}), Notes({"x-two": "2", "x-both": "2"})
    marks = []
    second.ended = lambda attempt: marks.append(attempt.mark)
    second.began = lambda attempt: setattr(attempt, "mark", "mine") or second.headers
    stub = Stub()

    async def main():
        async with client([first, Broken(), second], stub) as one:
            await one.send(GET)

    virtual(main())
    sent = dict(stub.requests[0].headers)
    assert (sent["x-one"], sent["x-two"], sent["x-both"]) == ("1", "2", "1")
    assert (seen(first), marks) == ([(1, 200, None)], ["mine"])
    assert (
        [type(event) for event in second.events]
        == [type(event) for event in first.events]
        == [Opened, Closed]
    )
    assert [record.getMessage()[:30] for record in caplog.records if record.levelno > logging.DEBUG] == [
        "the observer raised an error; "
    ]


def test_one_of_several_that_is_no_observer_is_refused():
    with pytest.raises(errors.ConfigError, match="began, ended and changed"):
        ProfileClient(account(), observer=(Notes(), print))


# ---- changes -------------------------------------------------------------------------------------


def test_a_pause_is_told_once_however_many_are_throttled(caplog):
    notes = Notes()
    throttled = [response(429, retry_after="7")] * 20
    stub = Stub(answering(*throttled, HttpResponse(200, {}, b'{"userData": {}}')), latency=0.1)

    async def main():
        async with client(notes, stub) as one:
            await one.send_all([GET] * 20)

    virtual(main())
    assert notes.of(Paused) == [Paused("amplitude", pytest.approx(7.0))]
    assert len(notes.attempts) == 40
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG] == [
        "amplitude: paused for 7.0 s, as the vendor throttles"
    ]


def test_a_pause_to_the_end_of_the_window_is_told_with_its_length():
    notes = Notes()
    stub = Stub(answering(response(429), HttpResponse(200, {}, b'{"userData": {}}')))

    async def main():
        async with client(notes, stub, rate=Rate(100, per=60)) as one:
            await one.send(GET, timeout=100)

    virtual(main())
    (paused,) = notes.of(Paused)
    assert paused.seconds == pytest.approx(60, abs=1)


def test_the_breaker_is_told_when_it_opens_and_when_it_closes(caplog):
    notes = Notes()
    bad, good = response(500), HttpResponse(200, {}, b'{"userData": {}}')
    stub = Stub(answering(*[bad] * 4, good))

    async def main():
        policy = {"retry": Retry(attempts=1), "breaker": Breaker(failures=3, probe_every=5)}
        async with client(notes, stub, **policy) as one:
            await one.send_all([GET] * 10, window=1)
            await asyncio.sleep(5)
            await one.send_all([GET])
            await asyncio.sleep(5)
            await one.send_all([GET] * 3)

    virtual(main())
    assert notes.of(BreakerOpened, BreakerClosed) == [
        BreakerOpened("amplitude", 3),
        BreakerClosed("amplitude"),
    ]
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG] == [
        "amplitude: taken to be down after 3 failures in a row; only probes go",
        "amplitude: answers again",
    ]


async def test_clients_outboxes_and_jobs_can_be_looked_at_while_they_are_open(tmp_path):
    notes = Notes()
    (tmp_path / "users.txt").write_text("user-1\nuser-2\n")
    job = bulk.Job(source=tmp_path / "users.txt", request=amplitude.GetProfile, output=tmp_path / "out.jsonl")
    async with Simulator() as simulator:
        async with ProfileClient(*simulator.accounts(), observer=notes) as one:
            async with Outbox(tmp_path / "writes.db", one) as outbox:
                await outbox.put(userflux.UpdateProfile("user-1", properties={"plan": "pro"}))
                await outbox.drained()
                await outbox.close()
            await bulk.run(job, one)
            await one.close()
        await one.close()
    names = [(type(event), event.kind, event.name) for event in notes.of(Opened, Closed)]
    assert names == [
        (Opened, "client", "amplitude userflux"),
        (Opened, "outbox", "writes.db"),
        (Closed, "outbox", "writes.db"),
        (Opened, "job", "amplitude.GetProfile"),
        (Closed, "job", "amplitude.GetProfile"),
        (Closed, "client", "amplitude userflux"),
    ]
    looks = {event.kind: event.look() for event in notes.of(Closed)}
    assert (looks["client"].succeeded, looks["outbox"].delivered, looks["job"].done) == (3, 1, 2)
    opened = {event.kind: event.look for event in notes.of(Opened)}
    assert opened == {event.kind: event.look for event in notes.of(Closed)}


def test_one_that_was_never_open_is_not_told_as_closed():
    notes = Notes()

    async def main():
        await client(notes, Stub()).close()

    virtual(main())
    assert notes.events == []


async def test_dead_letters_are_told_one_by_one_without_what_they_hold(tmp_path, caplog):
    notes = Notes()
    stub = Stub(lambda request: response(400, b"bad: " + request.body))
    here = userflux.Account(write_key=KEY)
    async with ProfileClient(here, transport=stub, observer=notes) as one:
        async with Outbox(tmp_path / "writes.db", one) as outbox:
            for number in range(3):
                await outbox.put(userflux.UpdateProfile(f"{ID}-{number}", properties={"plan": "canary-body"}))
            await outbox.drained()
    assert notes.of(DeadLetter) == [DeadLetter("userflux", "InvalidRequestError")] * 3
    assert len([record for record in caplog.records if "dead letter" in record.getMessage()]) == 3
    assert "canary" not in caplog.text


def test_the_events_of_a_shared_quota_say_what_is_left_of_it():
    half = QuotaLost("amplitude", "redis", "TimeoutError", 0.5)
    assert (
        str(half)
        == "amplitude: the shared quota redis is out of reach (TimeoutError); going on with 50% of it"
    )
    assert str(QuotaLost("amplitude", "redis", "no", 0.0)).endswith("nothing is sent")
    assert str(QuotaBack("amplitude", "redis")) == "amplitude: the shared quota redis is back"


def test_without_an_observer_nothing_of_it_runs_for_a_request():
    def called(observer):
        names = set()

        async def main():
            async with client(observer, Stub()) as one:
                sys.setprofile(lambda frame, *_: names.add(frame.f_code.co_qualname))
                try:
                    await one.send(GET)
                finally:
                    sys.setprofile(None)

        virtual(main())
        return {name for name in names if name.partition(".")[0] in {"Watch", "Sender"}}

    assert called(None) == {"Sender.send"}
    assert called(Notes()) == {"Sender.seen", "Watch.began", "Watch.ended"}


def test_no_request_is_in_the_log_above_debug(caplog):
    caplog.set_level(logging.DEBUG)

    async def main():
        async with client(None, Stub()) as one:
            await one.send_all([GET] * 100)

    virtual(main())
    assert [record.getMessage() for record in caplog.records if record.name == "profilekit"] == [
        "client amplitude: opened",
        "client amplitude: closed",
    ]
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
