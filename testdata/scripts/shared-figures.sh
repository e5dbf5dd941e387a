#!/usr/bin/env bash
# Measures maps on PostgreSQL: 1,000,000 entries loaded, seen by five followers, looked up while the
# map is switched and while the server is gone. Starts a server of its own in a temporary folder.
#
#     testdata/scripts/shared-figures.sh [FOLDER OF THE PROGRAMS [ENTRIES [SECONDS WITHOUT THE SERVER]]]
set -euo pipefail
cd "$(dirname "$0")/../.."
programs=$(realpath "${1:-target/release}")
entries=${2:-1000000}
outage=${3:-60}
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
work=$(mktemp -d)
chmod 755 "$work"
as=()
if [ "$(id -u)" = 0 ]; then
    as=(setpriv --reuid postgres --regid postgres --clear-groups)
    chown postgres "$work"
fi
cd "$work"
server() { "${as[@]}" "$bin/pg_ctl" -D "$work/data" "$@" >/dev/null; }
start() { server -w -l "$work/log" -o "-c listen_addresses= -c unix_socket_directories=$work" start; }
sql() { "${as[@]}" "$bin/psql" -h "$work" -U mail -d postgres -XAtqc "$1"; }
followers=()
end() {
    [ ${#followers[@]} = 0 ] || kill "${followers[@]}" 2>/dev/null || true
    server -m immediate stop 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT

"${as[@]}" "$bin/initdb" -D "$work/data" -U mail -A trust --locale=C -E UTF8 >/dev/null
start
source() { awk -v n="$entries" -v v="$1" 'BEGIN { for (i = 0; i < n; i++) printf "From:host%d.example\tERROR:5.7.1:550 build %s\n", i, v }'; }
for host in writer 1 2 3 4 5; do
    mkdir "$host"
    printf 'host %s\nuser mail\ndatabase postgres\nkeep 2\n' "$work" > "$host/access.pgsql"
done
seconds() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", b - a }'; }
load() {
    source "$1" > source.txt
    local before; before=$(date +%s.%N)
    (cd writer && "$programs/makemap" pgsql access < ../source.txt)
    seconds "$before" "$(date +%s.%N)"
}

echo "$entries entries, $(nproc) processors"
echo "makemap pgsql:access, first load:     $(load 1) s"
before=$(date +%s.%N)
(cd writer && "$programs/makemap" hash local < ../source.txt)
echo "makemap hash:access, for comparison:  $(seconds "$before" "$(date +%s.%N)") s"
for host in 1 2 3 4 5; do
    (cd "$host" && exec "$programs/mapremote" follow --json access.pgsql > follow.log) &
    followers+=($!)
done
seen() { # until all five hold generation $1
    for host in 1 2 3 4 5; do
        until grep -q "\"generation\":$1[,}]" "$host/follow.log"; do sleep 0.05; done
    done
}
seen 1
echo "makemap pgsql:access, everything new: $(load 2) s"
seen 2
sed -i '3s/build 2/build 3/' source.txt
before=$(date +%s.%N)
(cd writer && "$programs/makemap" pgsql access < ../source.txt)
echo "makemap pgsql:access, one line new:   $(seconds "$before" "$(date +%s.%N)") s"
seen 3
before=$(date +%s.%N)
(cd writer && "$programs/editmap" -u pgsql access from:new.example REJECT)
echo "editmap pgsql:access:                 $(seconds "$before" "$(date +%s.%N)") s"
seen 4
echo "followers, seconds since the commit (and to take it), generations 1 to 4:"
for host in 1 2 3 4 5; do
    grep published "$host/follow.log" | sed 's/.*"lag_seconds":\([0-9.]*\).*"took_seconds":\([0-9.]*\).*/\1 (\2)/' |
        awk -v h="$host" '{ printf "%s%.2f %s", NR == 1 ? "  host " h ": " : ", ", $1, $2 } END { print "" }'
done
server -m immediate stop
before=$(date +%s)
asked=0 wrong=0
while [ $(($(date +%s) - before)) -lt "$outage" ]; do
    for host in 1 2 3 4 5; do
        key=$((RANDOM * 30 % entries))
        asked=$((asked + 1))
        (cd "$host" && "$programs/mapctl" query pgsql:access "From:host$key.example") > answer || wrong=$((wrong + 1))
        grep -q "^from:host$key.example" answer || wrong=$((wrong + 1))
    done
done
echo "without the server for $outage s: $asked lookups on five hosts, $wrong failed"
start
(cd writer && "$programs/editmap" -u pgsql access from:later.example REJECT)
seen 5
echo "and all five followed again"
