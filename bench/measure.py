#!/usr/bin/env python3
"""Measures one gateway in front of mock_upstream.py and prints one JSON object.

    measure.py --name ours --pid $(cat gw.pid) --url http://127.0.0.1:8080 --api anthropic \
        --header 'x-api-key: sk-...' [--sidecar postgres=PID --sidecar nats=PID] [--drain 5] [--out results.jsonl]

The gateway must already run and forward to the mock (--mock, started here when nothing listens there). Every --pid and
--sidecar stands for its whole process tree. Gateway and sidecars are pinned to CPU 0, the mock and the load to CPU 1,
so each rate is a rate per core. Without --pid the target is the mock itself (the floor). Phases, each under the lock:

  check      one unary and one stream: the text, the deltas and the token counts must come through
  latency    wrk at 1 and at 32 connections, gateway and direct taking turns      -> added_p50_us, added_p99_us
  unary      wrk at --conns, saturating the gateway, --rounds times               -> rps, cpu_us
  large      the same with a prompt of --large-bytes                              -> large.cpu_us
  burst      the same, streaming --events deltas that arrive all at once          -> burst.cpu_us (per stream)
  paced      --streams open streams, a delta every --delay-ms (each its own read) -> paced.cpu_us_per_stream, _per_event
  ttft       a light load of short streams, gateway and direct taking turns       -> added_p50_ms, added_p99_ms
  hold       --hold open streams at once                                          -> memory_mb, peak_open, errors

cpu_us (per request, per process group) is the main figure: utime+stime (and reaped children's) of the whole tree from
/proc/PID/stat over the requests counted by the client (or by the mock, where that is more), from before the load until
--drain seconds after it, so that work put off until after the reply (usage events, ledger writes) is paid for. It
depends less than a rate does on what else the machine does, but it does: compare runs whose `calibration` (CPU ms of a
fixed Python job) is alike, and measure what you compare with again in the same hour.
"""
import argparse
import contextlib
import fcntl
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import load

LOCK = os.path.join(tempfile.gettempdir(), "tollhouse-bench.lock")
HERE = os.path.dirname(os.path.abspath(__file__))
TICK = os.sysconf("SC_CLK_TCK")
GATEWAY_CPU, LOAD_CPU = 0, 1


# ---- /proc ----

def stat_fields(pid):
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rpartition(")")[2].split()  # [0]=state [1]=ppid [11..14]=utime stime cutime cstime


def tree(roots, without=()):
    """The living processes under roots, not descending into `without` (they belong to another group)."""
    children, seen, todo = {}, set(), list(roots)
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(stat_fields(name)[1]), []).append(int(name))
    while todo:
        pid = todo.pop()
        if pid not in seen and pid not in without and os.path.exists(f"/proc/{pid}"):
            seen.add(pid)
            todo += children.get(pid, [])
    return seen


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            ticks += sum(int(x) for x in stat_fields(pid)[11:15])
    return ticks / TICK


def memory_mb(pids):
    rss = pss = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/smaps_rollup") as f:
                text = f.read()
            rss += int(re.search(r"^Rss:\s+(\d+)", text, re.M).group(1))
            pss += int(re.search(r"^Pss:\s+(\d+)", text, re.M).group(1))
    return {"rss": round(rss / 1024, 1), "pss": round(pss / 1024, 1)}


def pin(pids, cpu):
    for pid in pids:
        with contextlib.suppress(OSError):
            for tid in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(int(tid), {cpu})


CALIBRATE = """
import json, time
rows = [{"id": i, "name": "model-%d" % i, "tokens": [i, i + 1], "ok": True} for i in range(20000)]
def run():
    begin = time.process_time()
    text = json.dumps(rows)
    back = json.loads(text)
    index = {row["name"]: row for row in back}
    total = sum(len(index[row["name"]]["tokens"]) for row in rows)
    return time.process_time() - begin
print(min(run() for _ in range(5)) * 1000, sorted(run() for _ in range(9))[4] * 1000)
"""


def calibrate():
    """CPU ms of a fixed allocation-heavy Python job on the gateway's core: how fast the machine is just now."""
    out = subprocess.run(["taskset", "-c", str(GATEWAY_CPU), sys.executable, "-c", CALIBRATE],
                         capture_output=True, text=True, check=True).stdout.split()
    return {"min_ms": round(float(out[0]), 2), "median_ms": round(float(out[1]), 2)}


def steal_ticks():
    with open("/proc/stat") as f:
        return int(f.readline().split()[8])


# ---- the harness ----

class Bench:
    def __init__(self, args):
        self.args = args
        self.roots = {"gateway": args.pid} if args.pid else {}
        for item in args.sidecar:
            name, _, pid = item.partition("=")
            self.roots.setdefault(name, []).append(int(pid))
        self.direct = load.full_url(args.mock, args.api)
        self.url = load.full_url(args.url, args.api)
        self.headers = load.make_headers(args.api, args.header)
        self.floor = load.make_headers(args.api)

    @property
    def groups(self):
        """Name -> the processes alive in that group now."""
        roots = self.roots
        return {name: tree(pids, {p for other in roots if other != name for p in roots[other]})
                for name, pids in roots.items()}

    def cpu(self):
        return {name: cpu_seconds(pids) for name, pids in self.groups.items()}

    def upstream(self):
        """Requests that the mock has seen."""
        url = urlsplit(self.args.mock)
        with urllib.request.urlopen(f"http://{url.netloc}/__stats", timeout=10) as reply:
            return json.load(reply)["requests"]

    def memory(self):
        return {name: memory_mb(pids) for name, pids in self.groups.items()}

    @contextlib.contextmanager
    def locked(self, what):
        with open(self.args.lock, "w") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            begin = time.monotonic()
            yield
            print(f"{self.args.name}: {what} took {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)

    def body(self, stream=False, events=None, delay_ms=0.0, prompt_bytes=None, direct=False):
        args = self.args
        return load.make_body(args.api, None if direct else args.model, stream,
                              args.events if events is None else events, delay_ms,
                              prompt_bytes or args.prompt_bytes)

    def wrk(self, conns, seconds, direct=False, **kw):
        return load.run_wrk(self.direct if direct else self.url, self.body(direct=direct, **kw),
                            self.floor if direct else self.headers, conns, seconds, LOAD_CPU)

    def paced(self, streams, events, delay_ms, seconds, direct=False, once=False, ramp=0.5, wait=True):
        args = self.args
        command = ["taskset", "-c", str(LOAD_CPU), sys.executable, os.path.join(HERE, "load.py"), "paced",
                   "--url", self.direct if direct else self.url, "--api", args.api,
                   "--prompt-bytes", str(args.prompt_bytes), "--streams", str(streams), "--events", str(events),
                   "--delay-ms", str(delay_ms), "--seconds", str(seconds), "--ramp", str(ramp)]
        if once:
            command.append("--once")
        if not direct:
            command += [x for h in args.header for x in ("--header", h)]
            if args.model:
                command += ["--model", args.model]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        return json.loads(process.communicate()[0]) if wait else process

    def cost(self, run, count, drain=None):
        """Runs run(); returns its result and, for each process group, CPU µs per request."""
        before, seen = self.cpu(), self.upstream()
        steal, begin = steal_ticks(), time.monotonic()
        result = run()
        wall = time.monotonic() - begin
        busy = {name: now - before[name] for name, now in self.cpu().items()}
        time.sleep(self.args.drain if drain is None else drain)
        spent = {name: now - before[name] for name, now in self.cpu().items()}
        # wrk hangs up on the requests in flight at its end; what reached the upstream was paid for, so it counts
        done = max(1, result[count], self.upstream() - seen)
        result["cpu_us"] = {name: round(1e6 * s / done, 1) for name, s in spent.items()}
        result["cpu_us_total"] = round(1e6 * sum(spent.values()) / done, 1)
        result["core_busy"] = round(sum(busy.values()) / wall, 3)  # below ~0.95: the gateway was not saturated
        result["steal"] = round((steal_ticks() - steal) / TICK / wall, 4)
        return result

    def saturate(self, rounds, seconds, **kw):
        runs = []
        for _ in range(rounds):
            with self.locked("saturate"):
                runs.append(self.cost(lambda: self.wrk(self.args.conns, seconds, **kw), "requests"))
        count = sum(r["requests"] for r in runs)

        def mean(of):  # over all requests of all rounds
            return round(sum(of(r) * r["requests"] for r in runs) / max(1, count), 1)

        return {"rps": statistics.median(r["rps"] for r in runs), "requests": count,
                "cpu_us_total": mean(lambda r: r["cpu_us_total"]),
                "cpu_us": {name: mean(lambda r: r["cpu_us"][name]) for name in runs[0]["cpu_us"]},
                "core_busy": statistics.median(r["core_busy"] for r in runs),
                "errors": sum(r["errors"] + r["non2xx"] for r in runs),
                "p50_us": statistics.median(r["p50_us"] for r in runs),
                "p99_us": statistics.median(r["p99_us"] for r in runs),
                "rounds_cpu_us_total": [r["cpu_us_total"] for r in runs], "rounds_rps": [r["rps"] for r in runs],
                "steal": [r["steal"] for r in runs]}

    # ---- phases ----

    def check(self):
        def post(body):
            request = urllib.request.Request(self.url, body, self.headers, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=60) as reply:
                    return reply.status, reply.read()
            except urllib.error.HTTPError as error:
                return error.code, error.read()
        status, text = post(self.body())
        if status != 200 or b"ledger closes" not in text or b"256" not in text or b"472" not in text:
            raise SystemExit(f"unary check failed: {status} {text[:600]!r}")
        status, stream = post(self.body(stream=True, events=5))
        if status != 200 or stream.count(b" tok0") != 5 or b"472" not in stream:
            raise SystemExit(f"stream check failed: {status} {stream[:1500]!r}")

    def latency(self):
        out = {}
        for conns in (1, 32):
            runs = {True: [], False: []}
            with self.locked(f"latency c={conns}"):
                for _ in range(3):
                    for direct in (True, False):
                        runs[direct].append(self.wrk(conns, 3, direct=direct))
            middle = {k: {f: statistics.median(r[f] for r in v) for f in ("p50_us", "p99_us")} for k, v in runs.items()}
            out[f"c{conns}"] = {"direct": middle[True], "gateway": middle[False],
                                "added_p50_us": middle[False]["p50_us"] - middle[True]["p50_us"],
                                "added_p99_us": middle[False]["p99_us"] - middle[True]["p99_us"],
                                "errors": sum(r["errors"] + r["non2xx"] for v in runs.values() for r in v)}
        return out

    def paced_streams(self):
        args = self.args
        with self.locked("paced direct"):
            floor = self.paced(args.streams, args.events, args.delay_ms, 4, direct=True)
        runs = {}
        for events in (args.events, 8):
            with self.locked(f"paced {events}"):
                seconds = 8 if events == args.events else 4
                runs[events] = self.cost(lambda: self.paced(args.streams, events, args.delay_ms, seconds), "streams",
                                         min(args.drain, 2))
        whole, short = runs[args.events], runs[8]
        out = {"streams_open": args.streams, "events": args.events, "delay_ms": args.delay_ms,
               "completed": whole["streams"], "errors": whole["errors"] + short["errors"] + floor["errors"],
               "error_sample": whole["error_sample"] or short["error_sample"],
               "cpu_us_per_stream": whole["cpu_us_total"], "cpu_us": whole["cpu_us"],
               "cpu_us_per_event_all_in": round(whole["cpu_us_total"] / args.events, 2),
               "cpu_us_per_event": round((whole["cpu_us_total"] - short["cpu_us_total"]) / (args.events - 8), 2),
               "core_busy": whole["core_busy"], "arrivals_per_stream": whole["arrivals_per_stream"]}
        for key in ("jitter_p50_ms", "jitter_p99_ms"):
            out[key] = {"direct": round(floor[key], 3), "gateway": round(whole[key], 3)}
        return out

    def ttft(self):
        runs = {True: [], False: []}
        with self.locked("ttft"):
            for _ in range(2):
                for direct in (True, False):
                    runs[direct].append(self.paced(4, 4, 20.0, 5, direct=direct))
        ms = {k: {q: statistics.mean(r[f"ttft_{q}_ms"] for r in v) for q in ("p50", "p99")} for k, v in runs.items()}
        return {"samples": sum(r["streams"] for r in runs[False]), "errors": sum(r["errors"] for r in runs[False]),
                **{f"{who}_{q}_ms": round(ms[k][q], 3) for who, k in (("direct", True), ("gateway", False))
                   for q in ("p50", "p99")},
                **{f"added_{q}_ms": round(ms[False][q] - ms[True][q], 3) for q in ("p50", "p99")}}

    def hold(self):
        args = self.args
        with self.locked("hold"):
            process = self.paced(args.hold, 40, 500.0, 0, once=True, ramp=args.hold_ramp, wait=False)
            peak, until = {}, time.monotonic() + args.hold_ramp + 17
            while time.monotonic() < until and process.poll() is None:
                for name, now in self.memory().items():
                    if now["rss"] >= peak.get(name, {"rss": 0})["rss"]:
                        peak[name] = now
                time.sleep(1)
            result = json.loads(process.communicate()[0])
        return {"asked": args.hold, "peak_open": result["peak_open"], "completed": result["streams"],
                "errors": result["errors"], "error_sample": result["error_sample"], "memory_mb": peak,
                "ttft_p50_ms": round(result["ttft_p50_ms"] or -1, 2),
                "ttft_p99_ms": round(result["ttft_p99_ms"] or -1, 2)}

    def run(self):
        args, out = self.args, {}
        everything = ["check", "latency", "unary", "large", "burst", "paced", "ttft", "hold"]
        phases = args.phases.split(",") if args.phases else everything
        for pids in self.groups.values():
            pin(pids, GATEWAY_CPU)
        if "check" in phases:
            self.check()
        out["idle_memory_mb"] = self.memory()
        with self.locked("warm-up"):
            out["calibration"] = calibrate()
            self.wrk(args.conns, args.warmup)
            self.wrk(args.conns, 2, stream=True)
        for pids in self.groups.values():
            pin(pids, GATEWAY_CPU)  # threads and workers started by now
        if not args.phases:
            time.sleep(args.drain)
            before = self.cpu()
            time.sleep(3)
            out["idle_cpu_ms_per_s"] = {name: round((now - before[name]) / 3 * 1000, 1)
                                        for name, now in self.cpu().items()}
        if "latency" in phases:
            out["latency"] = self.latency()
        if "unary" in phases:
            out["unary"] = self.saturate(args.rounds, args.seconds)
        if "large" in phases:
            out["large"] = {"prompt_bytes": args.large_bytes, **self.saturate(1, 5, prompt_bytes=args.large_bytes)}
        if "burst" in phases:
            out["burst"] = {"events": args.events, **self.saturate(2, 5, stream=True)}
        if "paced" in phases:
            out["paced"] = self.paced_streams()
        if "ttft" in phases:
            out["ttft"] = self.ttft()
        if "hold" in phases:
            out["hold"] = self.hold()
        out["memory_mb_after"] = self.memory()
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return {"name": args.name, "api": args.api, "url": self.url, "when": when,
                "prompt_bytes": args.prompt_bytes, "conns": args.conns, "drain_s": args.drain, **out}


def start_mock(args):
    parts = urlsplit(args.mock)
    with socket.socket() as s:
        if s.connect_ex((parts.hostname, parts.port)) == 0:
            return None
    process = subprocess.Popen(["taskset", "-c", str(LOAD_CPU), sys.executable, os.path.join(HERE, "mock_upstream.py"),
                                "--host", parts.hostname, "--port", str(parts.port)], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("--pid", type=int, action="append", default=[], help="a root of the gateway's process tree")
    parser.add_argument("--sidecar", action="append", default=[], metavar="NAME=PID", help="counted apart and in total")
    parser.add_argument("--url", help="http://127.0.0.1:PORT (the API's usual path is added) or a full URL")
    parser.add_argument("--api", choices=list(load.PATHS), default="anthropic")
    parser.add_argument("--model", help="the model name that the gateway routes to the mock")
    parser.add_argument("--header", action="append", default=[], help="'name: value', or 'name:' to drop a default one")
    parser.add_argument("--mock", default="http://127.0.0.1:9100")
    parser.add_argument("--lock", default=os.environ.get("BENCH_LOCK", LOCK),
                        help="held while it measures, so that two of them wait for each other; %(default)s")
    parser.add_argument("--phases", help="comma-separated; all by default")
    parser.add_argument("--conns", type=int, default=32)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=4)
    parser.add_argument("--drain", type=float, default=1.0)
    parser.add_argument("--prompt-bytes", type=int, default=2048)
    parser.add_argument("--large-bytes", type=int, default=65536)
    parser.add_argument("--events", type=int, default=64)
    parser.add_argument("--delay-ms", type=float, default=20.0)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--hold", type=int, default=500)
    parser.add_argument("--hold-ramp", type=float, default=5.0)
    parser.add_argument("--out", help="append the JSON as one line to this file")
    args = parser.parse_args()
    args.url = args.url or args.mock
    for url in (args.url, args.mock):
        if urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1"):
            parser.error(f"{url} is not on this machine")
    mock = start_mock(args)
    try:
        result = Bench(args).run()
    finally:
        if mock:
            mock.terminate()
            mock.wait()
    if args.out:
        with open(args.out, "a") as f:
            f.write(json.dumps(result) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
