#!/usr/bin/env bash
# Measures maps on PostgreSQL: 1,000,000 entries loaded, seen by one follower and by five, looked up
# while the server is gone. Starts a server of its own in a temporary folder.
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
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.2f s", b - a }'; }
timed() { # what it is called, and the command of the writer
    local before; before=$(now)
    (cd writer && "${@:2}")
    printf '%-38s%s\n' "$1:" "$(since "$before")"
}
makemap() { "$programs/makemap" "$@" < ../source.txt; }
generation=0
load() {
    source $((generation + 1)) > source.txt
    timed "makemap pgsql:access, $1" makemap pgsql access
    generation=$((generation + 1))
}
seen() { # until these hosts hold the newest generation
    for host in "$@"; do
        until grep -q "\"generation\":$generation[,}]" "$host/follow.log" 2> /dev/null; do sleep 0.05; done
    done
}
settled() { # until nobody but so many followers is connected
    local connections="SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mapremote'"
    until [ "$(sql "$connections")" = "$1" ]; do sleep 0.2; done
}
follow() {
    for host in "$@"; do
        (cd "$host" && exec "$programs/mapremote" follow --json access.pgsql > follow.log) &
        followers+=($!)
    done
    seen "$@"
}
changes() { # everything, then one line of the source, then one key, each seen by these hosts
    load "everything new"
    seen "$@"
    sed -i "3s/build .*/build, changed $generation times/" source.txt
    timed "makemap pgsql:access, one line new" makemap pgsql access
    generation=$((generation + 1))
    seen "$@"
    timed "editmap pgsql:access" "$programs/editmap" -u pgsql access "from:new$generation.example" REJECT
    generation=$((generation + 1))
    seen "$@"
    settled $#
    echo "followers, seconds since the commit (until it began + to fetch + to publish), of each of these:"
    for host in "$@"; do
        grep published "$host/follow.log" | tail -n 3 | sed 's/[{}"]//g' | tr ':' ' ' | awk -v RS='[,\n]' -v h="$host" '
            { value[$1] = $2 }
            $1 == "took_seconds" {
                printf "%s%.2f (%.2f + %.2f + %.2f)", n++ ? ", " : "  host " h ": ", value["lag_seconds"],
                    value["began_seconds"], value["fetch_seconds"], value["publish_seconds"]
            }
            END { print "" }'
    done
}

echo "$entries entries, $(nproc) processors, load $(cut -d' ' -f1 /proc/loadavg)"
load "first load"
timed "makemap hash, for comparison" makemap hash local
TIMEFORMAT="mapremote follow --once:               %R s, %U s of CPU in the program, %S s in the system"
{ time (cd 1 && "$programs/mapremote" follow --once access.pgsql > /dev/null); } 2>&1
echo "one follower, as each of several hosts has one:"
follow 1
changes 1
echo "five followers on this machine and its disk:"
follow 2 3 4 5
changes 1 2 3 4 5
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
generation=$((generation + 1))
seen 1 2 3 4 5
echo "and all five followed again"
