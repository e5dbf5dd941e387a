#!/bin/sh
# The programs that call sendmail, each with our sendmail: mail(1), mutt, PHP, git send-email, and
# the very calls of cron, at, anacron, Perl and Python programs; with a server, and without one.
#
# usage: sendmail-callers.sh [--install] DIR      DIR holds sendmail, smtpd, mailq, newaliases
#
# What is not installed is skipped; --install (as root) fetches it first. Prints a line a check
# and exits 1 if one failed.
set -u
if [ "$1" = --install ]; then
    shift
    for pair in mail:bsd-mailx mutt:mutt php:php-cli python3:python3; do
        command -v "${pair%%:*}" >/dev/null ||
            DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${pair#*:}" >/dev/null 2>&1
    done
    [ -x "$(git --exec-path 2>/dev/null)/git-send-email" ] ||
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends git-email >/dev/null 2>&1
fi
BIN=$(cd "$1" && pwd)
ROOT=$(mktemp -d); chmod 755 "$ROOT"
SERVER=
trap 'kill $SERVER 2>/dev/null; wait $SERVER 2>/dev/null; rm -rf "$ROOT"' EXIT
ME=$(id -u); WHO=$(id -un)
mkdir -p "$ROOT/etc/mail" "$ROOT/var/mail" "$ROOT/var/spool" "$ROOT/open" "$ROOT/home"
chmod 777 "$ROOT/var/mail" "$ROOT/open"
cat > "$ROOT/etc/mail/sendmail.mc" <<'END'
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `mx.callers.example')dnl
define(`ALIAS_FILE', `/etc/mail/aliases')dnl
define(`confDEF_USER_ID', `UID:UID')dnl
FEATURE(`no_default_msa')dnl
DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port=0')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
END
OWNER=$ME; [ "$ME" = 0 ] && OWNER=12345
sed -i "s/UID:UID/$OWNER:$OWNER/" "$ROOT/etc/mail/sendmail.mc"
echo 'hosts files' > "$ROOT/etc/mail/service.switch"
echo '127.0.0.1 mx.callers.example localhost' > "$ROOT/etc/hosts"
echo 'box: /open/box' > "$ROOT/etc/mail/aliases"
"$BIN/newaliases" --root "$ROOT" >/dev/null || exit 1
# What programs call: no option of ours before theirs.
cat > "$ROOT/sendmail" <<END
#!/bin/sh
exec "$BIN/sendmail" --root "$ROOT" "\$@"
END
chmod 755 "$ROOT/sendmail"
SM=$ROOT/sendmail
export HOME="$ROOT/home" MAILRC=/dev/null

FAILED=0
say() { printf '%-8s %s\n' "$1" "$2"; }
start() {
    "$BIN/smtpd" --root "$ROOT" 2>"$ROOT/log" & SERVER=$!
    for _ in $(seq 100); do grep -qs ': ready$' "$ROOT/log" && return; sleep .1; done
    say FAILED "the server does not start"; cat "$ROOT/log"; exit 1
}
# arrived NAME PATTERN: within ten seconds a message with this stands in the mailbox.
arrived() {
    for _ in $(seq 100); do
        grep -q "$2" "$ROOT/open/box" 2>/dev/null && { say ok "$1"; return; }
        sleep .1
    done
    say FAILED "$1: nothing with $2 arrived"; FAILED=1
}
has() { command -v "$1" >/dev/null && return 0; say skipped "$2: no $1 here"; return 1; }
# call NAME ARGS...: as cron and the like do; the message is on standard input.
call() {
    name=$1; shift
    "$SM" "$@" || { say FAILED "$name: exit $?"; FAILED=1; return; }
    arrived "$name" "^Subject: $name\$"
}

start
if has mail 'mail(1)'; then
    printf 'line one\n.\nline two\n' | mail -S "sendmail=$SM" -s 'by mail' box 2>/dev/null ||
        printf 'set sendmail=%s\n' "$SM" > "$ROOT/home/.mailrc"
    if [ -f "$ROOT/home/.mailrc" ]; then
        printf 'line one\nline two\n' | MAILRC="$ROOT/home/.mailrc" mail -s 'by mail' box
    fi
    arrived 'mail(1)' '^Subject: by mail$'
fi
if has mutt mutt; then
    echo 'body with "quotes"' | mutt -F /dev/null -n -e "set sendmail=\"$SM -oem -oi\"" -e 'set copy=no' \
        -e 'set from=someone@callers.example' -e 'set use_envelope_from=yes' -s 'by mutt' -- box@mx.callers.example
    arrived mutt '^Subject: by mutt$'
    arrived 'mutt, envelope sender' '^From someone@callers.example '
fi
if has php PHP; then
    php -d "sendmail_path=$SM -t -i" -r \
        'exit(mail("box", "by PHP", "line one\r\n.\r\nline two\r\n", "From: web@callers.example\r\nCc: box", "-fbounce@callers.example") ? 0 : 1);' ||
        { say FAILED 'PHP says false'; FAILED=1; }
    arrived PHP '^Subject: by PHP$'
    arrived 'PHP, envelope sender' '^From bounce@callers.example '
fi
if [ -x "$(git --exec-path 2>/dev/null)/git-send-email" ]; then
    cat > "$ROOT/one.patch" <<'END'
From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001
From: A Developer <dev@callers.example>
Date: Wed, 25 Nov 2026 12:00:00 +0000
Subject: by git

body
---
END
    (cd "$ROOT" && git -c user.name=Dev -c user.email=dev@callers.example send-email --quiet --confirm=never --suppress-cc=all --from='A Developer <dev@callers.example>' \
        --to=box@mx.callers.example --smtp-server="$SM" one.patch) >/dev/null ||
        { say FAILED 'git send-email'; FAILED=1; }
    arrived 'git send-email' '^Subject: by git$'
else
    say skipped 'git send-email: not here'
fi
if has python3 'a Python program'; then
    python3 - "$SM" <<'END'
import subprocess, sys
from email.message import EmailMessage
m = EmailMessage()
m["To"], m["Subject"] = "box", "by Python"
m.set_content("Gr\u00fc\u00dfe\n.\nend\n")
subprocess.run([sys.argv[1], "-t", "-oi"], input=m.as_bytes(), check=True)
END
    arrived 'a Python program' '^Subject: by Python$'
fi
printf 'From: root (Cron Daemon)\nTo: box\nSubject: cron of Debian\n\nout\n.\nmore\n' | call 'cron of Debian' -i -FCronDaemon -B8BITMIME -oem box
printf 'From: "(Cron Daemon)" <%s>\nTo: box\nSubject: cronie\n\nout\n' "$WHO" | call cronie -FCronDaemon -i -odi -oem -oi -t -f "$WHO"
printf 'Subject: at\nTo: box\n\nout\n' | call at -i box
printf 'From: Anacron <%s>\nTo: box\nSubject: anacron\n\nout\n' "$WHO" | call anacron -FAnacron -odi box
printf 'To: box\nSubject: MIME::Lite\n\nout\n' | call MIME::Lite -t -oi -oem
printf 'To: box\r\nSubject: a web form\r\n\r\nout\r\n' | call 'a web form' -t -f web@callers.example
"$SM" -bs >/dev/null <<END
HELO localhost
MAIL FROM:<$WHO>
RCPT TO:<box>
DATA
Subject: a session on standard input

out
.
QUIT
END
arrived 'a session on standard input' '^Subject: a session on standard input$'
grep -q '^more$' "$ROOT/open/box" && say ok 'what stands behind a lone dot' || { say FAILED 'text behind a lone dot is lost'; FAILED=1; }

kill $SERVER; wait $SERVER 2>/dev/null; SERVER=
printf 'To: box\nSubject: without a server\n\nout\n' | "$SM" -t -i || { say FAILED 'without a server'; FAILED=1; }
grep -q 'without a server' "$ROOT/open/box" && { say FAILED 'who delivered that?'; FAILED=1; }
start
arrived 'without a server' '^Subject: without a server$'
exit $FAILED
