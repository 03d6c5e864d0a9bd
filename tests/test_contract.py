"""Every parameter, field, key and status of both OpenAPI documents, and of the vendors' pages."""

import datetime as dt
import json
from base64 import b64encode
from pathlib import Path

import msgspec
import orjson
import pytest
import yaml
from contract import Contract, built, check
from stub import response

from profilekit import amplitude, userflux
from profilekit.engine import wire
from profilekit.errors import ConfigError, DecodeError, ProfileNotFoundError, StatusError, ThrottledError

HERE = Path(__file__).parent
AMPLITUDE = yaml.safe_load((HERE / "specs/amplitude-user-profile.openapi.yaml").read_text())
USERFLUX = json.loads((HERE / "specs/userflux-profiles.openapi.json").read_text())

GET, READ, UPDATE = amplitude.GetProfile, userflux.GetProfile, userflux.UpdateProfile
SECRET = amplitude.Account(secret_key="secret")
BASIC = amplitude.Account(secret_key="secret", api_key="api")
BOTH = userflux.Account(read_key="read", write_key="write")

BASE = "/v1/userprofile?user_id=u"


def sample(vendor, case):
    return (HERE / "samples" / vendor / f"{case}.json").read_bytes()


def decode(request, body, into=None):
    account = SECRET if isinstance(request, GET) else BOTH
    return wire.parse(request, response(200, body), wire.decoder_for(type(request), into), account)


# ---- what is sent ------------------------------------------------------------------------------

TARGETS = [
    (GET("u"), BASE),
    (GET(device_id="d"), "/v1/userprofile?device_id=d"),
    (GET("u", device_id="d"), BASE + "&device_id=d"),
    (GET("u", get_recs=True), BASE + "&get_recs=true"),
    (GET("u", get_recs=False), BASE),
    (GET("u", rec_id="r1"), BASE + "&rec_id=r1"),
    (GET("u", rec_id=("r1", "r 2")), BASE + "&rec_id=r1,r%202"),
    (GET("u", rec_id="r1,r2"), BASE + "&rec_id=r1%2Cr2"),
    (GET("u", rec_type="random"), BASE + "&rec_type=random"),
    (GET("u", limit=5), BASE + "&limit=5"),
    (GET("u", get_amp_props=True), BASE + "&get_amp_props=true"),
    (GET("u", get_cohort_ids=True), BASE + "&get_cohort_ids=true"),
    (GET("u", get_computations=True), BASE + "&get_computations=true"),
    (GET("u", comp_id=17), BASE + "&comp_id=17"),
    (GET("u", comp_id="t14bqib"), BASE + "&comp_id=t14bqib"),
    (GET("u", comp_id=("t14bqib", 17)), BASE + "&comp_id=t14bqib,17"),
    (GET("u", get_propensity=True), BASE + "&get_propensity=true"),
    (GET("u", prediction_id="p"), BASE + "&prediction_id=p"),
    (GET("u", prediction_id=("p", "q")), BASE + "&prediction_id=p,q"),
    (GET("u", propensity_type="pct"), BASE + "&propensity_type=pct"),
    (GET("a&b=c d/é?#%+"), "/v1/userprofile?user_id=a%26b%3Dc%20d%2F%C3%A9%3F%23%25%2B"),
    (READ("u"), "/profile/u"),
    (READ("a/b?c#d%e f"), "/profile/a%2Fb%3Fc%23d%25e%20f"),
    (READ("../x"), "/profile/..%2Fx"),
    (READ("%2e%2e"), "/profile/%252e%252e"),
    (READ("日本"), "/profile/%E6%97%A5%E6%9C%AC"),
    (READ("a\r\nb\0"), "/profile/a%0D%0Ab%00"),
    (UPDATE("u"), "/profile"),
    (UPDATE("u", location_enrichment=True), "/profile?locationEnrichment=true"),
    (UPDATE("u", location_enrichment=False), "/profile?locationEnrichment=false"),
]


@pytest.mark.parametrize(("request_", "target"), TARGETS, ids=[target for _, target in TARGETS])
def test_targets(request_, target):
    account = SECRET if isinstance(request_, GET) else BOTH
    assert built(request_, account).target == target


def test_a_path_prefix_of_the_base_url_comes_first():
    account = amplitude.Account(secret_key="secret", base_url="https://proxy.example/amp/")
    assert built(GET("u"), account).target == "/amp" + BASE


BODIES = [
    (UPDATE("u"), {"userId": "u"}),
    (UPDATE(anonymous_id="a"), {"anonymousId": "a"}),
    (UPDATE("u", anonymous_id="a"), {"userId": "u", "anonymousId": "a"}),
    (UPDATE("u", properties={"plan": "pro"}), {"userId": "u", "properties": {"plan": "pro"}}),
    (UPDATE("u", properties={}), {"userId": "u", "properties": {}}),
    (UPDATE("u", properties={"gone": None}), {"userId": "u", "properties": {"gone": None}}),
    (UPDATE("u", external_id="e"), {"userId": "u", "externalId": "e"}),
    (UPDATE("u", device_data={"os": "iOS"}), {"userId": "u", "deviceData": {"os": "iOS"}}),
    (UPDATE("é/\r\n", location_enrichment=True), {"userId": "é/\r\n"}),
]


@pytest.mark.parametrize(("request_", "body"), BODIES)
def test_bodies(request_, body):
    http = built(request_, BOTH)
    assert (http.method, orjson.loads(http.body)) == ("POST", body)
    assert http.headers["Content-Type"] == "application/json"


PAIR = b64encode(b"api:secret").decode()


@pytest.mark.parametrize(
    ("account", "request_", "header"),
    [
        (SECRET, GET("u"), "Api-Key secret"),
        (BASIC, GET("u"), f"Basic {PAIR}"),
        (BOTH, READ("u"), "Bearer read"),
        (BOTH, UPDATE("u"), "Bearer write"),
        (userflux.Account(read_key="read"), UPDATE("u"), "Bearer read"),
        (userflux.Account(write_key="write"), UPDATE("u"), "Bearer write"),
    ],
)
def test_every_key_goes_where_it_belongs(account, request_, header):
    assert built(request_, account).headers["Authorization"] == header


def test_reading_with_a_write_only_key_is_refused_before_anything_is_sent():
    with pytest.raises(ConfigError, match=r"read \+ write key"):
        built(READ("u"), userflux.Account(write_key="write"))


# ---- the documents, held against the requests --------------------------------------------------


def test_every_parameter_of_amplitudes_document_can_be_sent():
    operation = AMPLITUDE["paths"]["/v1/userprofile"]["get"]
    examples = {"string": "text", "integer": 7, "boolean": True}
    for parameter in operation["parameters"]:
        value = examples[parameter["schema"]["type"]]
        request = GET(**{"user_id": "u", parameter["name"]: value})
        written = {True: "true"}.get(value, value) if value is True else value
        assert f"{parameter['name']}={written}" in built(request, SECRET).target


def test_every_field_of_amplitudes_document_is_decoded():
    schemas = AMPLITUDE["components"]["schemas"]
    for schema, kind in (("UserData", amplitude.Profile), ("Recommendation", amplitude.Recommendation)):
        assert set(schemas[schema]["properties"]) <= set(kind.__struct_fields__)


def test_every_field_of_userfluxs_document_is_sent_or_decoded():
    answer = USERFLUX["components"]["responses"]["getProfile200"]["content"]["application/json"]["schema"]
    assert set(answer["properties"]) == {
        field.encode_name for field in msgspec.structs.fields(userflux.Profile)
    }
    post = USERFLUX["paths"]["/profile"]["post"]
    body = post["requestBody"]["content"]["application/json"]["schema"]["properties"]
    sent = {field.encode_name for field in msgspec.structs.fields(UPDATE)}
    assert set(body) | {parameter["name"] for parameter in post["parameters"]} <= sent


def test_the_addresses_are_those_of_the_documents():
    assert [server["url"] for server in AMPLITUDE["servers"]] == [SECRET.base_url]
    assert [server["url"] for server in USERFLUX["servers"]] == [BOTH.base_url]


# ---- what comes back ---------------------------------------------------------------------------


def test_amplitude_in_the_shape_of_the_document():
    profile = decode(GET("u"), sample("amplitude", "spec_full"))
    assert profile == amplitude.Profile(
        user_id="user-1",
        amplitude_id=2**63 - 1,
        user_properties={"plan": "pro", "seats": 12, "trial": False, "nested": {"a": [1, None]}},
        computed_properties={"orders_30d": 7, "plan": "computed"},
        cohort_ids=("abc123", "def456"),
        recommendations=(
            amplitude.Recommendation(
                rec_id="98925",
                child_ids=("item-1", "item-2"),
                is_control=False,
                recommendation_type="model",
                title="Next best product",
            ),
        ),
    )
    assert profile.properties["plan"] == "pro"
    assert profile.properties["orders_30d"] == 7
    assert profile.recommendations[0].item_ids == ("item-1", "item-2")


def test_amplitude_in_the_shape_of_the_pages():
    profile = decode(GET("u"), sample("amplitude", "pages_full"))
    assert profile == amplitude.Profile(
        user_id="user-1",
        device_id="ffff-eeee",
        amp_props={"plan": "pro", "t14bqib": "0.42", "library": None},
        cohort_ids=("cohort1",),
        recommendations=(
            amplitude.Recommendation(
                rec_id="98925",
                child_rec_id="98925b",
                items=("cookie", "cracker"),
                is_control=True,
                recommendation_source="model",
                last_updated=1614192260,
            ),
            amplitude.Recommendation(rec_id="11", items=(), last_updated=1614192260),
        ),
        propensity=0.83,
        propensities=(
            amplitude.Propensity(prop=83, pred_id="0x10", prop_type="pct"),
            amplitude.Propensity(prop=0.83, pred_id="0x10", prop_type="score"),
        ),
    )
    assert profile.properties == {"plan": "pro", "t14bqib": "0.42", "library": None}
    assert [rec.item_ids for rec in profile.recommendations] == [("cookie", "cracker"), ()]


@pytest.mark.parametrize("case", ["nulls", "missing", "null_user_data", "no_user_data"])
def test_amplitude_with_nothing_in_it(case):
    profile = decode(GET("u"), sample("amplitude", case))
    assert profile == amplitude.Profile()
    assert profile.properties == {}


def test_amplitude_with_nulls_inside():
    profile = decode(GET("u"), sample("amplitude", "nulls_inside"))
    assert profile.recommendations == (amplitude.Recommendation(),)
    assert profile.recommendations[0].item_ids == ()
    assert profile.propensities == (amplitude.Propensity(),)


def test_amplitude_with_more_than_is_known():
    profile = decode(GET("u"), sample("amplitude", "unknown_extras"))
    assert profile.user_id == "user-1"
    assert profile.recommendations[0].item_ids == ("a",)
    assert profile.propensities[0].prop == 1


def test_the_documents_own_example_breaks_its_schema_and_we_say_where():
    with pytest.raises(DecodeError) as caught:
        decode(GET("u"), sample("amplitude", "spec_example"))
    assert caught.value.path == "$.userData.user_id"
    assert "Expected `str | null`, got `object`" in str(caught.value)


def test_userflux_in_full():
    profile = decode(READ("u"), sample("userflux", "full"))
    assert profile == userflux.Profile(
        id="user-1",
        anonymous_ids=("anon-1", "anon-2"),
        properties={"plan": "pro", "visits": 3},
        computed_properties={"ltv": 120.5},
        segments=("vip", "eu"),
        location_data={"city": "Lisbon", "country": "Portugal"},
        device_data={"platform": "iOS"},
        last_updated_at=1714521600123,
        created_at=1700000000000.5,
    )
    assert profile.last_updated == dt.datetime(2024, 5, 1, 0, 0, 0, 123000, tzinfo=dt.UTC)
    assert profile.created == dt.datetime(2023, 11, 14, 22, 13, 20, 500, tzinfo=dt.UTC)


@pytest.mark.parametrize("case", ["nulls", "missing"])
def test_userflux_with_nothing_in_it(case):
    profile = decode(READ("u"), sample("userflux", case))
    assert profile == userflux.Profile()
    assert (profile.last_updated, profile.created) == (None, None)


def test_userflux_with_more_than_is_known():
    profile = decode(READ("u"), sample("userflux", "unknown_extras"))
    assert profile.anonymous_ids == (1, None, {"odd": True})
    assert profile.segments == (7,)
    assert profile.last_updated == dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def test_a_moment_outside_of_the_calendar_is_none():
    assert userflux.Profile(created_at=1e300).created is None
    assert userflux.Profile(created_at=-(10**17)).created is None


def test_results_are_cheap_for_the_garbage_collector_and_frozen():
    for kind in (amplitude.Profile, amplitude.Recommendation, amplitude.Propensity, userflux.Profile):
        config = kind.__struct_config__
        assert (config.frozen, config.gc) == (True, False)


class CohortsOnly(msgspec.Struct):
    cohort_ids: list[str]


class Ids(msgspec.Struct, rename="camel"):
    id: str
    anonymous_ids: list[str]


def test_into_decodes_only_what_it_names():
    decoded = decode(GET("u"), sample("amplitude", "spec_full"), CohortsOnly)
    assert decoded == CohortsOnly(["abc123", "def456"])
    assert decode(READ("u"), sample("userflux", "full"), Ids) == Ids("user-1", ["anon-1", "anon-2"])


def test_into_raw_and_plain_types():
    raw = decode(GET("u"), sample("amplitude", "pages_full"), msgspec.Raw)
    assert orjson.loads(bytes(raw)) == orjson.loads(sample("amplitude", "pages_full"))["userData"]
    assert decode(READ("u"), b'{"id": "x"}', dict) == {"id": "x"}


@pytest.mark.parametrize("case", ["missing", "null_user_data", "no_user_data"])
def test_into_says_what_is_missing(case):
    with pytest.raises(DecodeError, match="missing required field `cohort_ids`"):
        decode(GET("u"), sample("amplitude", case), CohortsOnly)


def test_into_refuses_what_cannot_be_decoded():
    with pytest.raises(ConfigError, match="cannot be decoded into"):
        wire.decoder_for(GET, dict[str, int] | CohortsOnly)
    with pytest.raises(ConfigError, match="no answer that could be decoded"):
        wire.decoder_for(UPDATE, Ids)


# ---- errors whose status is not documented -----------------------------------------------------

UNSEEN = b'{"error":"User id and device id not seen before"}'
LIMIT = b'{"error":"Number of requests per minute exceeds system limit. Contact Support if you need this"}'


@pytest.mark.parametrize("status", [200, 400, 401, 404, 500])
@pytest.mark.parametrize(("body", "kind"), [(UNSEEN, ProfileNotFoundError), (LIMIT, ThrottledError)])
def test_amplitudes_texts_decide_whatever_the_status(status, body, kind):
    with pytest.raises(StatusError) as caught:
        wire.parse(GET("u"), response(status, body), wire.decoder_for(GET), SECRET)
    assert type(caught.value) is kind
    assert caught.value.status == status


@pytest.mark.parametrize("body", [b'{"error":"Internal failure"}', b'{"message": "Forbidden"}'])
def test_a_success_that_is_an_error_is_no_empty_profile(body):
    with pytest.raises(StatusError):
        wire.parse(GET("u"), response(200, body), wire.decoder_for(GET), SECRET)


def test_an_empty_404_hints_at_a_wrong_path():
    with pytest.raises(ProfileNotFoundError, match="wrong path in base_url"):
        wire.parse(GET("u"), response(404), wire.decoder_for(GET), SECRET)


def test_a_redirect_hints_at_plain_http():
    with pytest.raises(StatusError, match="redirects are not followed"):
        wire.parse(GET("u"), response(301, b"<html>moved</html>"), wire.decoder_for(GET), SECRET)


# ---- the same for all --------------------------------------------------------------------------

CONTRACTS = {
    "amplitude": Contract(
        SECRET,
        GET("u", get_cohort_ids=True),
        b'{"userData": {"user_id": "u", "cohort_ids": ["c"]}}',
        amplitude.Profile(user_id="u", cohort_ids=("c",)),
        target=BASE + "&get_cohort_ids=true",
        headers={"Authorization": "Api-Key secret", "Accept": "application/json"},
    ),
    "userflux read": Contract(
        BOTH,
        READ("u"),
        b'{"id": "u", "anonymousIds": ["a"]}',
        userflux.Profile(id="u", anonymous_ids=("a",)),
        target="/profile/u",
        headers={"Authorization": "Bearer read"},
    ),
    "userflux write": Contract(
        BOTH,
        UPDATE("u", properties={"a": 1}),
        b"",
        None,
        method="POST",
        target="/profile",
        headers={"Authorization": "Bearer write"},
        sent=b'{"userId":"u","properties":{"a":1}}',
    ),
}


@pytest.mark.parametrize("name", CONTRACTS)
async def test_contract(name):
    await check(CONTRACTS[name])
