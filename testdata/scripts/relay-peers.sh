#!/bin/sh
# smtpd among real servers: relays to and accepts from Debian's sendmail and Postfix, with TLS and
# AUTH (CRAM-MD5 between sendmail and smtpd both ways), and delivers to Dovecot by LMTP.
#
# usage: relay-peers.sh [--install] DIR     DIR holds smtpd, makemap, newaliases, saslpasswd2, mailq
#
# --install fetches what is missing by apt-get and unpacks it into PEERS (/var/tmp/relay-peers); nothing
# is installed, and no package that is there is replaced. Everything runs as root in mount, network and
# host name namespaces of its own, so that neither files nor ports of this machine are touched.
# Prints a line a check; exits 1 if one failed, 2 if nothing could be tried.
set -u
PEERS=${PEERS:-/var/tmp/relay-peers}
[ "${1:-}" = --install ] && { INSTALL=1; shift; } || INSTALL=
BIN=$(cd "${1:?usage: relay-peers.sh [--install] DIR}" && pwd)
[ "$(id -u)" = 0 ] || { echo "must be root: a namespace is needed" >&2; exit 2; }

if [ -n "$INSTALL" ]; then
    mkdir -p "$PEERS/packages" "$PEERS/root"
    cd "$PEERS/packages" || exit 2
    for wanted in postfix dovecot-lmtpd sendmail-bin sendmail-cf sasl2-bin libsasl2-modules m4 openssl iproute2 python3; do
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
for program in sbin/postfix sbin/dovecot libexec/sendmail/sendmail; do
    [ -x "$PEERS/root/usr/$program" ] || { echo "no $PEERS/root/usr/$program: run with --install first" >&2; exit 2; }
done

if [ "${RELAY_PEERS_INSIDE:-}" != 1 ]; then
    unshare -mnupf --mount-proc true || { echo "no namespace can be made here" >&2; exit 2; }
    RELAY_PEERS_INSIDE=1 PEERS=$PEERS exec unshare -mnupf --mount-proc "$0" "$BIN"
fi

# From here on in namespaces of our own.
W=$(mktemp -d /var/tmp/relay-peers-run.XXXXXX)
mount -t tmpfs tmpfs "$W" && chmod 755 "$W" && mkdir "$W/etc" "$W/etc.work" "$W/bin"
cp "$BIN"/smtpd "$BIN"/mailq "$BIN"/makemap "$BIN"/newaliases "$BIN"/saslpasswd2 "$W/bin/"
BIN=$W/bin
mount -t overlay overlay -o "lowerdir=/usr:$PEERS/root/usr" /usr || exit 2
mount -t overlay overlay -o "lowerdir=/etc:$PEERS/root/etc,upperdir=$W/etc,workdir=$W/etc.work" /etc || exit 2
for folder in /var/spool /var/mail /var/lib /run; do mount -t tmpfs -o mode=755 tmpfs $folder; done
ip link set lo up
for n in 2 3 4 9; do ip addr add 127.0.0.$n/8 dev lo; done
ldconfig 2>/dev/null
trap 'kill $(jobs -p) 2>/dev/null; [ -f /etc/postfix/main.cf ] && postfix stop 2>/dev/null; umount -l "$W"; rmdir "$W" 2>/dev/null' EXIT

US=127.0.0.1 SM=127.0.0.2 PF=127.0.0.3 DC=127.0.0.4
cat > /etc/hosts <<END
127.0.0.1 us.example localhost
127.0.0.8 host.example
$SM sm.example
$PF pf.example
$DC dc.example
END
hostname host.example
printf 'hosts: files\npasswd: files\ngroup: files\n' > /etc/nsswitch.conf
for user in postfix:5001 postdrop:5002 dovecot:5003 dovenull:5004 vmail:5005 smmta:5006 smmsp:5007; do
    grep -q "^${user%:*}:" /etc/passwd || echo "${user%:*}:x:${user#*:}:${user#*:}::/nonexistent:/bin/false" >> /etc/passwd
    grep -q "^${user%:*}:" /etc/group || echo "${user%:*}:x:${user#*:}:" >> /etc/group
done

# One authority for all of them.
mkdir "$W/tls" && cd "$W/tls" || exit 2
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=authority -keyout ca.key -out ca.crt 2>/dev/null
for host in us sm pf; do
    openssl req -newkey rsa:2048 -nodes -subj /CN=$host.example -addext subjectAltName=DNS:$host.example -keyout $host.key -out $host.csr 2>/dev/null
    openssl x509 -req -days 30 -in $host.csr -CA ca.crt -CAkey ca.key -CAcreateserial -copy_extensions copy -out $host.crt 2>/dev/null
    chmod 600 $host.key
done
cd /

# -- smtpd
ROOT=$W/us
mkdir -p "$ROOT/etc/mail" "$ROOT/etc/sasl2" "$ROOT/var/spool" "$ROOT/run"
cp "$W/tls/us.crt" "$W/tls/us.key" "$W/tls/ca.crt" "$ROOT/etc/mail/"
cp /etc/hosts "$ROOT/etc/hosts"
cat > "$ROOT/etc/mail/sendmail.mc" <<END
OSTYPE(\`linux')dnl
define(\`confDOMAIN_NAME', \`us.example')dnl
define(\`ALIAS_FILE', \`/etc/mail/aliases')dnl
define(\`confDEF_USER_ID', \`8:8')dnl
define(\`confSERVER_CERT', \`/etc/mail/us.crt')dnl
define(\`confSERVER_KEY', \`/etc/mail/us.key')dnl
define(\`confCLIENT_CERT', \`/etc/mail/us.crt')dnl
define(\`confCLIENT_KEY', \`/etc/mail/us.key')dnl
define(\`confCACERT', \`/etc/mail/ca.crt')dnl
define(\`confAUTH_MECHANISMS', \`CRAM-MD5 PLAIN')dnl
define(\`confAUTH_OPTIONS', \`p')dnl
TRUST_AUTH_MECH(\`CRAM-MD5 PLAIN')dnl
FEATURE(\`no_default_msa')dnl
FEATURE(\`accept_unresolvable_domains')dnl
FEATURE(\`access_db', \`hash -o /etc/mail/access')dnl
FEATURE(\`mailertable', \`hash -o /etc/mail/mailertable')dnl
DAEMON_OPTIONS(\`Name=MTA, Addr=$US, Port=25')dnl
MAILER(\`local')dnl
MAILER(\`smtp')dnl
MAILER_DEFINITIONS
Mlmtp, P=[IPC], F=mDFMuXz, S=EnvFromSMTP/HdrFromSMTP, R=EnvToSMTP, E=\\r\\n, A=TCP \$h 24
Msocket, P=[IPC], F=mDFMuXz, S=EnvFromSMTP/HdrFromSMTP, R=EnvToSMTP, E=\\r\\n, A=FILE /run/lmtp
END
cat > "$ROOT/etc/mail/mailertable" <<END
sm.example	esmtp:[sm.example]
pf.example	esmtp:[pf.example]
tcp.example	lmtp:[dc.example]
socket.example	socket:dc.example
END
cat > "$ROOT/etc/mail/access" <<END
Connect:127.0.0.9	RELAY
AuthInfo:sm.example	"U:us" "P:our secret" "M:CRAM-MD5"
TLS_Srv:sm.example	VERIFY:128+CN
TLS_Srv:pf.example	VERIFY:128+CN
END
chmod 600 "$ROOT/etc/mail/access"
echo 'hosts files' > "$ROOT/etc/mail/service.switch"
echo 'inbox: /inbox' > "$ROOT/etc/mail/aliases"
install -o 8 -g 8 -m 644 /dev/null "$ROOT/inbox"
echo 'pwcheck_method: auxprop' > "$ROOT/etc/sasl2/Sendmail.conf"
for table in access mailertable; do "$BIN/makemap" hash "$ROOT/etc/mail/$table" < "$ROOT/etc/mail/$table"; done
"$BIN/newaliases" --root "$ROOT" >/dev/null
for user in sm pf; do printf 'their secret' | "$BIN/saslpasswd2" -p -c -f "$ROOT/etc/sasldb2" -u us.example $user; done

# -- sendmail
mkdir -p /etc/peer /etc/mail /etc/sasl2 /var/spool/mqueue && chmod 700 /var/spool/mqueue
cp "$W/tls/sm.crt" "$W/tls/sm.key" "$W/tls/ca.crt" /etc/peer/
cat > /etc/peer/peer.mc <<END
OSTYPE(\`linux')dnl
define(\`confDOMAIN_NAME', \`sm.example')dnl
define(\`confSERVICE_SWITCH_FILE', \`/etc/mail/service.switch')dnl
define(\`ALIAS_FILE', \`/etc/peer/aliases')dnl
define(\`confDEF_USER_ID', \`8:8')dnl
define(\`confDONT_PROBE_INTERFACES', \`True')dnl
define(\`confPID_FILE', \`/run/sendmail-peer.pid')dnl
define(\`confSERVER_CERT', \`/etc/peer/sm.crt')dnl
define(\`confSERVER_KEY', \`/etc/peer/sm.key')dnl
define(\`confCLIENT_CERT', \`/etc/peer/sm.crt')dnl
define(\`confCLIENT_KEY', \`/etc/peer/sm.key')dnl
define(\`confCACERT', \`/etc/peer/ca.crt')dnl
define(\`confCACERT_PATH', \`/etc/peer')dnl
define(\`confAUTH_MECHANISMS', \`CRAM-MD5')dnl
TRUST_AUTH_MECH(\`CRAM-MD5')dnl
FEATURE(\`no_default_msa')dnl
FEATURE(\`accept_unresolvable_domains')dnl
FEATURE(\`access_db', \`hash -o /etc/peer/access')dnl
FEATURE(\`mailertable', \`hash -o /etc/peer/mailertable')dnl
DAEMON_OPTIONS(\`Name=MTA, Addr=$SM, Port=25')dnl
MAILER(\`local')dnl
MAILER(\`smtp')dnl
END
echo 'hosts files' > /etc/mail/service.switch
printf 'inbox: /var/mail/sm\npostmaster: inbox\n' > /etc/peer/aliases
install -o 8 -g 8 -m 644 /dev/null /var/mail/sm
printf 'us.example\tesmtp:[us.example]\n' > /etc/peer/mailertable
printf 'Connect:127.0.0.9\tRELAY\nAuthInfo:\t"U:sm" "I:sm" "P:their secret" "R:us.example" "M:CRAM-MD5"\n' > /etc/peer/access
chmod 600 /etc/peer/access
CF=/usr/share/sendmail/cf
[ -d $CF ] || CF=/usr/share/sendmail/sendmail.cf
m4 -D_CF_DIR_=$CF/ $CF/m4/cf.m4 /etc/peer/peer.mc > /etc/peer/peer.cf 2>"$W/m4.err"
SENDMAIL=$(ls /usr/lib/sm.bin/sendmail /usr/libexec/sendmail/sendmail /usr/sbin/sendmail-mta 2>/dev/null | head -1)
SMMAKEMAP=$(ls /usr/libexec/sendmail/makemap /usr/lib/sm.bin/makemap /usr/share/sendmail/makemap /usr/sbin/makemap 2>/dev/null | head -1)
for table in access mailertable; do "$SMMAKEMAP" hash /etc/peer/$table < /etc/peer/$table; done
chown root:root /etc/peer/*.db; chmod 600 /etc/peer/access.db
"$SENDMAIL" -C /etc/peer/peer.cf -bi >"$W/sendmail.aliases" 2>&1
printf 'pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: CRAM-MD5\n' > /etc/sasl2/Sendmail.conf
rm -f /etc/sasldb2; printf 'our secret' | /usr/sbin/saslpasswd2 -p -c -u sm.example us; chmod 600 /etc/sasldb2

# -- Postfix
mkdir -p /var/spool/postfix /var/lib/postfix && chown postfix /var/lib/postfix
[ -f /etc/postfix/master.cf ] || cp /usr/share/postfix/master.cf.dist /etc/postfix/master.cf
sed -i 's/^\([a-z]*  *[a-z]*  *[-yn]  *[-yn]  *\)y /\1n /; s/^smtp  *inet .*/pf.example:25 inet n - n - - smtpd/' /etc/postfix/master.cf
cp "$W"/tls/pf.* "$W/tls/ca.crt" /etc/postfix/
[ -f /etc/postfix/postfix-files ] || cp /usr/share/postfix/postfix-files /etc/postfix/ 2>/dev/null
cat > /etc/postfix/main.cf <<END
compatibility_level = 3.6
myhostname = pf.example
mydestination = pf.example
inet_interfaces = $PF
inet_protocols = ipv4
mynetworks = 127.0.0.9/32
alias_maps = texthash:/etc/postfix/peer-aliases
alias_database =
local_recipient_maps = static:yes
default_privs = nobody
mailbox_size_limit = 0
smtp_host_lookup = native
disable_dns_lookups = yes
transport_maps = texthash:/etc/postfix/transport
smtpd_tls_cert_file = /etc/postfix/pf.crt
smtpd_tls_key_file = /etc/postfix/pf.key
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_recipient_limit = 1000
smtp_tls_CAfile = /etc/postfix/ca.crt
smtp_tls_security_level = verify
smtp_tls_verify_cert_match = hostname
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:/etc/postfix/passwords
smtp_sasl_security_options = noanonymous
smtp_sasl_mechanism_filter = plain
maillog_file = /dev/stdout
END
printf 'virtual_alias_domains =\n' >> /etc/postfix/main.cf
for n in $(seq 0 199); do echo "user$n inbox"; done > /etc/postfix/peer-aliases
printf 'inbox "/var/mail/pf"\n' >> /etc/postfix/peer-aliases
install -o nobody -m 666 /dev/null /var/mail/pf
printf 'us.example smtp:[us.example]\n' > /etc/postfix/transport
printf '[us.example] pf:their secret\n' > /etc/postfix/passwords
grep -q '^postlog' /etc/postfix/master.cf || echo 'postlog unix-dgram n - n - 1 postlogd' >> /etc/postfix/master.cf

# -- Dovecot
mkdir -p /var/mail/dovecot /run/dovecot && chown 5005:5005 /var/mail/dovecot
cat > "$W/dovecot.conf" <<END
base_dir = /run/dovecot
protocols = lmtp
listen = $DC
ssl = no
log_path = $W/dovecot.log
mail_location = maildir:/var/mail/dovecot/%n
first_valid_uid = 100
auth_username_format = %n
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = static
  args = uid=5005 gid=5005 home=/var/mail/dovecot/%n allow_all_users=yes
}
service lmtp {
  inet_listener lmtp {
    address = $DC
    port = 24
  }
  unix_listener $ROOT/run/lmtp {
    mode = 0666
  }
}
END

"$BIN/smtpd" --root "$ROOT" --log stderr 2>"$W/us.log" &
"$SENDMAIL" -C /etc/peer/peer.cf -bD -q5s -X "$W/sendmail.traffic" >"$W/sendmail.log" 2>&1 &
postfix start-fg >"$W/postfix.log" 2>&1 &
dovecot -c "$W/dovecot.conf" -F >"$W/dovecot.start" 2>&1 &

FAILED=0
check() { # NAME STATUS
    if [ "$2" = 0 ]; then echo "ok      $1"; else echo "FAILED  $1"; FAILED=1; fi
}
within() { # COMMAND: true within 30 seconds
    i=0; until sh -c "$1" >/dev/null 2>&1; do i=$((i+1)); [ $i -gt 100 ] && return 1; sleep 0.2; done
}
told() {
    grep -v 'to=<user' "$W/us.log" | tail -n 30
    tail -n 8 "$W"/sendmail.* "$W"/postfix.log "$W"/dovecot.log "$W"/dovecot.start "$W/m4.err" 2>/dev/null
}
for peer in "smtpd $US 25" "sendmail $SM 25" "Postfix $PF 25" "Dovecot $DC 24"; do
    set -- $peer
    within "python3 -c \"import socket; socket.create_connection(('$2', $3), 2).close()\""; check "$1 listens" $?
done
[ $FAILED = 0 ] || { told; exit 1; }
send() { # HOST SUBJECT KIND RECIPIENT...
    python3 - "$@" <<'END'
import smtplib, sys
host, subject, kind, to = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
client = smtplib.SMTP(host, 25, source_address=("127.0.0.9", 0), local_hostname="client.example")
text = "Subject: %s\r\nFrom: <joe@client.example>\r\nTo: list\r\n\r\n.dot first\r\n" % subject
options = []
if kind == "big":
    text += "a line of text, the same again and again, to fill the pipes\r\n" * 150000
elif kind == "8bit":
    text = text.replace("From:", "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nFrom:") + "gr\u00fc\u00dfe\r\n"
    options = ["BODY=8BITMIME"]
client.sendmail("joe@client.example", to, text.encode(), mail_options=options)
client.quit()
END
}
log() { grep -q -- "$1" "$W/us.log"; }

send $US one plain inbox@sm.example && within "grep -q 'Subject: one' /var/mail/sm"; check "smtpd -> sendmail" $?
log 'STARTTLS=client, relay=sm.example., version=TLSv1.3, verify=OK'; check "  ... under TLS, verified, name and all" $?
log 'AUTH=client, relay=sm.example., mech=CRAM-MD5'; check "  ... logged in by CRAM-MD5" $?
log 'to=<inbox@sm.example>.*relay=sm.example. \[127.0.0.2\], dsn=2.0.0, stat=Sent ('; check "  ... and logged as sendmail does" $?
grep -q '^\.dot first' /var/mail/sm; check "  ... dots and all" $?
send $SM two plain inbox@us.example && within "grep -q 'Subject: two' '$ROOT/inbox'"; check "sendmail -> smtpd" $?
log 'AUTH=server, relay=.*authid=sm, mech=CRAM-MD5'; check "  ... logged in by CRAM-MD5" $?
grep -A3 'from sm.example' "$ROOT/inbox" | grep -q 'with ESMTPSA'; check "  ... under TLS" $?
send $US nobody plain nosuchuser@sm.example; within "grep -q 'to=<nosuchuser@sm.example>.*dsn=5.1.1, reply=550 5.1.1 .*stat=User unknown' '$W/us.log'"; check "smtpd hears from sendmail that a user is unknown" $?

send $US three plain inbox@pf.example && within "grep -q 'Subject: three' /var/mail/pf"; check "smtpd -> Postfix" $?
log 'STARTTLS=client, relay=pf.example., version=TLSv1.3, verify=OK'; check "  ... under TLS, verified" $?
send $PF four plain inbox@us.example && within "grep -q 'Subject: four' '$ROOT/inbox'"; check "Postfix -> smtpd" $?
log 'AUTH=server, relay=.*authid=pf, mech=PLAIN'; check "  ... logged in by PLAIN" $?
send $US five plain $(seq -f 'user%g@pf.example' 0 199) && within "[ \$(grep -c 'Subject: five' /var/mail/pf) -ge 1 ] && [ \$(grep -c 'to=<user.*@pf.example>.*stat=Sent' '$W/us.log') = 200 ]"; check "200 recipients to Postfix" $?
send $US six big inbox@pf.example && within "[ \$(grep -c 'the same again and again' /var/mail/pf) = 150000 ]"; check "9 MB to Postfix" $?
send $US seven big inbox@sm.example && within "[ \$(grep -c 'the same again and again' /var/mail/sm) = 150000 ]"; check "9 MB to sendmail" $?
send $US eight 8bit inbox@sm.example && within "grep -q 'grüße' /var/mail/sm"; check "8-bit text to sendmail" $?

send $US nine plain ann@tcp.example bob@tcp.example && within "grep -rq 'Subject: nine' /var/mail/dovecot/ann && grep -rq 'Subject: nine' /var/mail/dovecot/bob"; check "smtpd -> Dovecot, LMTP by TCP" $?
send $US ten plain cat@socket.example && within "grep -rq 'Subject: ten' /var/mail/dovecot/cat"; check "smtpd -> Dovecot, LMTP by its socket" $?
send $US eleven 8bit ann@tcp.example && within "grep -rEq 'gr(ü|=C3=BC)(ß|=C3=9F)e' /var/mail/dovecot/ann"; check "8-bit text to Dovecot" $?

within "[ \"\$('$BIN/mailq' --root '$ROOT' --json | grep -vc nosuchuser@sm.example)\" = 0 ]"; check "nothing is left in our queue but the failure" $?
[ $FAILED = 0 ] || { echo; told; }
exit $FAILED
