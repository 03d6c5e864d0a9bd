"""Requests and accounts as values, and what they refuse."""

import pickle
from typing import ClassVar

import msgspec
import pytest

from profilekit import Account, Endpoint, Rate, Request, Vendor, amplitude, userflux
from profilekit.errors import ConfigError
from profilekit.request import result_type

GET, READ, UPDATE = amplitude.GetProfile, userflux.GetProfile, userflux.UpdateProfile


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: GET(), "give user_id or device_id"),
        (lambda: GET(None), "give user_id or device_id"),
        (lambda: GET(get_recs=True), "give user_id or device_id"),
        (lambda: GET(""), "user_id is blank"),
        (lambda: GET(" \t"), "user_id is blank"),
        (lambda: GET(device_id=""), "device_id is blank"),
        (lambda: GET("u", device_id=" "), "device_id is blank"),
        (lambda: GET("null"), "an id got lost"),
        (lambda: GET("undefined"), "an id got lost"),
        (lambda: GET(device_id="null"), "an id got lost"),
        (lambda: GET(7), "user_id: Expected `str | null`, got `int`"),
        (lambda: GET(b"u"), "user_id: Expected"),
        (lambda: GET("half \ud83d"), "half a character"),
        (lambda: GET("u", limit=0), "limit: Expected `int` >= 1"),
        (lambda: GET("u", limit=-3), "limit: Expected `int` >= 1"),
        (lambda: GET("u", limit=10**5000), "limit is beyond 64 bits"),
        (lambda: GET("u", comp_id=2**63), "comp_id is beyond 64 bits"),
        (lambda: GET("u", comp_id=("a", -(2**64))), "comp_id is beyond 64 bits"),
        (lambda: GET("u", limit=True), "limit: Expected"),
        (lambda: GET("u", limit="3"), "limit: Expected"),
        (lambda: GET("u", get_recs="yes"), "get_recs: Expected `bool`"),
        (lambda: GET("u", get_recs=1), "get_recs: Expected `bool`"),
        (lambda: GET("u", get_recs=None), "get_recs: Expected `bool`"),
        (lambda: GET("u", rec_id=""), "rec_id is blank"),
        (lambda: GET("u", rec_id=()), "rec_id names nothing"),
        (lambda: GET("u", rec_id=("a", " ")), "rec_id is blank"),
        (lambda: GET("u", rec_id=("a", "b,c")), "joined with commas"),
        (lambda: GET("u", rec_id=(1,)), "rec_id: Expected `str`"),
        (lambda: GET("u", comp_id=1.5), "comp_id: Expected"),
        (lambda: GET("u", propensity_type="both"), "propensity_type: Invalid enum value"),
        (lambda: READ(None), "user_id: Expected `str`"),
        (lambda: READ(""), "user_id is blank"),
        (lambda: READ("undefined"), "an id got lost"),
        (lambda: READ("."), "would name another path"),
        (lambda: READ(".."), "would name another path"),
        (lambda: UPDATE(), "give user_id or anonymous_id"),
        (lambda: UPDATE(properties={"a": 1}), "give user_id or anonymous_id"),
        (lambda: UPDATE(anonymous_id="null"), "an id got lost"),
        (lambda: UPDATE("u", external_id=" "), "external_id is blank"),
        (lambda: UPDATE("u", properties=[1]), "properties: Expected `object | null`"),
        (lambda: UPDATE("u", properties="a=1"), "properties: Expected `object | null`"),
        (lambda: UPDATE("u", properties={"a": object()}), "properties: object cannot be written"),
        (lambda: UPDATE("u", properties={1: 2}), "properties: Dict key must be str"),
        (lambda: UPDATE("u", properties={"a": float("nan")}), "properties: NaN"),
        (lambda: UPDATE("u", device_data={"a": {1}}), "device_data: set cannot be written"),
        (lambda: UPDATE("u", location_enrichment="yes"), "location_enrichment: Expected `bool"),
    ],
)
def test_bad_arguments_are_refused_when_the_request_is_made(make, reason):
    with pytest.raises(ConfigError) as caught:
        make()
    assert reason in str(caught.value)
    assert str(caught.value).startswith(
        ("amplitude.GetProfile", "userflux.GetProfile", "userflux.UpdateProfile")
    )


@pytest.mark.parametrize(
    "user_id", ["a/b", "..a", "%2e%2e", "a b", "日本", "👩‍👧", "\u202e", "x" * 1000, "0", "a\r\nb"]
)
def test_odd_ids_are_ids(user_id):
    assert GET(user_id).user_id == READ(user_id).user_id == UPDATE(user_id).user_id == user_id


@pytest.mark.parametrize("user_id", [".", ".."])
def test_dots_are_ids_where_they_do_not_stand_in_a_path(user_id):
    assert GET(user_id).user_id == UPDATE(user_id).user_id == user_id


def test_everything_but_the_first_argument_is_keyword_only():
    for make in (GET, UPDATE):
        with pytest.raises(TypeError):
            make("u", "v")


def test_requests_are_values():
    one, two = GET("u", rec_id=["a", "b"], get_recs=True), GET("u", rec_id=("a", "b"), get_recs=True)
    assert one == two
    assert hash(one) == hash(two)
    assert one != GET("u", rec_id=("a",), get_recs=True)
    assert pickle.loads(pickle.dumps(one)) == one
    assert msgspec.json.decode(msgspec.json.encode(one), type=GET) == one
    assert repr(one).startswith("GetProfile(user_id='u', device_id=None, get_recs=True, rec_id=('a', 'b')")
    with pytest.raises(AttributeError):
        one.user_id = "v"


def test_updates_are_values_too():
    one, two = UPDATE("u", properties={"a": [1], "b": 2}), UPDATE("u", properties={"b": 2, "a": [1]})
    assert one == two
    assert hash(one) == hash(two)
    assert one != UPDATE("u", properties={"a": [1], "b": 3})
    assert one != UPDATE("u")
    assert pickle.loads(pickle.dumps(one)) == one
    assert len({one, two, UPDATE("v")}) == 2


def test_equal_fields_of_other_classes_are_other_requests():
    assert READ("u") != UPDATE("u")
    assert hash(READ("u")) != hash(UPDATE("u"))


def test_an_update_does_not_change_with_what_it_was_made_of():
    properties = {"tags": ["a"]}
    update = UPDATE("u", properties=properties)
    properties["tags"].append("b")
    properties["new"] = 1
    assert update.properties == {"tags": ["a"]}


def test_result_types():
    assert result_type(GET) is amplitude.Profile
    assert result_type(READ) is userflux.Profile
    assert result_type(UPDATE) is type(None)


def test_a_request_must_name_its_answer():
    class Nameless(Request, frozen=True):
        endpoint: ClassVar[Endpoint] = GET.endpoint

    with pytest.raises(ConfigError, match="Nameless does not name its answer"):
        result_type(Nameless)


# ---- accounts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://host",
        "https://host/",
        "https://host:8443/prefix",
        "http://127.0.0.1:8080",
        "http://127.1.2.3",
        "http://localhost",
        "http://[::1]:80",
    ],
)
def test_base_urls_that_work(url):
    assert amplitude.Account(secret_key="key", base_url=url).base_url == url.rstrip("/")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "must be a URL"),
        ("host", "must begin with https"),
        ("ftp://host", "must begin with https"),
        ("https://", "must begin with https"),
        ("https://ho st", "must be a URL"),
        ("https://host\r\n", "must be a URL"),
        ("https://host:port", "is not a URL"),
        ("https://[::1", "is not a URL"),
        ("https://a..b.example", "is not a URL"),
        ("https://" + "a" * 64 + ".example", "is not a URL"),
        ("https://user:password@host", "must not hold a user name"),
        ("https://user@host", "must not hold a user name"),
        ("https://host?", "query"),
        ("https://host/?a=b", "query"),
        ("https://host/#", "fragment"),
        ("http://host", "must be https"),
        ("http://10.0.0.1", "must be https"),
        ("http://localhost.evil.example", "must be https"),
        (None, "must be a URL"),
    ],
)
def test_base_urls_that_do_not(url, reason):
    with pytest.raises(ConfigError, match=reason):
        userflux.Account(read_key="key", base_url=url)


def test_plain_http_can_be_allowed():
    account = userflux.Account(read_key="key", base_url="http://proxy.internal", allow_http=True)
    assert account.base_url == "http://proxy.internal"


@pytest.mark.parametrize("key", ["", " ", "a b", "a\n", "a\x00", "é", 5])
def test_keys_that_would_not_survive_a_header_are_refused(key):
    for make in (
        lambda: amplitude.Account(secret_key=key),
        lambda: amplitude.Account(secret_key="key", api_key=key),
        lambda: userflux.Account(read_key=key),
        lambda: userflux.Account(write_key=key),
    ):
        with pytest.raises(ConfigError, match="_key must be text"):
            make()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: amplitude.Account(secret_key=None), "secret_key is required"),
        (lambda: amplitude.Account(secret_key="k", api_key="a:b"), "no colon"),
        (lambda: userflux.Account(), "read_key, write_key or both"),
        (lambda: amplitude.Account(secret_key="k", rate=(600, 60)), "rate must be a Rate"),
        (lambda: amplitude.Account(secret_key="k", max_in_flight=0), "max_in_flight must be an int"),
        (lambda: amplitude.Account(secret_key="k", max_in_flight=2.5), "max_in_flight must be an int"),
    ],
)
def test_accounts_that_cannot_work_are_refused(make, reason):
    with pytest.raises(ConfigError, match=reason):
        make()


def test_the_documented_quota_is_the_default():
    assert amplitude.Account(secret_key="key").rate == Rate(600, per=60)


def test_an_account_must_say_how_it_authorises():
    class Bare(Account, frozen=True, kw_only=True):
        vendor: ClassVar[Vendor] = Vendor("bare")

    account = Bare(base_url="https://host", rate=Rate(1, per=1))
    with pytest.raises(ConfigError, match=r"does not define headers\(\)"):
        account.headers(GET.endpoint)
