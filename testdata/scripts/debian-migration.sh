#!/bin/sh
# The README's chapter "From Debian's sendmail in ten minutes", tried: a Debian machine with sendmail as
# its package sets it up, an administrator's additions, mail by the old programs, the change step by
# step, mail by the new ones, and the way back.
#
# usage: debian-migration.sh DIR     DIR holds the built programs
#
# The machine is made once, by debootstrap from MIRROR in MACHINE (/var/tmp/debian-migration), some
# 600 MB; each run works on an overlay of it in mount, network, process and host name namespaces of its
# own. Skips, with exit code 0, where debootstrap or the network is missing. Prints a line a check;
# exits 1 if one failed. KEEP=1 starts a shell in the machine before the way back.
set -u
MACHINE=${MACHINE:-/var/tmp/debian-migration}
MIRROR=${MIRROR:-http://deb.debian.org/debian}
BIN=$(cd "${1:?usage: debian-migration.sh DIR}" && pwd)
HERE=$(cd "$(dirname "$0")/../.." && pwd)
SELF=$HERE/testdata/scripts/$(basename "$0")
PROGRAMS="makemap editmap praliases newaliases sendmail smtpd mailq mapctl mapremote saslpasswd2 sasldblistusers2 saslauthd testsaslauthd"
skip() { echo "skipped: $*"; exit 0; }
[ "$(id -u)" = 0 ] || skip "must be root: namespaces and a chroot are needed"
for program in $PROGRAMS; do [ -x "$BIN/$program" ] || { echo "no $BIN/$program" >&2; exit 2; }; done

if [ "${MIGRATION_INSIDE:-}" = "" ] && [ ! -f "$MACHINE/made" ]; then
    command -v debootstrap >/dev/null || skip "no debootstrap"
    rm -rf "${MACHINE:?}/root"
    mkdir -p "$MACHINE"
    debootstrap --variant=minbase --include=ca-certificates,procps bookworm "$MACHINE/root" "$MIRROR" \
        > "$MACHINE/log" 2>&1 || skip "debootstrap failed (see $MACHINE/log)"
    cp /etc/resolv.conf "$MACHINE/root/etc/resolv.conf"
    printf '#!/bin/sh\nexit 101\n' > "$MACHINE/root/usr/sbin/policy-rc.d"
    chmod 755 "$MACHINE/root/usr/sbin/policy-rc.d"
    # Without a qualified name sendmail's package waits a minute at each step.
    printf '127.0.0.1 localhost\n127.0.1.1 mail.example.org mail\n' > "$MACHINE/root/etc/hosts"
    echo mail > "$MACHINE/root/etc/hostname"
    echo example.org > "$MACHINE/root/etc/mailname"
    unshare -mu sh -c "mount -t proc proc '$MACHINE/root/proc' && hostname mail.example.org && chroot '$MACHINE/root' sh -c '
        export DEBIAN_FRONTEND=noninteractive LC_ALL=C
        apt-get update -q && apt-get install -qy sendmail sasl2-bin libsasl2-modules bsd-mailx openssl make python3 swaks iproute2'" \
        >> "$MACHINE/log" 2>&1 || skip "the packages can't be installed (see $MACHINE/log)"
    touch "$MACHINE/made"
fi

if [ "${MIGRATION_INSIDE:-}" = "" ]; then
    MIGRATION_INSIDE=outside MACHINE=$MACHINE exec unshare -mnupf --mount-proc "$SELF" "$BIN"
fi
if [ "$MIGRATION_INSIDE" = outside ]; then
    W=$(mktemp -d /var/tmp/debian-migration-run.XXXXXX)
    trap 'umount -lR "$W"; rmdir "$W"' EXIT
    mount --make-rprivate /
    mount -t tmpfs tmpfs "$W"
    mkdir "$W/up" "$W/work" "$W/root"
    mount -t overlay overlay -o "lowerdir=$MACHINE/root,upperdir=$W/up,workdir=$W/work" "$W/root" || exit 2
    mount -t proc proc "$W/root/proc"
    mount --rbind /dev "$W/root/dev"
    mkdir -p "$W/root/suite/target/release" "$W/root/suite/testdata/scripts"
    for program in $PROGRAMS; do cp "$BIN/$program" "$W/root/suite/target/release/"; done
    mkdir -p "$W/root/suite/bins/smtpd"
    cp -r "$HERE/bins/smtpd/systemd" "$W/root/suite/bins/smtpd/"
    cp "$HERE/README.md" "$W/root/suite/"
    cp -r "$HERE/man" "$W/root/suite/"
    cp "$SELF" "$W/root/suite/testdata/scripts/"
    ip link set lo up
    hostname mail.example.org
    MIGRATION_INSIDE=machine KEEP=${KEEP:-} chroot "$W/root" "/suite/testdata/scripts/$(basename "$SELF")" /suite/target/release
    exit
fi

# From here on on the machine.
cd /
export LC_ALL=C
FAILED=0
check() { # name, then a command
    name=$1
    shift
    if "$@" > /tmp/check.out 2>&1; then echo "ok   $name"; else
        echo "FAIL $name"
        sed 's/^/     /' /tmp/check.out | head -30
        FAILED=1
    fi
}
for_a_while() { # a command that shall succeed within some seconds
    for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return 0; sleep 0.2; done
    "$@"
}
said() { for_a_while sh -c "$1"; }

# -- what an administrator had added to it
printf '127.0.0.1 localhost\n127.0.1.1 mail.example.org mail\n127.0.0.9 smart.example.net\n127.0.0.10 late.example.net\n127.0.0.1 example.org\n' > /etc/hosts
echo 'nameserver 127.0.0.1' > /etc/resolv.conf
for user in alice bob carol; do useradd -m -s /bin/bash $user; done
sed -i -e 's/^FEATURE(`no_default_msa.*/FEATURE(`no_default_msa'"'"')dnl/' \
    -e 's/^MAILER_DEFINITIONS/FEATURE(`mailertable'"'"')dnl\nFEATURE(`virtusertable'"'"')dnl\nVIRTUSER_DOMAIN(`virtual.example'"'"')dnl\nFEATURE(`accept_unresolvable_domains'"'"')dnl\nFEATURE(`nocanonify'"'"')dnl\ndefine(`SMART_HOST'"'"', `esmtp:[smart.example.net]'"'"')dnl\ninclude(`\/etc\/mail\/tls\/starttls.m4'"'"')dnl\ninclude(`\/etc\/mail\/sasl\/sasl.m4'"'"')dnl\n&/' \
    -e '/greet_pause/d' /etc/mail/sendmail.mc
printf 'example.org\nmail.example.org\nvirtual.example\n' > /etc/mail/local-host-names
printf 'From:spam.example\tREJECT\nTo:blocked@example.org\t"550 5.2.1 no more"\nConnect:10.1\tRELAY\n' >> /etc/mail/access
printf 'late.example\tesmtp:[late.example.net]\npartner.example\tesmtp:[smart.example.net]\n' > /etc/mail/mailertable
printf 'info@virtual.example\talice\n@virtual.example\tbob\n' > /etc/mail/virtusertable
printf 'root: alice\nstaff: :include:/etc/mail/staff\nowner-staff: alice\nhelp: alice, bob\n' >> /etc/aliases
printf 'bob\ncarol\n' > /etc/mail/staff
chown root:smmsp /etc/mail/staff
sed -i 's/^pwcheck_method.*/pwcheck_method: auxprop/' /etc/mail/sasl/Sendmail.conf.2
echo secret-of-alice | saslpasswd2 -p -c -u mail.example.org alice
cp /etc/mail/service.switch-nodns /etc/mail/service.switch
# The first run finds the new maps and writes rules for them into the Makefile.
{ make -C /etc/mail; make -C /etc/mail; } > /tmp/make-old.log 2>&1
newaliases > /tmp/newaliases-old.log 2>&1
mkdir -p /run/sendmail
check "the old files are Berkeley's" sh -c 'for f in /etc/mail/access.db /etc/mail/aliases.db /etc/mail/virtusertable.db /etc/mail/mailertable.db /etc/sasldb2; do
    od -An -tx4 -j12 -N4 $f | grep -q 00061561 || { echo $f; exit 1; }; done'

# The smart host: takes everything and keeps it.
cat > /tmp/sink.py <<'END'
import socketserver, threading, sys
class Session(socketserver.StreamRequestHandler):
    def handle(self):
        say = lambda text: self.wfile.write(text.encode() + b"\r\n")
        say("220 sink ESMTP")
        while line := self.rfile.readline():
            word = line.strip().upper()
            if word.startswith(b"EHLO"): say("250-sink\r\n250 8BITMIME")
            elif word.startswith(b"RCPT") and b"NOBODY@" in word: say("550 5.1.1 no such user here")
            elif word == b"DATA":
                say("354 go")
                lines = []
                while (text := self.rfile.readline()) not in (b".\r\n", b""): lines.append(text)
                with open("/tmp/sink.mail", "ab") as out: out.writelines(lines + [b"\r\n"])
                say("250 2.0.0 kept")
            elif word == b"QUIT": say("221 bye"); return
            else: say("250 2.0.0 ok")
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer((sys.argv[1], 25), Session).serve_forever()
END
: > /tmp/sink.mail
python3 /tmp/sink.py 127.0.0.9 & SINK=$!
trap 'kill $(jobs -p) 2>/dev/null' EXIT

# -- the old sendmail lives
/usr/sbin/sendmail-mta -Am -bd -q10m
check "old: greets" said 'swaks --server 127.0.0.1 --quit-after EHLO | grep -q AUTH'
su alice -c 'echo old-local | mail -s old bob'
su alice -c 'echo old-relayed | mail -s old x@other.example'
check "old: delivers" said 'grep -q old-local /var/mail/bob && grep -q old-relayed /tmp/sink.mail'
su alice -c 'echo waits-in-mqueue | mail -s waiting x@late.example'
check "old: a message waits" said 'ls /var/spool/mqueue/qf* && grep -rq waits-in-mqueue /var/spool/mqueue'
pkill -x sendmail-mta
for_a_while sh -c '! pgrep -x sendmail-mta'
su bob -c 'echo waits-in-client-queue | mail -s waiting carol'
check "old: a message waits in the client queue" said 'grep -rq waits-in-client-queue /var/spool/mqueue-client'


# -- the chapter's commands, block by block
# No systemd runs here: this does what the chapter wants of it.
cat > /usr/local/bin/systemctl <<'END'
#!/bin/sh
case "$*" in
    "mask --now sendmail" | "unmask sendmail" | daemon-reload) ;;
    "enable --now smtpd")
        command=$(sed -n 's/^ExecStart=//p' /etc/systemd/system/smtpd.service)
        setsid ${command% --log journal} >> /var/log/smtpd 2>&1 < /dev/null &
        for _ in $(seq 100); do grep -qw ready /var/log/smtpd && exit; sleep 0.2; done
        exit 1 ;;
    "disable --now smtpd") pkill -x smtpd; while pgrep -x smtpd > /dev/null; do sleep 0.2; done ;;
    "start sendmail") /usr/sbin/sendmail-mta -Am -bd -q10m ;;
    *) echo "systemctl $*?" >&2; exit 1 ;;
esac
END
chmod 755 /usr/local/bin/systemctl
chapter() { # the number of a block: print it
    awk -v wanted="$1" '/^## /{ here = /^## From Debian/ } here && /^```/ { inside = !inside; if (inside) n++; next }
        here && inside && n == wanted' /suite/README.md
}
follow() { # name, number of the block
    chapter "$2" > /tmp/block
    check "chapter: $1" sh -c 'cd /suite/target/release && test -s /tmp/block && sh -e /tmp/block'
}
follow "look" 1
check "look: no errors, TLS and logins" sh -c 'cd /suite/target/release && ./mapctl check | grep -q "^no errors" && ./smtpd check | grep -qx "tls ready" && ./smtpd check | grep "auth in clear" | grep -q CRAM-MD5'
follow "stop" 2
follow "install" 3
check "old: the rest of its queues is still there" sh -c 'grep -rq waits-in-mqueue /var/spool/mqueue && grep -rq waits-in-client-queue /var/spool/mqueue-client'
before=$(/usr/libexec/sendmail/makemap.debian -u hash /etc/mail/access | sort)
follow "convert" 4
check "maps say what they said" test "$before" = "$(makemap -u hash /etc/mail/access | sort)"
check "owner and mode are kept" sh -c 'stat -c "%U %G %a" /etc/mail/access.db | tee /dev/stderr | grep -qx "smmta smmsp 640"'
follow "start, old queues" 5

# -- the new server lives
check "strangers talk to smmta, not to root" sh -c 'ps -o user= -C smtpd | sort -u | tr -d "\n " | tee /dev/stderr | grep -qx smmta'
check "its queue is smmta's" sh -c 'stat -c %U /var/spool/mqueue /var/spool/mqueue/queue.redb | sort -u | tee /dev/stderr | grep -qx smmta'
check "nothing is denied it" sh -c '! grep -i "denied\|kept as it was\|not confined" /var/log/smtpd'
check "what waited for a mailbox has come" said 'grep -q waits-in-client-queue /var/mail/carol'
check "what waited for another host waits" said 'mailq | grep -q late.example'
check "the old queues are empty" sh -c '! find /var/spool/mqueue /var/spool/mqueue-client -name "qf*" | grep .'
su alice -c 'echo new-local | mail -s new bob'
su alice -c 'echo new-list | mail -s new staff'
check "mail(1): to a user and a list" said 'grep -q new-local /var/mail/bob && grep -q new-list /var/mail/bob && grep -q new-list /var/mail/carol'
check "a new mailbox is its user's" sh -c 'stat -c "%U %G %a" /var/mail/carol | tee /dev/stderr | grep -qx "carol mail 6[06]0"'
check "submission: without a login nothing" sh -c 'swaks --server 127.0.0.1 --port 587 --from alice@example.org --to bob@example.org | grep "530 5.7.0"'
for mechanism in CRAM-MD5 LOGIN PLAIN; do
    check "submission: STARTTLS and $mechanism" swaks --server 127.0.0.1 --port 587 -tls --auth $mechanism \
        --auth-user alice@mail.example.org --auth-password secret-of-alice --from alice@example.org --to x@other.example \
        --body "new-relayed-$mechanism"
    check "to the smart host ($mechanism)" said "grep -q new-relayed-$mechanism /tmp/sink.mail"
done
check "a wrong password" sh -c 'swaks --server 127.0.0.1 --port 587 -tls --auth CRAM-MD5 --auth-user alice@mail.example.org --auth-password wrong \
    --from alice@example.org --to x@other.example | grep "535 5.7"'
check "virtual users" sh -c 'swaks --server 127.0.0.1 --from y@other.example --to any@virtual.example --body new-virtual | grep "250 2.0.0"'
check "virtual users: delivered" said 'grep -q new-virtual /var/mail/bob'
check "access: REJECT" sh -c 'swaks --server 127.0.0.1 --from y@spam.example --to bob@example.org | grep "550 5.7.1"'
su bob -c 'echo new-bounce | mail -s new nobody@other.example'
check "a bounce" said 'grep -q "User unknown\|no such user here" /var/mail/bob'
printf 'From:late-spam.example\tREJECT\n' >> /etc/mail/access
check "make -C /etc/mail" make -C /etc/mail
check "its map counts at once" sh -c 'swaks --server 127.0.0.1 --from y@late-spam.example --to bob@example.org | grep "550 5.7.1"'
printf 'fresh: carol\n' >> /etc/aliases
check "newaliases" newaliases
check "its alias counts at once" sh -c 'swaks --server 127.0.0.1 --from y@other.example --to fresh@example.org --body new-fresh | grep "250 2.0.0"'
check "its alias: delivered" said 'grep -q new-fresh /var/mail/carol'
check "sendmailconfig" sh -c 'yes | sendmailconfig --no-reload'
check "cron's call of the client queue says nothing" sh -c 'test -z "$(su smmsp -s /bin/sh -c "/usr/share/sendmail/sendmail cron-msp" 2>&1 | tee /dev/stderr)"'
check "Debian's mailq" sh -c '/usr/bin/mailq | tee /dev/stderr | grep -q late.example'
check "Debian's mailq takes no verbs" sh -c '/usr/bin/mailq hold x | tee /dev/stderr | grep -q "mapctl queue hold"'
ID=$(mailq --json | sed -n 's/.*"id":"\([^"]*\)".*/\1/p' | head -1)
check "mapctl queue hold" sh -c "mapctl queue hold $ID && mailq | grep -q '^${ID}H'"
check "mapctl queue show" sh -c "mapctl queue show $ID | grep -q waits-in-mqueue && mapctl --json queue list | grep -q '\"Held\"'"
check "mapctl queue release" sh -c "mapctl queue release $ID && ! mailq | grep -q '^${ID}H'"
su alice -c 'echo to-be-removed | mail -s new y@late.example'
said 'mailq | grep -q "y@late.example"'
ID=$(mailq --json | grep y@late.example | sed -n 's/.*"id":"\([^"]*\)".*/\1/p')
for_a_while mapctl queue remove $ID
check "mapctl queue remove" sh -c '! mailq | grep -q y@late.example'
check "a list that waits says for whom" sh -c 'printf "bob\nz@late.example\n" > /etc/mail/staff; su alice -c "echo part | mail -s new staff"
    for _ in $(seq 100); do mailq | grep -q z@late.example && break; sleep 0.2; done; mailq | tee /dev/stderr | grep -q z@late.example && ! mailq | grep -q "<staff@"'
check "the log says who got it" sh -c 'grep -q "to=bob, orig_to=<staff@" /var/log/smtpd && grep -q "to=z@late.example, orig_to=<staff@" /var/log/smtpd'
pkill -x smtpd; for_a_while sh -c '! pgrep -x smtpd'
check "without a server: sendmail -q" sendmail -q
check "without a server: a faulty sendmail.mc is not acted on" sh -c 'cp -p /etc/mail/sendmail.mc /tmp/good.mc; echo "define(\`X'"'"', \`unfinished" >> /etc/mail/sendmail.mc
    sendmail -q; code=$?; cp -p /tmp/good.mc /etc/mail/sendmail.mc; test $code = 78 && mailq | grep -q late.example'
check "without a server: sendmail -bd starts it" sh -c 'sendmail -bd -q10m && swaks --server 127.0.0.1 --quit-after EHLO | tee /dev/stderr | grep -q AUTH && pgrep -x smtpd'
for package in sendmail-bin sasl2-bin; do
    deb=$(ls /var/cache/apt/archives/${package}_*.deb 2>/dev/null | head -1)
    [ -z "$deb" ] || check "an upgrade of $package leaves the programs" sh -c "dpkg -i $deb && cmp /suite/target/release/makemap /usr/libexec/sendmail/makemap && cmp /suite/target/release/saslpasswd2 /usr/sbin/saslpasswd2"
done
check "rights after the upgrade" sh -c 'stat -L -c "%U %G %a" /usr/sbin/sendmail | tee /dev/stderr | grep -qx "root smmsp 2755"'

# -- the way back
[ "${KEEP:-}" = 1 ] && bash
follow "way back" 6
check "the way back: what waits goes along" sh -c 'ls -A /root/waiting | tee /dev/stderr | wc -l | grep -qx 0 && ls /var/spool/mqueue/qf*'
python3 /tmp/sink.py 127.0.0.10 &
for_a_while swaks --server 127.0.0.10 --quit-after EHLO
check "what waited goes when its host is back" sh -c '/usr/lib/sendmail -Am -qf; for _ in $(seq 100); do
    grep -q waits-in-mqueue /tmp/sink.mail && grep -q "^part" /tmp/sink.mail && exit; sleep 0.2; done; mailq; exit 1'
check "and once" sh -c 'grep -c waits-in-mqueue /tmp/sink.mail | grep -qx 1'
check "old again: greets" said 'swaks --server 127.0.0.1 --quit-after EHLO | grep -q Sendmail'
su alice -c 'echo back-again | mail -s back bob'
check "old again: delivers" said 'grep -q back-again /var/mail/bob'
check "old again: logins" swaks --server 127.0.0.1 --port 587 -tls --auth CRAM-MD5 --auth-user alice@mail.example.org \
    --auth-password secret-of-alice --from alice@example.org --to x@other.example --body back-login
check "nothing is diverted" sh -c '! dpkg-divert --list | grep local'
exit $FAILED
