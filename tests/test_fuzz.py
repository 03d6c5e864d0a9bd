"""Whatever bytes come, whatever ids and properties go: a typed answer or error, and what was asked."""

import asyncio
import itertools
import json
from pathlib import Path

import hypothesis.strategies as st
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from rawserver import ok, raw_server, read_request
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance
from stub import response
from wired import REQUEST, account_at, now

from profilekit import ProfileClient, Rate, amplitude, userflux
from profilekit.engine import session as sessions
from profilekit.engine import wire
from profilekit.engine.connection import Connection, buffer
from profilekit.engine.direct import DirectTransport
from profilekit.engine.transport import HttpResponse
from profilekit.errors import DecodeError, StatusError, TransportError
from profilekit.simulator import Simulator
from profilekit.simulator.thread import in_thread

RATE = Rate(100_000, per=1)
SPECS = Path(__file__).parent / "specs"


def examples(count):
    """Return the settings of a run that is the same every time, on machines of any speed."""
    return settings(
        max_examples=count, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )


PROFILE = json.dumps(
    {"userData": {"user_id": "u", "amp_props": {"a": [1, None, "é"]}, "cohort_ids": ["c"]}}
).encode()
CHUNKS = b"%x\r\n%b\r\n3;x=y\r\n   \r\n0\r\nTrailer: 1\r\n\r\n" % (len(PROFILE), PROFILE)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS
ANSWERS = [
    ok(PROFILE),
    CHUNKED,
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok(PROFILE),
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + PROFILE,
]


@st.composite
def mutated(draw):
    """Return an answer with bytes changed, left out, put in or doubled."""
    data = bytearray(draw(st.sampled_from(ANSWERS)))
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, len(data) - 1)) if data else 0
        match draw(st.sampled_from(["change", "cut", "insert", "double"])):
            case "change":
                data[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case "cut":
                del data[place : place + draw(st.integers(1, 20))]
            case "insert":
                data[place:place] = draw(st.binary(max_size=8))
            case "double":
                data[place:place] = data[place : place + 30]
    return bytes(data)


def pieces(data, cuts):
    """Cut data at places given as shares of its length."""
    places = sorted({0, len(data), *(int(cut * len(data)) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


CUTS = st.lists(st.floats(0, 1), max_size=12)


class Pipe(asyncio.Transport):
    """A transport that goes nowhere."""

    def write(self, data):
        pass

    def abort(self):
        pass


def received(parts):
    """Feed parts to a connection that waits for an answer, and then the end; return what came of it."""
    loop = asyncio.new_event_loop()
    try:
        connection = Connection(loop, buffer())
        connection.connection_made(Pipe())
        answer = connection.ask(b"", 0.0)
        for part in parts:
            if not answer.done():
                view = connection.get_buffer(-1)
                view[: len(part)] = part
                connection.buffer_updated(len(part))
        if not answer.done():
            connection.eof_received()
        if not answer.done():
            connection.connection_lost(None)
        error = answer.exception()
        if error is None:
            got = answer.result()
            return got.status, dict(got.headers), got.body
        assert isinstance(error, TransportError)
        return type(error)
    finally:
        loop.close()


def is_typed(request, answer, into=None):
    """Check that an answer is a value, or an error that may be shown."""
    error = None
    try:
        wire.parse(request, answer, wire.decoder_for(type(request), into), account_at("https://host"))
    except (StatusError, DecodeError) as raised:
        error = raised
    assert error is None or str(error).isprintable()


@examples(200)
@given(answer=st.sampled_from(ANSWERS), cuts=CUTS)
def test_a_valid_answer_is_the_same_in_every_split(answer, cuts):
    whole = received([answer])
    assert isinstance(whole, tuple)
    assert received(pieces(answer, cuts)) == whole


@examples(400)
@given(answer=mutated(), cuts=CUTS)
def test_a_mutated_answer_is_an_answer_or_a_transport_error(answer, cuts):
    got = received(pieces(answer, cuts))
    if isinstance(got, tuple):
        status, headers, body = got
        assert 200 <= status <= 999
        is_typed(amplitude.GetProfile("u"), HttpResponse(status, headers, body))


@pytest.mark.parametrize("make", [DirectTransport, sessions.own_session], ids=["direct", "session"])
@examples(40)
@given(answer=mutated(), cuts=CUTS)
def test_over_sockets_too(make, answer, cuts):
    async def main():
        async def script(server, reader, writer):
            await read_request(server, reader)
            for part in pieces(answer, cuts):
                writer.write(part)
                await writer.drain()

        async with raw_server(script) as server:
            transport = make(account_at(server.url))
            try:
                got = await transport.exchange(REQUEST, now() + 5, lambda: None)
            except TransportError as error:
                got = error
            finally:
                await transport.close()
        assert got.maybe_applied if isinstance(got, TransportError) else 200 <= got.status <= 999
        assert len(server.received) == 1

    asyncio.run(main())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@examples(300)
@given(data=st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()) | mutated())
def test_any_body_is_a_value_or_a_typed_error(data):
    for request in (amplitude.GetProfile("u"), userflux.GetProfile("u")):
        for into in (None, dict, list[int]):
            is_typed(request, response(200, data), into)


IDS = st.text(min_size=1, max_size=60).filter(
    lambda text: text.strip() and text not in {"null", "undefined", ".", ".."}
)


@pytest.fixture(scope="module")
def simulator():
    with in_thread(Simulator(amplitude_rate=RATE, userflux_rate=RATE)) as simulated:
        yield simulated


@examples(60)
@given(user_id=IDS, properties=st.dictionaries(st.text(min_size=1), JSON, max_size=6))
def test_what_the_simulator_received_is_what_was_asked(simulator, user_id, properties):
    try:
        user_id.encode()
        json.dumps(properties, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        assume(False)

    async def main():
        async with ProfileClient(*simulator.accounts()) as client:
            await client.send(userflux.UpdateProfile(user_id, properties=properties))
            kept = await client.send(userflux.GetProfile(user_id))
            asked = await client.send(amplitude.GetProfile(user_id))
        assert kept.id == asked.user_id == user_id
        assert kept.properties.items() >= properties.items()

    asyncio.run(main())


@pytest.mark.parametrize("spec", sorted(path.name for path in SPECS.iterdir() if "openapi" in path.name))
def test_the_simulator_keeps_to_the_specs(spec):
    """schemathesis asks what the vendor's own document allows, and reads the answers by it."""
    schema = schemathesis.openapi.from_path(SPECS / spec)
    seen = set()
    with in_thread(Simulator(shape="spec", amplitude_rate=RATE, userflux_rate=RATE)) as simulated:
        amplitude_account, userflux_account = simulated.accounts()
        account, read = (
            (amplitude_account, amplitude.GetProfile)
            if "amplitude" in spec
            else (userflux_account, userflux.GetProfile)
        )
        headers = dict(account.headers(read.endpoint))

        for result in schema.get_all_operations():
            operation = result.ok()

            @examples(40)
            @given(case=operation.as_strategy())
            def conforms(case):
                asked = case.as_transport_kwargs(base_url=account.base_url, headers=headers)
                answer = requests.request(**asked, timeout=30)
                seen.add(answer.status_code)
                case.validate_response(
                    answer,
                    checks=[not_a_server_error, content_type_conformance, response_schema_conformance],
                )

            conforms()
    assert seen & {200, 204}
