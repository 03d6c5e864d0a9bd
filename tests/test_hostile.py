"""A canary key is nowhere to be seen, and an id reaches its own user or is refused before anything leaves."""

import asyncio
import base64
import io
import logging
import pickle
import re
import ssl
import traceback
import warnings

import pytest
import trustme
from faults import FAULTS, vendor

from profilekit import Cache, ProfileClient, Rate, Retry, amplitude, userflux
from profilekit.engine import session as sessions
from profilekit.engine.direct import DirectTransport
from profilekit.errors import ConfigError, ConnectionFailedError, RequestError
from profilekit.simulator import Simulator
from profilekit.simulator.amplitude import SECRET_KEY

CANARY = "c4n4ry-7f3a9d2e"
RATE = Rate(10_000, per=1)
TRANSPORTS = [DirectTransport, sessions.own_session]


def accounts(url):
    """Put the canary in every place that takes a key."""
    return (
        amplitude.Account(secret_key=CANARY, api_key=CANARY, base_url=url, rate=RATE, max_in_flight=2),
        userflux.Account(read_key=CANARY, write_key=CANARY, base_url=url, rate=RATE, max_in_flight=2),
    )


def forms(key):
    """Return how a key could show: as it is, and as HTTP Basic has it."""
    return [key, base64.b64encode(f"{key}:{key}".encode()).decode()]


def everything_about(error):
    """Return all that a log, a tracker or a debugger would keep of an error."""
    detailed = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "\n".join(
        [str(error), repr(error), repr(vars(error)), *detailed.format(), repr(pickle.dumps(error))]
    )


@pytest.mark.parametrize("make", TRANSPORTS, ids=["direct", "session"])
async def test_a_canary_key_is_nowhere_over_all_faults(make, caplog, capsys, tmp_path):
    caplog.set_level(logging.DEBUG)
    shown = io.StringIO()
    kept = warnings.catch_warnings(record=True)
    with kept as warned:
        warnings.simplefilter("always")
        for name, fault in FAULTS.items():

            async def play(call, fault=fault):
                await fault(call)

            async with vendor(play) as server:
                client = ProfileClient(
                    *accounts(server.url), transport=make, retry=Retry(attempts=2, first=0.001), cache=Cache()
                )
                async with client:
                    requests = [
                        amplitude.GetProfile("u"),
                        userflux.GetProfile("u"),
                        userflux.UpdateProfile("u", properties={"a": 1}),
                    ]
                    for request in requests:
                        try:
                            await client.send(request, timeout=0.15)
                        except RequestError as error:
                            shown.write(f"{name}\n{everything_about(error)}\n")
                    for thing in (client, client.stats(), *accounts(server.url), *requests):
                        shown.write(f"{thing!r} {thing}\n")
    shown.write("\n".join(str(warning.message) for warning in warned))
    shown.write(caplog.text + "".join(capsys.readouterr()))
    text = shown.getvalue()
    assert len(text) > 100_000
    for form in forms(CANARY):
        assert form not in text


# ---- ids ---------------------------------------------------------------------------------------

IDS = [
    "a\r\nX-Injected: 1",
    "a\nb",
    "nul\x00byte",
    "a/b",
    "/",
    "a?b=c",
    "a#b",
    "a&user_id=somebody-else",
    "a%2Fb",
    "%2e%2e",
    "..%2f..",
    "...",
    "../profile/somebody-else",
    "a b+c",
    ";a=1",
    "\u202egnip\u202c",
    "日本語",
    "e\u0301 \u00e9",
    "👩‍👧",
    '"quoted\\"',
    "{user_id}",
    "x" * 1_000_000,
]
REFUSED = ["..", ".", "", " ", "null", "undefined", "half \ud83d"]


@pytest.mark.parametrize("make", TRANSPORTS, ids=["direct", "session"])
@pytest.mark.parametrize("user_id", IDS, ids=lambda text: ascii(text[:20]))
async def test_an_id_reaches_its_own_user_and_nobody_else(user_id, make):
    """The simulator keeps what is written under the id that arrived, and gives it back under that only."""
    async with Simulator(amplitude_rate=RATE, userflux_rate=RATE) as simulator:
        async with ProfileClient(*simulator.accounts(), transport=make, retry=Retry(attempts=1)) as client:
            await client.send(userflux.UpdateProfile("somebody-else", properties={"whose": "theirs"}))
            await client.send(userflux.UpdateProfile(user_id, properties={"whose": "mine"}))
            if len(user_id) > 5000:
                # No server takes a URL of a megabyte; it must say so about this request and no other.
                for read in (amplitude.GetProfile(user_id), userflux.GetProfile(user_id)):
                    with pytest.raises(RequestError):
                        await client.send(read)
            else:
                mine = await client.send(userflux.GetProfile(user_id))
                assert (mine.id, mine.properties["whose"]) == (user_id, "mine")
                assert (await client.send(amplitude.GetProfile(user_id))).user_id == user_id
            theirs = await client.send(userflux.GetProfile("somebody-else"))
            assert (theirs.id, theirs.properties["whose"]) == ("somebody-else", "theirs")


@pytest.mark.parametrize("user_id", REFUSED, ids=ascii)
def test_an_id_that_cannot_reach_its_user_is_refused_at_once(user_id):
    with pytest.raises(ConfigError):
        userflux.GetProfile(user_id)
    if user_id not in {"..", "."}:
        for make in (amplitude.GetProfile, userflux.UpdateProfile):
            with pytest.raises(ConfigError):
                make(user_id)


@pytest.mark.parametrize("user_id", IDS[:-1], ids=lambda text: ascii(text[:20]))
async def test_no_id_becomes_a_header_or_another_endpoint(user_id):
    async def play(call):
        await call.right()

    async with vendor(play) as server:
        async with ProfileClient(*accounts(server.url)) as client:
            for read in (amplitude.GetProfile(user_id), userflux.GetProfile(user_id)):
                await client.send(read, into=dict)
    for raw, path in zip(server.received, (rb"/v1/userprofile\?user_id=", rb"/profile/"), strict=True):
        line, *headers = raw.split(b"\r\n")
        assert re.fullmatch(rb"GET " + path + rb"[A-Za-z0-9_.~%-]+ HTTP/1.1", line)
        names = {header.split(b":")[0].lower() for header in headers if header}
        assert names == {b"host", b"user-agent", b"accept", b"authorization"}


# ---- where to, and whom to trust ---------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://10.0.0.1",
        "http://localhost.example.com",
        "https://user@example.com",
        "https://user:hunter2@example.com",
        "https://example.com?a=1",
        "https://example.com#a",
        "https://",
        "example.com",
        "ftp://example.com",
        "https://exa mple.com",
        "https://example.com\r\nX: 1",
    ],
)
def test_a_base_url_that_could_send_keys_astray_is_refused(url):
    with pytest.raises(ConfigError) as caught:
        amplitude.Account(secret_key=CANARY, base_url=url)
    assert "hunter2" not in str(caught.value)
    assert CANARY not in str(caught.value)


def test_plain_http_is_there_for_who_asks_for_it():
    amplitude.Account(secret_key="k", base_url="http://10.0.0.1", allow_http=True)


@pytest.mark.parametrize("key", ["a b", "a\n", "a\r\nX: 1", "\x00", "schlüssel", " k"])
def test_a_key_that_no_header_can_carry_is_refused(key):
    for make in (
        lambda: amplitude.Account(secret_key=key),
        lambda: userflux.Account(read_key=key),
        lambda: userflux.Account(write_key=key),
    ):
        with pytest.raises(ConfigError) as caught:
            make()
        assert "must be text without spaces or control characters" in str(caught.value)


@pytest.fixture
def authority(tmp_path):
    """Return a server's context, and the file of the authority that vouches for it."""
    made = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert("localhost").configure_cert(context)
    made.cert_pem.write_to_path(tmp_path / "authority.pem")
    return context, tmp_path / "authority.pem"


@pytest.mark.parametrize("form", ["file", "text", "context"])
async def test_an_authority_of_ones_own_is_trusted(form, authority):
    context, pem = authority
    tls = {"file": pem, "text": str(pem), "context": ssl.create_default_context(cafile=pem)}[form]

    async def play(call):
        await call.right()

    async with vendor(play, ssl=context) as server:
        url = server.url.replace("http://127.0.0.1", "https://localhost")
        async with ProfileClient(*accounts(url), tls=tls) as client:
            assert (await client.send(amplitude.GetProfile("u"))).user_id == "u"
        async with ProfileClient(*accounts(url)) as client:
            with pytest.raises(ConnectionFailedError, match="cannot be trusted") as caught:
                await client.send(amplitude.GetProfile("u"))
            assert (caught.value.attempts, caught.value.maybe_applied) == (1, False)


def blind():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@pytest.mark.parametrize(
    ("tls", "reason"),
    [
        (blind(), "tls verifies nothing"),
        (False, "must be an ssl.SSLContext, or the file"),
        ("/nowhere/authority.pem", "No such file"),
        (__file__, "holds no certificate"),
    ],
)
def test_verification_is_not_switched_off_by_accident(tls, reason):
    with pytest.raises(ConfigError, match=reason):
        ProfileClient(*accounts("https://localhost"), tls=tls)


def test_a_session_brings_its_own_tls():
    with pytest.raises(ConfigError, match="brings its own tls"):
        ProfileClient(*accounts("https://localhost"), tls=blind(), transport=DirectTransport)


async def test_the_simulators_keys_are_no_secret_but_are_treated_as_one():
    async with Simulator() as simulator, ProfileClient(*simulator.accounts()) as client:
        assert SECRET_KEY not in repr((client, simulator.accounts(), client.stats()))
        await asyncio.sleep(0)
