"""The same over httpx2."""

import httpx2

from benchmarks.contenders import httpx_pydantic


class Httpx2(httpx_pydantic.Httpx):
    label = "httpx2 + pydantic"
    library = httpx2


make = Httpx2
