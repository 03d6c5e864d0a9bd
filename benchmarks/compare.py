"""Every contender in processes of its own, in turn, against one server, in multiples of one of them."""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from statistics import median

FETCH = (
    "floor",
    "floor+uvloop",
    "profilekit_stream",
    "profilekit_stream+uvloop",
    "profilekit_send",
    "profilekit_session",
    "wreq_msgspec",
    "pyreqwest_msgspec",
    "aiohttp_tuned",
    "aiohttp_usual",
    "niquests_msgspec",
    "httpx2_pydantic",
    "httpx_pydantic",
)
UPDATE = ("floor", "profilekit_stream", "profilekit_send", "wreq_msgspec", "aiohttp_tuned", "aiohttp_usual")
OURS = ("floor", "profilekit_stream")
TLS = ("floor", "profilekit_stream", "profilekit_send", "aiohttp_tuned")
KEEP = ("decode_orjson", "decode_profilekit", "decode_into")
DECODE = (*KEEP, "decode_json", "decode_pydantic", "decode_cattrs")

# Slow ones are asked less often, so that a run takes minutes and not hours.
SLOW = {
    "httpx_pydantic": 8,
    "httpx2_pydantic": 8,
    "niquests_msgspec": 4,
    "aiohttp_usual": 2,
    "profilekit_session": 2,
}


@contextmanager
def server(size, *, tls=False):
    """Run a server; return its URL and what else a contender's environment needs to trust it."""
    with tempfile.TemporaryDirectory() as folder:
        trust = certify(Path(folder)) if tls else {}
        command = [sys.executable, "-m", "benchmarks.server", str(size)]
        if tls:
            command.append(str(Path(folder) / "server.pem"))
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
                    os.sched_setaffinity(process.pid, {sorted(os.sched_getaffinity(0))[1]})
                port = int(process.stdout.readline())
                yield f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}", trust
            finally:
                process.terminate()


def certify(folder):
    """Write a certificate that nobody but this run's authority vouches for."""
    import trustme

    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    return {"SSL_CERT_FILE": str(folder / "authority.pem")}


def once(name, task, url, count, environment):
    """Return one contender's figures, or why there are none."""
    command = [sys.executable, "-m", "benchmarks.worker", name, task, url, str(count)]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return json.loads(done.stdout)
    if done.returncode < 0:
        return f"died of signal {-done.returncode}"
    return done.stderr.strip().splitlines()[-1]


def compare(task, names, *, count, repetitions, size=2048, tls=False):
    """Run all contenders in turn, as often as asked; return their medians, in multiples of the first."""
    figures, missing = {name: [] for name in names}, {}
    with server(size, tls=tls) as (url, environment):
        for _ in range(repetitions):
            for name in names:
                if name in missing:
                    continue
                got = once(name, task, url, max(500, count // SLOW.get(name, 1)), environment)
                if isinstance(got, str):
                    missing[name] = f"{got}, after {len(figures.pop(name))} runs"
                else:
                    figures[name].append(got)
    base = names[0]
    if base in missing:
        raise SystemExit(f"there is nothing to measure against: {missing[base]}")
    cost = median(run["cpu_us"] for run in figures[base])
    rows = {name: _summary(runs, cost) for name, runs in figures.items() if runs}
    return {"task": task, "bytes": size, "base": base, "rows": rows, "missing": missing}


def _summary(runs, base):
    row = {key: median(run[key] for run in runs) for key in runs[0]}
    costs = [run["cpu_us"] for run in runs]
    return {**row, "cpu_us_least": min(costs), "cpu_us_most": max(costs), "ratio": row["cpu_us"] / base}
