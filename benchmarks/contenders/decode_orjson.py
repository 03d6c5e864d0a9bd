"""orjson: dicts and lists."""

import orjson

from benchmarks.contenders import decoding


class Orjson(decoding.Decoding):
    label = "orjson.loads"
    who = staticmethod(decoding.who)

    def decoder(self):
        return orjson.loads


make = Orjson
