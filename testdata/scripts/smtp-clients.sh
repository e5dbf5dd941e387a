#!/bin/sh
# Real clients against smtpd: swaks, msmtp, curl, Python's smtplib, git send-email; each
# through STARTTLS and TLS from the start, with each mechanism it has.
#
# usage: smtp-clients.sh DIR        DIR holds smtpd, makemap, newaliases, saslpasswd2, mailq
#
# Installs what is missing (as root, by apt-get). Prints a line a check; exits 1 if one failed.
set -u
BIN=$(cd "$1" && pwd)
for tool in swaks msmtp curl python3 git openssl; do
    command -v $tool >/dev/null || apt-get install -y $tool >/dev/null 2>&1
done
command -v "$(git --exec-path)/git-send-email" >/dev/null || apt-get install -y git-email >/dev/null 2>&1
perl -MIO::Socket::SSL -MAuthen::SASL -MDigest::HMAC_MD5 -e 1 2>/dev/null ||
    apt-get install -y libio-socket-ssl-perl libauthen-sasl-perl libdigest-hmac-perl >/dev/null 2>&1

ROOT=$(mktemp -d); chmod 755 "$ROOT"
SERVER=
trap 'kill $SERVER 2>/dev/null; wait $SERVER 2>/dev/null; rm -rf "$ROOT"' EXIT
mkdir -p "$ROOT/etc/mail" "$ROOT/etc/sasl2" "$ROOT/var/mail" "$ROOT/var/spool" "$ROOT/home/bob"
chmod 1777 "$ROOT/var/mail"
ME=$(id -u); [ "$ME" = 0 ] && ME=12345
cat > "$ROOT/etc/mail/sendmail.mc" <<'EOF'
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `mx.clients.example')dnl
define(`confCW_FILE', `/etc/mail/local-host-names')dnl
define(`ALIAS_FILE', `/etc/mail/aliases')dnl
define(`confDEF_USER_ID', `12345:12345')dnl
define(`confSERVER_CERT', `/etc/mail/server.crt')dnl
define(`confSERVER_KEY', `/etc/mail/server.key')dnl
define(`confTLS_SRV_OPTIONS', `V')dnl
define(`confAUTH_OPTIONS', `A p y')dnl
define(`confSMTPUTF8', `True')dnl
define(`confAUTH_MECHANISMS', `SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-1 DIGEST-MD5 CRAM-MD5 PLAIN LOGIN')dnl
TRUST_AUTH_MECH(`SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-1 DIGEST-MD5 CRAM-MD5 PLAIN LOGIN')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`use_cw_file')dnl
FEATURE(`accept_unresolvable_domains')dnl
DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0')dnl
DAEMON_OPTIONS(`Name=TLSMTA, Addr=127.0.0.1, Port=0, M=s')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
EOF
echo clients.example > "$ROOT/etc/mail/local-host-names"
printf 'hosts files\n' > "$ROOT/etc/mail/service.switch"
printf '127.0.0.1 mx.clients.example localhost\n' > "$ROOT/etc/hosts"
printf 'bob:x:%s:%s:Bob:/home/bob:/bin/sh\n' "$ME" "$ME" > "$ROOT/etc/passwd"
i=0; while [ $i -lt 200 ]; do printf 'user%s: bob\n' $i; i=$((i+1)); done > "$ROOT/etc/mail/aliases"
printf 'pwcheck_method: auxprop\n' > "$ROOT/etc/sasl2/Sendmail.conf"
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=mx.clients.example -addext subjectAltName=DNS:mx.clients.example,DNS:localhost \
    -keyout "$ROOT/etc/mail/server.key" -out "$ROOT/etc/mail/server.crt" 2>/dev/null
chmod 600 "$ROOT/etc/mail/server.key"
"$BIN/newaliases" --root "$ROOT" >/dev/null
printf 'secret' | "$BIN/saslpasswd2" -p -c -f "$ROOT/etc/sasldb2" -u mx.clients.example alice
"$BIN/smtpd" --root "$ROOT" --log stderr 2> "$ROOT/log" &
SERVER=$!
i=0; until grep -q ': ready' "$ROOT/log"; do i=$((i+1)); [ $i -gt 100 ] && { cat "$ROOT/log"; exit 1; }; sleep 0.1; done
port() { sed -n "s/.*name=$1 addr=127.0.0.1:\([0-9]*\).*/\1/p" "$ROOT/log"; }
PORT=$(port MTA); TLSPORT=$(port TLSMTA)

FAILED=0
check() { # NAME STATUS
    if [ "$2" = 0 ]; then echo "ok      $1"; else echo "FAILED  $1"; cat "$ROOT/out" 2>/dev/null; FAILED=1; fi
}
for mech in PLAIN LOGIN CRAM-MD5 DIGEST-MD5; do
    for how in "--port $PORT --tls" "--port $TLSPORT --tlsc"; do
        swaks --server 127.0.0.1 $how --auth $mech --auth-user alice --auth-password secret --from alice@clients.example \
            --to bob@clients.example --silent 3 >"$ROOT/out" 2>&1
        check "swaks $mech ${how##* }" $?
    done
done
swaks --server 127.0.0.1 --port $PORT --tls --auth PLAIN --auth-user alice --auth-password wrong --from a@clients.example --to bob@clients.example --silent 3 >/dev/null 2>&1
[ $? = 28 ]; check "swaks wrong password is refused" $?
head -c 22000000 /dev/urandom | base64 -w 76 > "$ROOT/big"; sed -i '1i Subject: big\n' "$ROOT/big"
printf 'Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\n\ngr\303\274\303\237e\n' > "$ROOT/8bit"
i=0; MANY=; while [ $i -lt 200 ]; do MANY="$MANY user$i@clients.example"; i=$((i+1)); done
swaks --server 127.0.0.1 --port $PORT --tls --auth PLAIN --auth-user alice --auth-password secret --from alice@clients.example \
    --to "$(echo $MANY | tr ' ' ',')" --silent 3 >"$ROOT/out" 2>&1
check "swaks 200 recipients" $?
swaks --server 127.0.0.1 --port $TLSPORT --tlsc --auth PLAIN --auth-user alice --auth-password secret --from alice@clients.example \
    --to bob@clients.example --silent 3 --data "$ROOT/big" >"$ROOT/out" 2>&1
check "swaks 30 MB" $?
swaks --server 127.0.0.1 --port $PORT --pipeline --from bob@clients.example --to bob@clients.example --silent 3 --data "$ROOT/8bit" >"$ROOT/out" 2>&1
check "swaks pipelining and 8 bits, in clear" $?
msmtp_as() { # MECHANISM PORT STARTTLS RECIPIENTS... < MESSAGE
    mech=$1; at=$2; how=$3; shift 3
    msmtp --host=localhost --port=$at --tls=on --tls-starttls=$how --tls-trust-file="$ROOT/etc/mail/server.crt" --auth=$mech --user=alice \
        --passwordeval='echo secret' --from=alice@clients.example "$@" >"$ROOT/out" 2>&1
}
for mech in plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256 $(msmtp --version | tr ' ' '\n' | grep -io 'scram-sha-[0-9]*-plus' | tr A-Z a-z); do
    printf 'Subject: msmtp %s\n\nhello\n' $mech | msmtp_as $mech $PORT on bob@clients.example
    check "msmtp $mech STARTTLS" $?
    printf 'Subject: msmtp %s\n\nhello\n' $mech | msmtp_as $mech $TLSPORT off bob@clients.example
    check "msmtp $mech TLS from the start" $?
done
msmtp_as plain $PORT on $MANY < "$ROOT/8bit"
check "msmtp 200 recipients, 8 bits" $?
msmtp_as plain $TLSPORT off bob@clients.example < "$ROOT/big"
check "msmtp 30 MB" $?
curl_as() { # MECHANISM FILE MORE...
    mech=$1; file=$2; shift 2
    for url in "smtp://127.0.0.1:$PORT" "smtps://127.0.0.1:$TLSPORT"; do
        curl -sSk --crlf --ssl-reqd "$url" --user alice:secret --login-options AUTH=$mech --mail-from alice@clients.example --upload-file "$file" "$@" >"$ROOT/out" 2>&1
        check "curl $mech ${url%%:*} $(basename "$file")" $?
    done
}
for mech in PLAIN LOGIN CRAM-MD5 DIGEST-MD5; do curl_as $mech "$ROOT/8bit" --mail-rcpt bob@clients.example; done
curl_as PLAIN "$ROOT/big" --mail-rcpt bob@clients.example
curl_as PLAIN "$ROOT/etc/hosts" $(for to in $MANY; do echo --mail-rcpt $to; done)
python3 - "$PORT" "$TLSPORT" <<'EOF'
import smtplib, ssl, sys
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
def connections():
    client = smtplib.SMTP("127.0.0.1", int(sys.argv[1])); client.starttls(context=context); client.ehlo(); yield client
    yield smtplib.SMTP_SSL("127.0.0.1", int(sys.argv[2]), context=context)
for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
    for client in connections():
        client.ehlo(); client.user, client.password = "alice", "secret"
        code, _ = client.auth(mechanism, getattr(client, "auth_" + mechanism.lower().replace("-", "_")))
        assert code == 235, (mechanism, code)
        client.sendmail("alice@clients.example", ["bob@clients.example"], "Subject: %s\n\nhello\n" % mechanism); client.quit()
for client in connections():
    client.login("alice", "secret")
    client.sendmail("alice@clients.example", ["bob@clients.example"], "Subject: big\n\n" + ("x" * 76 + "\n") * 400000); client.quit()
client = smtplib.SMTP("127.0.0.1", int(sys.argv[1])); client.starttls(context=context); client.login("alice", "secret")
refused = client.sendmail("alice@clients.example", ["user%d@clients.example" % n for n in range(200)], "Subject: many\n\nhello\n")
assert not refused, refused
client.sendmail("alice@clients.example", ["bob@clients.example"], "Subject: 8bit\r\n\r\ngr\u00fc\u00dfe\r\n".encode(), mail_options=["BODY=8BITMIME"])
client.sendmail("j\u00f6rg@clients.example", ["bob@clients.example"], "Subject: gr\u00fc\u00dfe\r\n\r\nx\r\n".encode(), mail_options=["SMTPUTF8", "BODY=8BITMIME"])
client.quit()
client = smtplib.SMTP_SSL("127.0.0.1", int(sys.argv[2]), context=context); client.login("alice", "secret")
client.sendmail("alice@clients.example", ["bob@clients.example"], "Subject: ssl\n\nhello\n"); client.quit()
EOF
check "smtplib: each mechanism, 30 MB, 200 recipients, 8BITMIME, SMTPUTF8, both ports" $?
(
    mkdir "$ROOT/git" && cd "$ROOT/git" && git init -q . && git -c user.name=A -c user.email=alice@clients.example commit -q --allow-empty -m one &&
    echo x > x && git add x && git -c user.name=A -c user.email=alice@clients.example commit -q -m two && git format-patch -q -1 &&
    for mech in PLAIN LOGIN CRAM-MD5 DIGEST-MD5; do
        for how in "tls $PORT" "ssl $TLSPORT"; do
            git -c user.name=A -c user.email=alice@clients.example -c sendemail.smtpServer=127.0.0.1 -c sendemail.smtpServerPort=${how#* } -c sendemail.smtpEncryption=${how% *} \
                -c sendemail.smtpSSLCertPath= -c sendemail.smtpUser=alice -c sendemail.smtpPass=secret -c sendemail.smtpAuth=$mech \
                send-email --quiet --suppress-cc=all --confirm=never --to=bob@clients.example 0001-two.patch || { echo "$mech $how"; exit 1; }
        done
    done
) >"$ROOT/out" 2>&1
check "git send-email, each mechanism, both ports" $?
i=0; until [ "$("$BIN/mailq" --root "$ROOT" --json | wc -l)" = 0 ]; do i=$((i+1)); [ $i -gt 600 ] && break; sleep 0.1; done
[ "$("$BIN/mailq" --root "$ROOT" --json | wc -l)" = 0 ]; check "everything was delivered" $?
[ "$(grep -c '^From .* 20[0-9][0-9]$' "$ROOT/var/mail/bob")" -ge 57 ]; check "and is in the mailbox ($(grep -c '^Return-Path:' "$ROOT/var/mail/bob") messages)" $?
[ "$(grep -c "$(printf '^gr\303\274\303\237e')" "$ROOT/var/mail/bob")" -ge 11 ]; check "8-bit text came through as it was" $?
[ $FAILED = 0 ] || { echo; tail -30 "$ROOT/log"; }
exit $FAILED
