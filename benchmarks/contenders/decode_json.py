"""The standard library's json: dicts and lists."""

import json

from benchmarks.contenders import decoding


class Json(decoding.Decoding):
    label = "json.loads"
    who = staticmethod(decoding.who)

    def decoder(self):
        return json.loads


make = Json
