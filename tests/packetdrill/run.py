#!/usr/bin/env python3
"""Runs packetdrill's own scripts against our TCP, and says which pass.

    tests/packetdrill/run.py PACKETDRILL [GROUP ...]

PACKETDRILL is a checkout of packetdrill, built in gtests/net/packetdrill. Each script runs in a network namespace of
its own, since scripts set what they want of the kernel: root is wanted, and unshare and ip. `results.txt` here has what
is known of each; what comes out otherwise is named at the end, and the exit status says whether there was any.
`--table` writes docs/tcp-packetdrill.md from it, and runs nothing.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RESULTS = HERE / "results.txt"
TABLE = ROOT / "docs" / "tcp-packetdrill.md"
OBJECT = ROOT / "target" / "debug" / "libpelton_packetdrill.so"

V4 = """--ip_version=ipv4 --local_ip=192.168.0.1 --gateway_ip=192.168.0.1 --netmask_ip=255.255.0.0 --remote_ip=192.0.2.1
 -D CMSG_LEVEL_IP=SOL_IP -D CMSG_TYPE_RECVERR=IP_RECVERR -D CODE=host_unreachable -D TFO_COOKIE=3021b9d889017eeb"""
V6 = """--ip_version=ipv6 --mtu=1520 --local_ip=fd3d:0a0b:17d6::1 --gateway_ip=fd3d:0a0b:17d6:8888::1
 --remote_ip=fd3d:fa7b:d17d::1 -D CMSG_LEVEL_IP=SOL_IPV6 -D CMSG_TYPE_RECVERR=IPV6_RECVERR
 -D TFO_COOKIE=c1d1e9742a47a9bc"""
SECONDS_MAX = 20
# The folders that are about what a server's TCP does.
SERVERS = (
    "close shutdown blocking fast_retransmit fast_recovery limited_transmit ts_recent sack slow_start mss user_timeout"
).split()
VERDICTS = ("pass", "other", "not offered")


def known():
    """The verdict and the reason of each script. One with a slash at the end stands for all of its folder."""
    found = {}
    for line in RESULTS.read_text().splitlines():
        if line and not line.startswith("#"):
            name, verdict, *reason = [part.strip() for part in line.split("|")]
            found[name] = (verdict, reason[0] if reason else "")
    return found


def of(name, found):
    """What is known of a script."""
    while name not in found and "/" in name.rstrip("/"):
        name = name.rstrip("/").rsplit("/", 1)[0] + "/"
    return found.get(name, ("unknown", ""))


def flags(script, v6):
    """The flags of the shared object that stand for what a script sets of the kernel."""
    text = script.read_text()
    chosen = ["mtu=1520"] if v6 else []
    if re.search(r"tcp_timestamps=0", text):
        chosen.append("timestamps=0")
    if ecn := re.search(r"tcp_ecn=(\d)", text):
        chosen.append(f"ecn={ecn[1]}")
    return ",".join(chosen)


def run(packetdrill, script, v6):
    """Whether a script passes, and what packetdrill said."""
    options = " ".join((V6 if v6 else V4).split())
    command = (
        f"ip link add tun0 type veth peer name tun1 && LD_PRELOAD={OBJECT} exec timeout -k 1 {SECONDS_MAX} {packetdrill}"
        f" --so_filename={OBJECT} --so_flags={flags(script, v6)} --send_omit_free {options} {script.name}"
    )
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", command], cwd=script.parent, capture_output=True, text=True, check=False
    )
    return done.returncode == 0, (done.stdout + done.stderr).strip()


def table():
    """The document."""
    found = known()
    rows, counts, folders = [], {}, {}
    for name, (verdict, reason) in found.items():
        if name.endswith("/"):
            number = int(re.match(r"\d+", reason).group())
            reason = reason.split(" ", 1)[1]
            rows.append(f"| `{name}` ({number} scripts) | {verdict} | {reason} |")
        else:
            number = 1
            rows.append(f"| `{name}` | {verdict} | {reason} |")
        folder = name.split("/")[0]
        for key, into in ((verdict, counts), ((folder if folder in SERVERS else "all others", verdict), folders)):
            into[key] = into.get(key, 0) + number
    head = (HERE / "results.md").read_text()
    summed = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in VERDICTS)
    lines = ["| folder | pass | other | not offered |", "|---|---|---|---|"]
    for folder in [*SERVERS, "all others"]:
        numbers = " | ".join(str(folders.get((folder, verdict), 0)) for verdict in VERDICTS)
        lines.append(f"| {folder} | {numbers} |")
    servers = sum(folders.get((folder, verdict), 0) for folder in SERVERS for verdict in VERDICTS)
    passed = sum(folders.get((folder, "pass"), 0) for folder in SERVERS)
    head = head.replace("{counts}", summed).replace("{folders}", "\n".join(lines))
    head = head.replace("{servers}", f"{passed} of {servers}")
    TABLE.write_text(head + "\n".join(["", "| script | | why |", "|---|---|---|", *rows, ""]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packetdrill", nargs="?", type=pathlib.Path)
    parser.add_argument("groups", nargs="*")
    parser.add_argument("--ipv6", action="store_true", help="over IPv6")
    parser.add_argument("--verbose", action="store_true", help="what packetdrill says of each that does not pass")
    parser.add_argument("--table", action="store_true", help="write the document")
    chosen = parser.parse_intermixed_args()
    if chosen.table:
        table()
        return 0
    if chosen.packetdrill is None:
        parser.error("a checkout of packetdrill is wanted")
    scripts = chosen.packetdrill.resolve() / "gtests" / "net" / "tcp"
    packetdrill = chosen.packetdrill.resolve() / "gtests" / "net" / "packetdrill" / "packetdrill"
    if not OBJECT.exists():
        sys.exit(f"{OBJECT} is not there: cargo build -p pelton-packetdrill")
    found, otherwise, passed, ran = known(), [], 0, 0
    for script in sorted(scripts.rglob("*.pkt")):
        name = str(script.relative_to(scripts))
        only_v4, only_v6 = name.endswith("v4.pkt"), name.endswith("v6.pkt")
        if chosen.groups and not any(name.startswith(group) for group in chosen.groups):
            continue
        if chosen.ipv6 and only_v4:
            continue
        good, said = run(packetdrill, script, chosen.ipv6 or only_v6)
        ran, passed = ran + 1, passed + good
        verdict, reason = of(name, found)
        print(f"{'pass' if good else verdict if verdict != 'pass' else 'FAIL'} {name}")
        if chosen.verbose and not good:
            print("    " + said.replace("\n", "\n    ")[:2000])
        if good != (verdict == "pass"):
            otherwise.append(name)
    print(f"{passed} of {ran} pass")
    for name in otherwise:
        print(f"not as in {RESULTS.name}: {name}")
    return 1 if otherwise else 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
