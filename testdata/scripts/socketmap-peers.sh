#!/bin/sh
# Real Postfix and real sendmail (Debian's) ask our maps, decisions and passwords: mapctl serve answers their
# lookups in aliases, virtusertable, mailertable and access, and Postfix's check_policy_service; saslauthd -D logs
# Postfix's clients in; smtpd asks a real Dovecot for passwords; then the rate of lookups is compared with Postfix's
# own proxy:lmdb: in the same run.
#
# usage: socketmap-peers.sh [--install] [--untimed] [--peers PEERS] DIR      DIR holds mapctl, makemap, newaliases,
#        saslpasswd2, saslauthd and smtpd; what the last three try is left out where they are missing
#
# --untimed prints the rate of lookups, and does not judge it: on a machine with other things to do.
# PEERS (/var/tmp/socketmap-peers) holds the unpacked packages. --install fetches what is missing by apt-get and
# unpacks it there; nothing is installed, and no package that is there is replaced. Everything runs as root in
# mount, network and host name namespaces of its own, so that neither files nor ports of this machine are
# touched. Prints a line a check; exits 1 if one failed, 2 if nothing could be tried.
set -u
PEERS=${PEERS:-/var/tmp/socketmap-peers} INSTALL= UNTIMED=${UNTIMED:-}
while :; do
    case ${1:-} in
        --install) INSTALL=1; shift ;;
        --untimed) UNTIMED=1; shift ;;
        --peers) PEERS=${2:?--peers DIR}; shift 2 ;;
        *) break ;;
    esac
done
BIN=$(cd "${1:?usage: socketmap-peers.sh [--install] [--peers PEERS] DIR}" && pwd)
[ "$(id -u)" = 0 ] || { echo "must be root: a namespace is needed" >&2; exit 2; }

if [ -n "$INSTALL" ]; then
    mkdir -p "$PEERS/packages" "$PEERS/root"
    cd "$PEERS/packages" || exit 2
    for wanted in postfix postfix-lmdb dovecot-core sendmail-bin sendmail-cf m4 iproute2 python3; do
        # What an installation would bring, its libraries among it; conflicts do not matter to unpacking.
        for package in $wanted $(apt-get -s install --no-install-recommends "$wanted" 2>/dev/null | awk '/^Inst/ { print $2 }'); do
            case $package in libc6|base-files) continue ;; esac
            ls "$package"_*.deb >/dev/null 2>&1 || apt-get download "$package" >/dev/null 2>&1 || echo "cannot fetch $package" >&2
        done
    done
    for package in *.deb; do dpkg -x "$package" "$PEERS/root"; done
    # sendmail's and Postfix's commands have the same names: each is called by its own path below.
    rm -f "$PEERS/root/usr/sbin/sendmail" "$PEERS/root/usr/bin/mailq" "$PEERS/root/usr/bin/newaliases"
    [ -d "$PEERS/root/lib" ] && [ ! -L "$PEERS/root/lib" ] && cp -a "$PEERS/root/lib/." "$PEERS/root/usr/lib/" && rm -rf "$PEERS/root/lib"
    cd - >/dev/null || exit 2
fi
for program in sbin/postfix libexec/sendmail/sendmail; do
    [ -x "$PEERS/root/usr/$program" ] || { echo "no $PEERS/root/usr/$program: run with --install first" >&2; exit 2; }
done

if [ "${SOCKETMAP_PEERS_INSIDE:-}" != 1 ]; then
    unshare -mnupf --mount-proc true || { echo "no namespace can be made here" >&2; exit 2; }
    SOCKETMAP_PEERS_INSIDE=1 PEERS=$PEERS UNTIMED=$UNTIMED exec unshare -mnupf --mount-proc "$0" "$BIN"
fi

# From here on in namespaces of our own.
W=$(mktemp -d /var/tmp/socketmap-peers-run.XXXXXX)
mount -t tmpfs tmpfs "$W" && chmod 755 "$W" && mkdir "$W/etc" "$W/etc.work" "$W/bin"
for program in mapctl makemap newaliases saslpasswd2 saslauthd smtpd; do cp "$BIN/$program" "$W/bin/" 2>/dev/null; done
BIN=$W/bin
mount -t overlay overlay -o "lowerdir=/usr:$PEERS/root/usr" /usr || exit 2
mount -t overlay overlay -o "lowerdir=/etc:$PEERS/root/etc,upperdir=$W/etc,workdir=$W/etc.work" /etc || exit 2
for folder in /var/spool /var/mail /var/lib /run; do mount -t tmpfs -o mode=755 tmpfs $folder; done
ip link set lo up
for n in 2 3 9; do ip addr add 127.0.0.$n/8 dev lo; done
ldconfig 2>/dev/null
trap 'kill $(jobs -p) 2>/dev/null; postfix stop 2>/dev/null; umount -l "$W"; rmdir "$W" 2>/dev/null' EXIT

SM=127.0.0.2 PF=127.0.0.3
printf '127.0.0.1 localhost\n127.0.0.8 host.example\n127.0.0.9 client.example\n%s sm.example\n%s pf.example\n' $SM $PF > /etc/hosts
hostname host.example
printf 'hosts: files\npasswd: files\ngroup: files\n' > /etc/nsswitch.conf
for user in postfix:5001 postdrop:5002 dovecot:5003 dovenull:5004 smmta:5006 smmsp:5007 joe:5010; do
    grep -q "^${user%:*}:" /etc/passwd || echo "${user%:*}:x:${user#*:}:${user#*:}::/nonexistent:/bin/false" >> /etc/passwd
    grep -q "^${user%:*}:" /etc/group || echo "${user%:*}:x:${user#*:}:" >> /etc/group
done

# -- our site, and the server on it
ROOT=$W/us
mkdir -p "$ROOT/etc/mail" /run/mapctl
cat > "$ROOT/etc/mail/sendmail.mc" <<END
OSTYPE(\`linux')dnl
define(\`confDOMAIN_NAME', \`us.example')dnl
define(\`ALIAS_FILE', \`/etc/mail/aliases')dnl
FEATURE(\`access_db', \`hash -T<TMPF> /etc/mail/access')dnl
FEATURE(\`blocklist_recipients')dnl
FEATURE(\`mailertable', \`hash /etc/mail/mailertable')dnl
FEATURE(\`virtusertable', \`hash /etc/mail/virtusertable')dnl
LOCAL_DOMAIN(\`pf.example sm.example')dnl
VIRTUSER_DOMAIN(\`shop.example')dnl
MAILER(\`local')dnl
MAILER(\`smtp')dnl
END
cat > "$ROOT/etc/mail/access" <<END
Connect:127.0.0.9	RELAY
From:spam.example	ERROR:5.7.1:550 We know you
From:held.example	QUARANTINE:look at this
To:gone@pf.example	ERROR:5.1.1:550 left the company
To:gone@sm.example	ERROR:5.1.1:550 left the company
AuthInfo:sm.example	"U:joe" "P:hush"
END
printf 'info@shop.example\tjoe@pf.example\n@shop.example\tsales@pf.example\nvirtual@sm.example\tsales\n' > "$ROOT/etc/mail/virtusertable"
printf 'far.example\tsmtp:[sm.example]\n.far.example\terror:5.7.0 this domain is closed\n' > "$ROOT/etc/mail/mailertable"
printf 'sales: joe, staff\nstaff: joe\npostmaster: joe\nmailer-daemon: joe\n' > "$ROOT/etc/mail/aliases"
echo 'hosts files' > "$ROOT/etc/mail/service.switch"
for table in access mailertable virtusertable; do "$BIN/makemap" hash "$ROOT/etc/mail/$table" < "$ROOT/etc/mail/$table"; done
"$BIN/newaliases" --root "$ROOT" >/dev/null
seq -f %.0f 1 100000 | sed 's/.*/key&@many.example value&@many.example/' > "$W/many"
mkdir "$ROOT/etc/many" && "$BIN/makemap" hash "$ROOT/etc/many/map" < "$W/many"
serve() {
    "$BIN/mapctl" serve --root "$ROOT" --socketmap unix:/run/mapctl/maps --policy unix:/run/mapctl/policy --socketmap inet:127.0.0.1:5461 \
        --socket-group postfix --map many=hash:/etc/many/map 2>>"$W/us.log" &
    SERVER=$!
}
serve

# -- Postfix
mkdir -p /var/spool/postfix /var/lib/postfix && chown postfix /var/lib/postfix
[ -f /etc/postfix/master.cf ] || cp /usr/share/postfix/master.cf.dist /etc/postfix/master.cf
sed -i 's/^\([a-z]*  *[a-z]*  *[-yn]  *[-yn]  *\)y /\1n /; s/^smtp  *inet .*/pf.example:25 inet n - n - - smtpd/' /etc/postfix/master.cf
grep -q '^postlog' /etc/postfix/master.cf || echo 'postlog unix-dgram n - n - 1 postlogd' >> /etc/postfix/master.cf
[ -f /etc/postfix/dynamicmaps.cf ] || cp /usr/share/postfix/dynamicmaps.cf /etc/postfix/ 2>/dev/null
grep -q '^lmdb' /etc/postfix/dynamicmaps.cf 2>/dev/null || echo 'lmdb postfix-lmdb.so dict_lmdb_open mkmap_lmdb_open' >> /etc/postfix/dynamicmaps.cf
cat > /etc/postfix/main.cf <<END
compatibility_level = 3.6
myhostname = pf.example
mydestination = pf.example
inet_interfaces = $PF
inet_protocols = ipv4
mynetworks =
alias_maps =
alias_database =
virtual_alias_domains = shop.example
# Postfix asks no socket in alias_maps, which may name programs and files.
virtual_alias_maps = socketmap:unix:/run/mapctl/maps:search-virtusertable, socketmap:unix:/run/mapctl/maps:search-aliases
transport_maps = socketmap:inet:127.0.0.1:5461:search-mailertable
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_recipient_restrictions = check_policy_service unix:/run/mapctl/policy
local_recipient_maps =
relay_domains = far.example
mail_spool_directory = /var/mail
proxy_read_maps = proxy:lmdb:/etc/postfix/many
smtp_host_lookup = native
disable_dns_lookups = yes
maillog_file = /dev/stdout
END
mkdir -p /var/mail && chmod 1777 /var/mail && install -o joe -m 600 /dev/null /var/mail/joe
cp "$W/many" /etc/postfix/many && postmap lmdb:/etc/postfix/many
postfix start-fg >"$W/postfix.log" 2>&1 &

# -- sendmail
mkdir -p /etc/peer /var/spool/mqueue && chmod 700 /var/spool/mqueue
cat > /etc/peer/peer.mc <<END
OSTYPE(\`linux')dnl
define(\`confDOMAIN_NAME', \`sm.example')dnl
define(\`confSERVICE_SWITCH_FILE', \`/etc/peer/service.switch')dnl
define(\`ALIAS_FILE', \`socket:unix:/run/mapctl/maps')dnl
define(\`confDONT_PROBE_INTERFACES', \`True')dnl
define(\`confDONT_BLAME_SENDMAIL', \`GroupWritableDirPathSafe')dnl
define(\`confPID_FILE', \`/run/sendmail-peer.pid')dnl
define(\`confDEF_USER_ID', \`8:8')dnl
FEATURE(\`no_default_msa')dnl
FEATURE(\`accept_unresolvable_domains')dnl
FEATURE(\`access_db', \`socket -T<TMPF> unix:/run/mapctl/maps')dnl
FEATURE(\`blocklist_recipients')dnl
FEATURE(\`virtusertable', \`socket -T<TMPF> inet:5461@127.0.0.1')dnl
DAEMON_OPTIONS(\`Name=MTA, Addr=$SM, Port=25')dnl
LOCAL_CONFIG
Kmailertable socket inet:5461@127.0.0.1
MAILER(\`local')dnl
MAILER(\`smtp')dnl
MAILER_DEFINITIONS
Mfile, P=[FILE], F=lsDFMPEuS, A=FILE /var/mail/sm
LOCAL_RULE_0
R joe < @ \$=w . > \$*	\$#file \$@ sm \$: joe
R joe	\$#file \$@ sm \$: joe
END
echo 'hosts files' > /etc/peer/service.switch
install -m 666 /dev/null /var/mail/sm
CF=/usr/share/sendmail/cf
[ -d $CF ] || CF=/usr/share/sendmail/sendmail.cf
m4 -D_CF_DIR_=$CF/ $CF/m4/cf.m4 /etc/peer/peer.mc > /etc/peer/peer.cf 2>"$W/m4.err"
SENDMAIL=$(ls /usr/libexec/sendmail/sendmail /usr/lib/sm.bin/sendmail /usr/sbin/sendmail-mta 2>/dev/null | head -1)
"$SENDMAIL" -C /etc/peer/peer.cf -bD -q5s -X "$W/sendmail.traffic" >"$W/sendmail.log" 2>&1 &

# -- saslauthd, for Postfix
if [ -x "$BIN/saslauthd" ]; then
    printf 'our secret' | "$BIN/saslpasswd2" -p -c -f "$ROOT/etc/sasldb2" -u pf.example joe
    mkdir -p /var/spool/postfix/private && chmod 755 /var/spool/postfix && chown postfix /var/spool/postfix/private && chmod 700 /var/spool/postfix/private
    "$BIN/saslauthd" -a sasldb -d -m /run/saslauthd --root "$ROOT" -D /var/spool/postfix/private/auth --realm pf.example \
        --mechs "SCRAM-SHA-256 CRAM-MD5 PLAIN LOGIN" 2>"$W/saslauthd.log" &
fi

# -- Dovecot, and smtpd before it
DOVECOT=
if [ -x "$BIN/smtpd" ] && [ -x "$BIN/saslauthd" ] && command -v dovecot >/dev/null; then
    DOVECOT=1 THEIRS=$W/theirs.root
    mkdir -p /run/dovecot "$THEIRS/etc/mail" "$THEIRS/etc/sasl2" "$THEIRS/var/spool" "$THEIRS/run"
    echo 'ann:{PLAIN}her secret' > "$W/dovecot.users" && chmod 644 "$W/dovecot.users"
    cat > "$W/dovecot.conf" <<END
base_dir = /run/dovecot
protocols =
ssl = no
log_path = $W/dovecot.log
disable_plaintext_auth = no
auth_mechanisms = plain
auth_failure_delay = 0
passdb {
  driver = passwd-file
  args = $W/dovecot.users
}
service auth {
  unix_listener auth-client {
    mode = 0666
  }
}
END
    cat > "$THEIRS/etc/mail/sendmail.mc" <<END
OSTYPE(\`linux')dnl
define(\`confDOMAIN_NAME', \`us.example')dnl
define(\`confAUTH_MECHANISMS', \`PLAIN LOGIN')dnl
TRUST_AUTH_MECH(\`PLAIN LOGIN')dnl
FEATURE(\`no_default_msa')dnl
FEATURE(\`accept_unresolvable_domains')dnl
DAEMON_OPTIONS(\`Name=MTA, Addr=127.0.0.1, Port=25')dnl
MAILER(\`local')dnl
MAILER(\`smtp')dnl
END
    echo 'hosts files' > "$THEIRS/etc/mail/service.switch"
    printf 'pwcheck_method: dovecot\ndovecot_path: /run/auth-client\n' > "$THEIRS/etc/sasl2/Sendmail.conf"
    dovecot -c "$W/dovecot.conf" -F >"$W/dovecot.start" 2>&1 &
    "$BIN/smtpd" --root "$THEIRS" --log stderr 2>"$W/smtpd.log" &
fi

FAILED=0
check() { # NAME STATUS
    if [ "$2" = 0 ]; then echo "ok      $1"; else echo "FAILED  $1"; FAILED=1; fi
}
within() { # COMMAND: true within 30 seconds
    i=0; until sh -c "$1" >/dev/null 2>&1; do i=$((i+1)); [ $i -gt 150 ] && return 1; sleep 0.2; done
}
told() { tail -n 25 "$W/us.log" "$W/postfix.log" "$W/sendmail.log" "$W/sendmail.traffic" "$W/m4.err" "$W/saslauthd.log" "$W/smtpd.log" "$W"/dovecot.* 2>/dev/null; }
for peer in "sendmail $SM" "Postfix $PF"; do
    set -- $peer
    within "python3 -c \"import socket; socket.create_connection(('$2', 25), 2).close()\""; check "$1 listens" $?
done
within "test -S /run/mapctl/policy"; check "mapctl serve listens" $?
[ $FAILED = 0 ] || { told; exit 1; }
asks() { # TYPE KEY WANT [TABLE]: what postmap finds
    [ "$(postmap -q "$2" "$1" 2>"$W/postmap.err")" = "$3" ]
}
smtp() { # HOST FROM TO: the last reply of a transaction, and sends a message if all is well
    python3 - "$@" <<'END'
import smtplib, sys
host, sender, to = sys.argv[1:4]
client = smtplib.SMTP(host, 25, source_address=("127.0.0.9", 0), local_hostname="client.example")
client.ehlo_or_helo_if_needed()
for step in (lambda: client.mail(sender), lambda: client.rcpt(to),
             lambda: client.data(("Subject: to %s by %s\r\n\r\ntext\r\n" % (to, host)).encode())):
    code, text = step()
    if code >= 300:
        break
print(code, text.decode().replace("\n", " "))
client.close()
END
}
says() { # HOST FROM TO PATTERN
    smtp "$1" "$2" "$3" > "$W/said" 2>&1; grep -Eq -- "$4" "$W/said" || { cat "$W/said"; false; }
}

logs_in() { # HOST MECHANISM USER PASSWORD: the code of the last reply, and of RCPT elsewhere
    python3 - "$@" <<'END'
import smtplib, sys
host, mechanism, user, password = sys.argv[1:5]
client = smtplib.SMTP(host, 25, source_address=("127.0.0.9", 0), local_hostname="client.example")
client.ehlo()
client.user, client.password = user, password
try:
    code = client.auth(mechanism, getattr(client, "auth_" + mechanism.lower().replace("-", "_")))[0]
except smtplib.SMTPAuthenticationError as error:
    code = error.smtp_code
client.mail("a@ok.example")
print(code, client.rcpt("b@elsewhere.example")[0])
END
}
M=socketmap:unix:/run/mapctl/maps
asks $M:virtusertable info@shop.example joe@pf.example; check "postmap finds an entry" $?
asks $M:virtusertable nobody@shop.example ''; check "  ... and finds that there is none" $?
[ ! -s "$W/postmap.err" ]; check "  ... without an error" $?
asks socketmap:inet:127.0.0.1:5461:aliases sales 'joe, staff'; check "  ... an alias, by TCP" $?
asks $M:access AuthInfo:sm.example ''; grep -q 'a login, which is not served' "$W/postmap.err"; check "  ... but no login for another server" $?
asks $M:nowhere key ''; grep -q 'no such map here' "$W/postmap.err"; check "  ... nor a map that the site does not name" $?

says $PF a@ok.example info@shop.example '^250' && within "grep -q 'Subject: to info@shop.example' /var/mail/joe"; check "Postfix delivers to a virtual user of ours" $?
says $PF a@ok.example x@shop.example '^250' && within "grep -q 'Subject: to x@shop.example' /var/mail/joe"; check "  ... by the catch-all and an alias in an alias" $?
says $PF a@spam.example info@shop.example '550 5.7.1 .*We know you'; check "Postfix refuses whom our access map refuses" $?
says $PF a@ok.example gone@pf.example '550 5.1.1 .*left the company'; check "  ... and to whom" $?
says $PF a@ok.example b@elsewhere.example '554 5.7.1 .*Relay access denied'; check "  ... and relays no more than before" $?
says $PF a@held.example info@shop.example '^250' && within "grep -q 'hold.*look at this' '$W/postfix.log'"; check "Postfix holds what we quarantine" $?
says $PF a@ok.example b@far.example '^250' && within "grep -q 'to=<b@far.example>, relay=sm.example' '$W/postfix.log'"; check "Postfix routes by our mailertable" $?

says $SM a@ok.example sales@sm.example '^250' && within "grep -q 'Subject: to sales@sm.example' /var/mail/sm"; check "sendmail delivers to an alias of ours" $?
says $SM a@ok.example virtual@sm.example '^250' && within "grep -q 'Subject: to virtual@sm.example' /var/mail/sm"; check "  ... and to a virtual user, by TCP" $?
says $SM a@spam.example sales@sm.example '550 5.7.1 .*We know you'; check "sendmail refuses whom our access map refuses" $?
says $SM a@ok.example gone@sm.example '550 5.1.1 .*left the company'; check "  ... and to whom" $?
says $SM a@ok.example b@elsewhere.example '^250'; check "  ... and relays for whom it lets relay" $?

printf 'From:ok.example\tERROR:5.7.1:550 not any more\n' >> "$ROOT/etc/mail/access"
"$BIN/makemap" hash "$ROOT/etc/mail/access" < "$ROOT/etc/mail/access"
says $PF a@ok.example info@shop.example '550 5.7.1 .*not any more'; check "a rebuilt map counts at once for Postfix" $?
says $SM a@ok.example sales@sm.example '550 5.7.1 .*not any more'; check "  ... and for sendmail" $?
sed -i /ok.example/d "$ROOT/etc/mail/access"
"$BIN/makemap" hash "$ROOT/etc/mail/access" < "$ROOT/etc/mail/access"

kill $SERVER; wait $SERVER; check "the server ends when it is told to" $?
says $PF a@ok.example info@shop.example '^4[0-9][0-9]'; check "without it Postfix waits, and refuses nobody for good" $?
says $SM a@ok.example sales@sm.example '^4[0-9][0-9]'; check "  ... and so does sendmail" $?
serve; within "test -S /run/mapctl/policy"
says $PF a@ok.example info@shop.example '^250'; check "back again, Postfix takes mail" $?
says $SM a@ok.example sales@sm.example '^250'; check "  ... and so does sendmail" $?

if [ -x "$BIN/saslauthd" ]; then
    within "test -S /var/spool/postfix/private/auth"
    for mechanism in PLAIN LOGIN CRAM-MD5; do
        [ "$(logs_in $PF $mechanism joe 'our secret' 2>&1)" = "235 250" ]; check "Postfix logs in by $mechanism through saslauthd -D, and relays" $?
    done
    [ "$(logs_in $PF CRAM-MD5 joe wrong 2>&1)" = "535 554" ]; check "  ... and a wrong password is none" $?
    grep -q 'sasl_method=CRAM-MD5, sasl_username=joe' "$W/postfix.log"; check "  ... as its log says" $?
else
    echo "skipped: saslauthd -D: no saslauthd in DIR"
fi
if [ -n "$DOVECOT" ]; then
    within "test -S /run/dovecot/auth-client" && ln -s /run/dovecot/auth-client "$THEIRS/run/auth-client"
    within "python3 -c \"import socket; socket.create_connection(('127.0.0.1', 25), 2).close()\""
    [ "$(logs_in 127.0.0.1 PLAIN ann 'her secret' 2>&1)" = "235 250" ]; check "smtpd logs in by Dovecot's passwords, and relays" $?
    [ "$(logs_in 127.0.0.1 LOGIN ann wrong 2>&1)" = "535 550" ]; check "  ... and a wrong password is none" $?
else
    echo "skipped: Dovecot as a source of passwords: no smtpd in DIR, or no Dovecot"
fi

# Half of the 20,000 keys are there.
seq -f 'key%.0f@many.example' 1 10 200000 > "$W/keys"
took() { # MAP: milliseconds of 20,000 lookups by one postmap
    start=$(date +%s%N); postmap -q - "$1" < "$W/keys" > "$W/found"; end=$(date +%s%N)
    echo $(( (end - start) / 1000000 ))
}
took $M:many >/dev/null; took proxy:lmdb:/etc/postfix/many >/dev/null
for round in 1 2 3 4 5; do took $M:many >> "$W/ours"; cp "$W/found" "$W/found.ours"; took proxy:lmdb:/etc/postfix/many >> "$W/theirs"; done
cmp -s "$W/found.ours" "$W/found" && [ "$(wc -l < "$W/found")" = 10000 ]; check "20,000 lookups find the same" $?
ours=$(sort -n "$W/ours" | sed -n 3p) theirs=$(sort -n "$W/theirs" | sed -n 3p)
echo "        20,000 lookups, medians of 5: socketmap: $ours ms, proxy:lmdb: $theirs ms"
[ -n "$UNTIMED" ] || { [ "$ours" -le "$theirs" ]; check "lookups are at least as fast as proxy:lmdb:" $?; }
[ $FAILED = 0 ] || { echo; told; }
exit $FAILED
