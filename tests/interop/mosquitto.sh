#!/usr/bin/env bash
# The interop scenario with mosquitto_pub and mosquitto_sub.
set -euo pipefail
host=$1 port=$2
case $3 in 3.1) version=mqttv31 ;; 3.1.1) version=mqttv311 ;; 5) version=mqttv5 ;; esac
prefix=mosquitto-$3
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

pub() { mosquitto_pub -h "$host" -p "$port" -V "$version" "$@"; }
sub() { timeout 20 stdbuf -oL mosquitto_sub -h "$host" -p "$port" -V "$version" "$@"; }
# Waits until mosquitto_sub (with -d, its output in $1) has its SUBACK.
subscribed() { for _ in $(seq 200); do grep -q "^Subscribed" "$1" 2>/dev/null && return; sleep 0.02; done; echo "no SUBACK" >&2; exit 1; }
step() { echo "ok $*"; }

pub -t "$prefix/connect" -n
step connect

for qos in 0 1 2; do
    sub -t "$prefix/qos$qos" -q $qos -C 20 -d -F '%q %p' >"$work/qos$qos" &
    subscribed "$work/qos$qos"
    seq 20 | pub -t "$prefix/qos$qos" -q $qos -l
    wait $!
    diff <(grep "^$qos " "$work/qos$qos") <(seq -f "$qos %g" 20)
    step "qos $qos"
done

pub -t "$prefix/retained" -q 1 -r -m kept
test "$(sub -t "$prefix/retained" -q 1 -C 1 -F '%r %p')" = "1 kept"
pub -t "$prefix/retained" -q 1 -r -n
test -z "$(sub -t "$prefix/retained" -q 1 -W 1 -F '%r %p' || true)"
step retained

sub -t "$prefix/will" -q 1 -C 1 -d -F 'W %p' >"$work/will" &
watcher=$!
subscribed "$work/will"
stdbuf -oL mosquitto_sub -h "$host" -p "$port" -V "$version" -t "$prefix/none" -d --will-topic "$prefix/will" --will-payload gone --will-qos 1 >"$work/mortal" &
mortal=$!
subscribed "$work/mortal"
kill -9 $mortal
wait $mortal 2>/dev/null || true
wait $watcher
grep -qx 'W gone' "$work/will"
step will

for member in 1 2; do
    sub -t "\$share/$prefix/$prefix/shared" -q 1 -C 10 -d -F 'S %p' >"$work/member$member" &
    members[$member]=$!
    subscribed "$work/member$member"
done
seq 20 | pub -t "$prefix/shared" -q 1 -l
wait "${members[1]}" "${members[2]}"
diff <(grep -h '^S ' "$work/member1" "$work/member2" | sort -k2n) <(seq -f 'S %g' 20)
step shared

persist=(-i "$prefix-persistent" -c)
[ "$version" = mqttv5 ] && persist+=(-x 60)
sub "${persist[@]}" -t "$prefix/resume" -q 2 -E >/dev/null
pub -t "$prefix/resume" -q 1 -m 'while away 1'
pub -t "$prefix/resume" -q 2 -m 'while away 2'
diff <(sub "${persist[@]}" -t "$prefix/resume" -q 2 -C 2 -F '%q %p') <(printf '1 while away 1\n2 while away 2\n')
sub -i "$prefix-persistent" -t "$prefix/resume" -E >/dev/null
step resume
