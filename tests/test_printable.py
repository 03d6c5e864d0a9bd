"""What is written out before it reaches a terminal or a log, and what is left as it is."""

import asyncio
import json
import logging
import pickle
import sys
import unicodedata

import pytest
from outboxes import opened, write
from stub import Stub, response

from profilekit import ProfileClient, amplitude, errors
from profilekit._printable import printable, printable_json
from profilekit.observer import Paused

ACTING = {
    "\x00": r"\x00",
    "\x07": r"\x07",
    "\b": r"\x08",
    "\t": r"\t",
    "\n": r"\n",
    "\r": r"\r",
    "\x1b": r"\x1b",
    "\x7f": r"\x7f",
    "\x85": r"\x85",
    "\x9b": r"\x9b",
    "\xad": r"\xad",
    "\u061c": r"\u061c",
    "\u180e": r"\u180e",
    "\u200b": r"\u200b",
    "\u200d": r"\u200d",
    "\u200e": r"\u200e",
    "\u200f": r"\u200f",
    "\u2028": r"\u2028",
    "\u2029": r"\u2029",
    "\u202a": r"\u202a",
    "\u202e": r"\u202e",
    "\u2060": r"\u2060",
    "\u2066": r"\u2066",
    "\u2069": r"\u2069",
    "\ud800": r"\ud800",
    "\ufeff": r"\ufeff",
    "\ufff9": r"\ufff9",
    "\uffff": r"\uffff",
    "\U000e0041": r"\U000e0041",
}
PLAIN = ["", "a b", "é", "日本", "\u3000", "\xa0", "שלום", "e\u0301", "😀", "\\x1b", "[red]x[/red]", "~"]


@pytest.mark.parametrize("sign", ACTING)
def test_what_drives_a_terminal_or_hides_is_written_out(sign):
    assert printable(sign) == ACTING[sign]
    assert printable(f"日{sign}本") == f"日{ACTING[sign]}本"


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_only_shown_stays_as_it_is(text):
    assert printable(text) == text
    assert printable_json(json.dumps(text, ensure_ascii=False)) == json.dumps(text, ensure_ascii=False)


def test_no_character_that_acts_is_left_among_all_that_there_are():
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    kinds = {unicodedata.category(sign) for sign in printable(every)}
    assert kinds & {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"} == set()
    assert {"Lu", "Lo", "Mn", "Nd", "Po", "So", "Zs"} <= kinds


def test_json_reads_as_the_same_value_and_holds_no_character_that_acts():
    codes = (*range(0xD800), *range(0xE000, 0x11000), *range(0xE0000, 0xE0200), sys.maxunicode)
    every = "".join(map(chr, codes))
    value = {every: [every, 1.5, None]}
    text = printable_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(text) == value
    assert printable(text.replace("\n", "")) == text.replace("\n", "")


HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e\n"


@pytest.mark.parametrize("kind", [getattr(errors, name) for name in errors.__all__])
def test_the_text_of_every_error_is_one_printable_line(kind):
    error = kind(f"it says {HOSTILE}")
    assert str(error) == r"it says \x1b]0;owned\x07\x9b31m\u202e\n"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert repr(error).isprintable()
    assert str(kind("日本")) == "日本"


class _Loud:
    def began(self, attempt):
        raise ValueError(f"one\n{HOSTILE}")

    def ended(self, attempt): ...

    def changed(self, event): ...


async def test_what_is_logged_is_printable(caplog):
    caplog.set_level(logging.DEBUG, "profilekit")
    account = amplitude.Account(secret_key="key")
    async with ProfileClient(account, transport=Stub(), observer=_Loud()) as client:
        client.tell(Paused(vendor=HOSTILE, seconds=1.0))
        await client.send(amplitude.GetProfile("u"))
    texts = [record.getMessage() for record in caplog.records]
    assert any(r"\x1b]0;owned" in text and text.startswith("the observer raised") for text in texts)
    assert any(text.startswith(r"\x1b]0;owned\x07\x9b31m\u202e\n: paused") for text in texts)
    assert all(line.isprintable() for text in texts for line in text.split("\n"))


async def test_the_name_of_an_outbox_is_printable_in_the_log(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "profilekit")
    async with opened(tmp_path / f"{HOSTILE}.db", Stub(lambda _: response(401))) as outbox:
        await outbox.put(write("u", secret="x"))
        while "nothing is delivered" not in caplog.text:
            await asyncio.sleep(0)
        await outbox.close(grace=0)
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert r"outbox \x1b]0;owned" in caplog.text
