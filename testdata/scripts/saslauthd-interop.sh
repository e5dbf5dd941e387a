#!/bin/sh
# Tries saslauthd and testsaslauthd with Debian's, and with a real account.
#
#     testdata/scripts/saslauthd-interop.sh [FOLDER WITH OUR PROGRAMS]
#
# Makes an account and a PAM service for the time it runs, so it wants root; it
# wants Debian's sasl2-bin as well. Where it can't run it says why and exits 77.
# Prints a line for each try; exits 1 if one failed.
set -u

bin=$(cd "${1:-target/debug}" 2>/dev/null && pwd) || { echo "no such folder: ${1:-target/debug}" >&2; exit 64; }
theirs=/usr/sbin
skip() { echo "skipped: $*"; exit 77; }
[ "$(id -u)" = 0 ] || skip "not root: no account can be made"
for program in saslauthd testsaslauthd; do
    [ -x "$bin/$program" ] || { echo "no $bin/$program: build it first" >&2; exit 64; }
done
for program in saslauthd testsaslauthd saslpasswd2; do
    [ -x "$theirs/$program" ] || skip "no $theirs/$program: install sasl2-bin"
done
command -v useradd >/dev/null && command -v chpasswd >/dev/null || skip "no useradd or chpasswd"

user=saslint$$
service=saslint$$
password='right horse "battery" \staple'
dir=$(mktemp -d)
daemon=
# Debian's may hang when it is told to end: it and its children are killed then.
stop() {
    [ -n "$daemon" ] || return
    kill "$daemon" 2>/dev/null
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        kill -0 "$daemon" 2>/dev/null || break
        sleep 0.2
    done
    kill -9 "-$daemon" 2>/dev/null
    wait "$daemon" 2>/dev/null
    daemon=
}
finish() {
    stop
    userdel "$user" 2>/dev/null
    rm -f "/etc/pam.d/$service"
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

useradd --no-create-home --shell /usr/sbin/nologin "$user" || skip "useradd failed"
printf '%s:%s\n' "$user" "$password" | chpasswd || skip "chpasswd failed"
case $(getent shadow "$user" | cut -d: -f2) in
    '$y$'*) scheme=yescrypt ;;
    *) scheme="another scheme than yescrypt" ;;
esac
cat >"/etc/pam.d/$service" <<PAM
auth    required pam_unix.so
account required pam_unix.so
PAM

failed=0
starts=0
# try WHAT WANTED-EXIT COMMAND...
try() {
    what=$1 want=$2
    shift 2
    "$@" >"$dir/out" 2>&1
    got=$?
    if [ "$got" = "$want" ]; then
        echo "ok    $what"
    else
        echo "FAIL  $what: exit $got, wanted $want: $(cat "$dir/out")"
        failed=1
    fi
}
# start PROGRAM MECHANISM [ARGUMENTS]: in a session of its own, since Debian's
# kills its process group when it ends.
start() {
    program=$1 mechanism=$2
    shift 2
    stop
    # A folder of its own too: a child of Debian's that ends late removes the socket.
    starts=$((starts + 1))
    run=$dir/run$starts
    mkdir -m 0700 "$run"
    # What the one before said is gone before it is looked for.
    : >"$dir/log"
    setsid "$program" -d -a "$mechanism" -m "$run" "$@" 2>"$dir/log" &
    daemon=$!
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        grep -q 'listening on socket' "$dir/log" && return
        sleep 0.2
    done
    echo "FAIL  $program -a $mechanism does not start: $(cat "$dir/log")"
    failed=1
}
# both LABEL USER REALM SERVICE: right and wrong password with either client.
both() {
    for client in "$theirs" "$bin"; do
        whose=our
        [ "$client" = "$theirs" ] && whose="Debian's"
        try "$1, right password, $whose client" 0 \
            "$client/testsaslauthd" -u "$2" -p "$password" -r "$3" -s "$4" -f "$run/mux"
        try "$1, wrong password, $whose client" 255 \
            "$client/testsaslauthd" -u "$2" -p "wrong" -r "$3" -s "$4" -f "$run/mux"
    done
}

start "$bin/saslauthd" pam
both "our pam" "$user" "" "$service"
try "our pam, unknown user" 255 \
    "$theirs/testsaslauthd" -u "no$user" -p "$password" -s "$service" -f "$run/mux"

start "$bin/saslauthd" shadow
both "our shadow ($scheme)" "$user" "" smtp

chage --expiredate 2001-01-01 "$user"
try "our shadow, account past its days" 255 \
    "$theirs/testsaslauthd" -u "$user" -p "$password" -f "$run/mux"
start "$bin/saslauthd" pam
try "our pam, account past its days" 255 \
    "$theirs/testsaslauthd" -u "$user" -p "$password" -s "$service" -f "$run/mux"
chage --expiredate -1 "$user"

mkdir -p "$dir/site/etc"
printf '%s\n' "$password" | "$theirs/saslpasswd2" -p -c -f "$dir/site/etc/sasldb2" -u example.org "$user"
start "$bin/saslauthd" sasldb --root "$dir/site"
both "our sasldb (Berkeley DB file)" "$user" example.org smtp
if [ -x "$bin/saslpasswd2" ]; then
    rm "$dir/site/etc/sasldb2"
    printf '%s\n' "$password" | "$bin/saslpasswd2" -p -c -f "$dir/site/etc/sasldb2" -u example.org "$user"
    both "our sasldb (our file)" "$user" example.org smtp
else
    echo "skip  our sasldb (our file): no $bin/saslpasswd2"
fi

start "$theirs/saslauthd" shadow
both "Debian's shadow" "$user" "" smtp
start "$theirs/saslauthd" pam
both "Debian's pam" "$user" "" "$service"

printf '%s\n' "$password" >"$dir/password"
exec 3<"$dir/password"
try "Debian's pam, our client, --password-fd" 0 \
    "$bin/testsaslauthd" -u "$user" -s "$service" -f "$run/mux" --password-fd 3
exit $failed
