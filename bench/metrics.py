"""A scrape of `--metrics`: milliseconds of processor time and kB that are sent, for counters and for histograms.

    .venv/bin/python bench/metrics.py [--functions 2000] [--scrapes 20]

Runs anywhere: the numbers are made, not measured. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import urllib.request
from collections.abc import Iterator

from multiprobe.output.metrics import Family, NumberFamily, TimeFamily
from multiprobe.output.metrics_server import MetricsServer

LABELS = ("function", "module")


def main() -> None:
    """Measure both kinds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", type=int, default=2000)
    parser.add_argument("--scrapes", type=int, default=20)
    options = parser.parse_args()
    names = [(f"some_kernel_function_{n}", "") for n in range(options.functions)]
    calls = NumberFamily("multiprobe_calls", "Calls.", LABELS, dict.fromkeys(names, 1e6))
    rows = {name: ([9] * 30, 10**9) for name in names}
    times = TimeFamily("multiprobe_call_duration_seconds", "Times.", LABELS, rows)
    for command, family in (("count", calls), ("latency", times)):
        for encoding in ("identity", "gzip"):
            found = scrape(family, options.scrapes, encoding)
            print(json.dumps({"command": command, "encoding": encoding, "functions": options.functions, **found}))


def scrape(family: Family, n: int, encoding: str) -> dict[str, float]:
    """The median of `n` scrapes, those who ask and who answer together."""

    def source() -> Iterator[Family]:
        yield family

    server, taken, size = MetricsServer("127.0.0.1", 0), [], 0
    request = urllib.request.Request(f"http://{server.address}/metrics", headers={"Accept-Encoding": encoding})
    try:
        with server.serving(source):
            for _ in range(n):
                began = time.process_time()
                with urllib.request.urlopen(request, timeout=60) as answer:
                    size = len(answer.read())
                taken.append(time.process_time() - began)
    finally:
        server.close()
    return {"ms": round(1000 * statistics.median(taken), 1), "kb": size >> 10}


if __name__ == "__main__":
    main()
