#!/usr/bin/env python3
"""Compares `mapctl ask` with an installed sendmail on random sites and sessions.

usage: decisions_differential.py --bin DIR [--seed N] [--sites N] [--sessions N] [--show N]

--bin DIR   folder with makemap and mapctl

Each site is a sendmail.mc with random FEATUREs and a random access map. sendmail's own m4 makes the .cf, and the
rulesets are asked in test mode (`sendmail -bt`) in network, host-name and mount namespaces of their own, so that no DNS
is there and the host has a qualified name. Needs root, sendmail 8.17, sendmail-cf and unshare(1); where one is missing it
says so and exits 77, as skipped. sendmail's makemap must be reachable as /usr/sbin/makemap.
"""
import argparse, collections, json, os, random, re, shutil, subprocess, sys, tempfile

HOST = "mx.polkatistas.org"
CF = "/usr/share/sendmail/cf/"
LOCAL = ["polkatistas.org", "mail.polkatistas.org", "tubascoundrels.net"]
DOMS = ["good.example", "a.good.example", "spam.example", "x.spam.example", "partner.example", "sub.partner.example",
        "nowhere.invalid", "client.example", "canon.example", "alias.example", "virt.example", "a.virt.example", HOST, "fake.polkatistas.org"] + LOCAL
USERS = ["joe", "bob+lists", "news+a+b", "root", "me+", "J.Doe", "postmaster", '"a b"', '"joe@spam.example"', '"x%spam.example"', "a.b+c",
         "\\joe", "j\\oe", '"joe"', '"bob"+lists', 'bo"b"+lists', '"bob+lists"', '"b\\ob"+x']
ADDRS = ["10.1.2.3", "10.9.8.7", "128.32.2.9", "127.0.0.1", "192.0.2.55", "IPv6:2001:db8::9", "IPv6:2001:db8:1:2:3:4:5:6", "IPv6:0:0:0:0:0:0:0:1", "0"]
# `ERROR:` alone is left out: the rules then take the address behind it for the text.
RHS = ["OK", "RELAY", "REJECT", "DISCARD", "SKIP", "relay", "QUARANTINE:held", "ERROR:5.7.1:550 Go away", "ERROR:550 no", "550 old", "ERROR:4.2.2:450 full", "FRIEND", "HATER",
       "SPAMFRIEND", "QUARANTINE", 'ERROR:"551 quo ted"', "REJECT now", "ERROR:5.7:550 x", "?", "ERROR:5.7.1:550 100%% sure%3 of %0 %x"]
TLSREQ = ["VERIFY", "VERIFY:112", "ENCR:128", "PERM+ENCR:256", "TEMP+VERIFY", "VERIFY+CN", "VERIFY:0+CN:laptop++CI:/C=US/CN=Root", "ENCR:0+CS:/CN=x", "ENCR:abc", "ENCR", "VERIFY:112+", "OK",
          "VERIFY+CITag:MyCA", "ENCR:1+CN", "PERM+OK", "VERIFY:128+FOO++CN:nobody", "NO"]
VERIFY = ["OK", "TRUSTED", "NO", "NOT", "FAIL", "NONE", "TEMP", "PROTOCOL", "SOFTWARE", "CONFIG", "CLEAR", "DANE_FAIL"]

def rel(r, p): return r.random() < p

def site(r):
    mc, feats = [], []
    add = feats.append
    access = rel(r, .9)
    if access:
        opts = [o for o in ("skip", "lookupdotdomain", "relaytofulladdress") if rel(r, .25)]
        add("FEATURE(`access_db',`hash -T<TMPF> -o {DIR}/etc/mail/access'%s)dnl" % "".join(",`%s'" % o for o in opts))
    delay = rel(r, .3)
    if delay:
        arg = r.choice(["", "", "friend", "hater"]) if access else ""
        add("FEATURE(`delay_checks'%s%s)dnl" % (",`%s'" % arg if arg else "", ",`n'" if arg and rel(r, .3) else ""))
    for p, need, text in [(.5, 1, "blocklist_recipients"), (.15, 0, "accept_unqualified_senders"), (.6, 0, "accept_unresolvable_domains"), (.2, 0, "relay_entire_domain"), (.2, 0, "relay_hosts_only"),
                          (.08, 0, "promiscuous_relay"), (.12, 0, "loose_relay_check"), (.15, 0, "require_rdns"), (.12, 1, "relay_mail_from"), (.12, 1, "relay_mail_from', `domain"),
                          (.1, 0, "relay_local_from"), (.1, 0, "nouucp', `reject"), (.1, 0, "nouucp', `nospecial"), (.08, 0, "nopercenthack', `reject"), (.08, 0, "nopercenthack', `nospecial"),
                          (.15, 0, "block_bad_helo"), (.15, 1, "ratecontrol"), (.15, 1, "conncontrol', `%s', `terminate" % ("nodelay" if delay else "")), (.1, 0, "use_client_ptr"), (.15, 0, "nocanonify")]:
        if rel(r, p) and (access or not need) and not any(text.split("'")[0] in f for f in feats): add("FEATURE(`%s')dnl" % text)
    if rel(r, .4): add("RELAY_DOMAIN(`%s')dnl" % " ".join(r.sample(["partner.example", "10.9", "192.0.2.", ".example", "IPv6:2001:db8", "a.virt.example"], 2)))
    if rel(r, .2): add("VIRTUSER_DOMAIN(`virt.example')dnl")
    defs = [t for p, t in [(.1, "define(`confREJECT_MSG', `\"550 Not you\"')dnl"), (.1, "define(`confRELAY_MSG', `\"551 No relay\"')dnl"), (.1, "define(`confRCPTREJ_MSG', `\"550 Never\"')dnl")] if rel(r, p)]
    if rel(r, .6): defs.append("TRUST_AUTH_MECH(`LOGIN PLAIN')dnl")
    head = ["divert(0)dnl", "OSTYPE(`linux')dnl", "define(`confDOMAIN_NAME', `%s')dnl" % HOST, "define(`confCW_FILE', `{DIR}/etc/mail/local-host-names')dnl",
            "define(`confSERVICE_SWITCH_FILE', `{DIR}/etc/mail/service.switch')dnl", "define(`confHOSTS_FILE', `{DIR}/etc/hosts')dnl", "FEATURE(`use_cw_file')dnl"]
    mc = head + defs + feats + ["MAILER(`local')dnl", "MAILER(`smtp')dnl"]
    return "\n".join(mc) + "\n", access

def key(r):
    k = r.randrange(6)
    if k == 0: return r.choice(USERS[:7]) + "@" + r.choice(DOMS)
    if k == 1: return r.choice(USERS[:7]) + "@"
    if k == 2: return r.choice(["10.1", "10.9.8.7", "128.32", "192", "IPv6:2001:db8", "IPv6:2001", "127.0.0.1", "[10.1.2.3]"])
    if k == 3: return "." + r.choice(DOMS)
    return r.choice(DOMS + ["example", "bob+*@polkatistas.org", "BANG_PATH", "a b@good.example"])

def access_map(r):
    lines, seen = [], set()
    def put(l, v):
        if l.lower() not in seen and "\t" not in l and " " not in l: seen.add(l.lower()); lines.append(l + "\t" + v)
    for _ in range(r.randrange(4, 30)): put(r.choice(["From:", "To:", "Connect:", "", "Spam:", "From:", "To:"]) + key(r), r.choice(RHS))
    for _ in range(r.randrange(0, 7)): put(r.choice(["TLS_Clt:", "TLS_Srv:", "TLS_Rcpt:"]) + r.choice([key(r), ""]), r.choice(TLSREQ))
    for _ in range(r.randrange(0, 4)): put(r.choice(["Srv_Features:", "Try_TLS:"]) + r.choice([key(r), ""]), r.choice(["NO", "A", "yes", "a S"]))
    for _ in range(r.randrange(0, 3)): put(r.choice(["ClientRate:", "ClientConn:"]) + r.choice(["10.1", "", "128.32.2.9", "IPv6:2001:db8"]), r.choice(["0", "2", "9", "x"]))
    if rel(r, .4): put("CERTIssuer:/C=US/CN=Root", r.choice(["RELAY", "SUBJECT", "OK"])); put("CERTSubject:/CN=x", "RELAY")
    if rel(r, .4): put("MyCA:/C=US/CN=Root", r.choice(["OK", "NO"]))
    return "\n".join(lines) + "\n"

def quoted(r, name):
    """Another spelling of a domain, with a quote or a backslash."""
    labels = name.split(".")
    at = r.randrange(len(labels))
    labels[at] = r.choice(['"%s"' % labels[at], labels[at][:1] + "\\" + labels[at][1:]])
    return ".".join(labels)

def address(r):
    k, u, d = r.randrange(16), r.choice(USERS), r.choice(DOMS)
    if k > 13: return "%s@%s" % (u, quoted(r, d))
    if k == 0: return u
    if k == 1: return "%s%%%s@%s" % (u, r.choice(DOMS), d)
    if k == 2: return "@%s:%s@%s" % (r.choice(DOMS), u, d)
    if k == 3: return "%s!%s" % (d, u)
    if k == 4: return "%s!%s@%s" % (d, u, r.choice(DOMS))
    if k == 5: return "%s@[%s]" % (u, r.choice(["127.0.0.1", "10.1.2.3", "IPv6:2001:db8::9", "IPv6:::1"]))
    if k == 6: return ("%s@%s" % (u, d)).upper()
    if k == 7: return "%s@%s." % (u, d)
    if k == 8: return "%s@%s" % (u, r.choice(["localhost", "single", "localhost.polkatistas.org", "localhost.UUCP", "x.UUCP", "mx"]))
    if k == 9: return "%s%%%s" % (u, d)
    if k == 10: return "@%s,@%s:%s@%s" % (r.choice(DOMS), r.choice(DOMS), u, d)
    return "%s@%s" % (u, d)

def session(r):
    a = r.choice(ADDRS)
    s = {"client_addr": a, "client_name": r.choice(DOMS + ["localhost", "[%s]" % a, "[%s]" % a, "good.example."]), "client_resolve": r.choice(["OK"] * 5 + ["FAIL", "TEMP", "FORGED"]), "helo": r.choice(DOMS + ["x", "a.b", "127.0.0.1", "localhost", "[10.1.2.3]"]),
         "client_rate": r.randrange(5), "client_connections": r.randrange(5), "server_name": r.choice(DOMS), "server_addr": r.choice(ADDRS), "mail_from": "" if rel(r, .08) else address(r), "rcpt_to": address(r),
         "daemon_flags": r.choice(["", "", "", "u", "f", "CC f", "c"])}
    s["client_ptr"] = r.choice([s["client_name"], r.choice(DOMS)])
    if rel(r, .5): s["tls"] = {"verify": r.choice(VERIFY), "cipher_bits": r.choice([0, 112, 128, 256]), "cn_subject": r.choice(["laptop", "", s["server_name"], s["client_name"]]), "cert_subject": r.choice(["", "/CN=x"]), "cn_issuer": "Root",
                               "cert_issuer": r.choice(["", "/C=US/CN=Root", "/C=US/CN=Other"]), "version": "TLSv1.3", "cipher": "X"}
    if rel(r, .3): s["auth"] = {"mechanism": r.choice(["PLAIN", "CRAM-MD5", "login"]), "authid": "joe", "ssf": r.choice([0, 128])}
    return s

RULES = ["check_relay", "tls_client", "check_mail", "check_rcpt", "trust_auth", "srv_features", "try_tls", "tls_server", "tls_rcpt"]

def script(s, delayed, f):
    t, au = s.get("tls", {}), s.get("auth", {})
    m = {"client_addr": s["client_addr"], "client_name": s["client_name"], "client_ptr": s["client_ptr"], "client_resolve": s["client_resolve"], "client_rate": s["client_rate"], "client_connections": s["client_connections"],
         "verify": t.get("verify", "NONE"), "cipher_bits": t.get("cipher_bits", 0), "cn_subject": t.get("cn_subject", ""), "cert_subject": t.get("cert_subject", ""), "cert_issuer": t.get("cert_issuer", ""),
         "auth_type": au.get("mechanism", ""), "auth_authen": au.get("authid", ""), "auth_ssf": au.get("ssf", ""), "auth_author": "", "server_name": s["server_name"], "server_addr": s["server_addr"], "daemon_flags": s["daemon_flags"]}
    out = [".D{%s}%s" % kv for kv in m.items()] + [".Df" + f, ".Ds%s" % s["helo"]]
    v = m["verify"]
    for f in RULES:
        if f in delayed: continue
        out.append({"check_relay": "translate,check_relay %s $| %s" % (s["client_name"], s["client_addr"]), "tls_client": "translate,tls_client %s $| MAIL" % v, "check_mail": "check_mail <%s>" % s["mail_from"],
                    "check_rcpt": "check_rcpt <%s>" % s["rcpt_to"], "trust_auth": "trust_auth joe", "srv_features": "srv_features dummy", "try_tls": "try_tls dummy", "tls_server": "tls_server " + v, "tls_rcpt": "tls_rcpt <%s>" % s["rcpt_to"]}[f])
    return out

# Test mode gets $f without brackets, the answers show it with them.
def squash(x): return re.sub(r'[\s"<>]+', "", x or "")

def verdict(text):
    t = text.strip()
    if not t.startswith("$#"): return {"action": "accept"}
    t = t[2:].strip()
    if re.match(r"discard\b", t): return {"action": "discard"}
    if not re.match(r"error\b", t): return {"action": "accept", "value": squash(t)}
    at, _, msg = t[5:].partition("$:")
    at = squash(at.replace("$@", ""))
    if at == "quarantine": return {"action": "quarantine", "reason": squash(msg)}
    return {"action": "error", "at": at, "message": squash(msg)}

def ask_sendmail(cf, root, sessions, delayed):
    senders = [s["mail_from"] for s in sessions]
    # With delay_checks the rules see what the server has made of the sender meanwhile.
    if delayed:
        asked = [f for f in senders if f]
        made = dict(zip(asked, ("".join(re.findall(r'"[^"]*"|\S+', t)) for t in test_mode(cf, root, ["3,4 " + f for f in asked]))))
        senders = [made.get(f, "") for f in senders]
    got = test_mode(cf, root, [l for s, f in zip(sessions, senders) for l in script(s, delayed, f)])
    per = len(RULES) - len(delayed)
    if len(got) != per * len(sessions): raise RuntimeError("%d answers for %d questions: %s" % (len(got), per * len(sessions), got[-5:]))
    names = [f for f in RULES if f not in delayed]
    answers = [dict(zip(names, map(verdict, got[i * per:(i + 1) * per]))) for i in range(len(sessions))]
    # A refusal shows the client's own spelling here.
    for s, f, answer in zip(sessions, senders, answers):
        for v in answer.values():
            if "message" in v: v["message"] = v["message"].replace("senderaddress" + squash(f), "senderaddress" + squash(s["mail_from"]))
    return answers

def test_mode(cf, root, lines):
    """What test mode returns for each line that is no definition."""
    inner = 'ip link set lo up 2>/dev/null; hostname %s; mount --bind "$0/etc/hosts" /etc/hosts; mount --bind "$0/etc/nsswitch.conf" /etc/nsswitch.conf; exec sendmail -C "$1" -bt' % HOST
    p = subprocess.run(["unshare", "-nmu", "sh", "-c", inner, root, cf], input="\n".join(lines) + "\n", capture_output=True, text=True, errors="replace", timeout=600)
    got, cur = [], None
    for l in p.stdout.splitlines():
        while l.startswith("> "):
            if cur is not None: got.append(cur); cur = None
            l = l[2:]
        m = re.match(r"(\S+) +(input|returns): ?(.*)$", l)
        if m and m.group(2) == "returns": cur = m.group(3)
        elif m and cur is None: cur = ""
    if cur is not None: got.append(cur)
    return got

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--bin", required=True); ap.add_argument("--seed", type=int, default=1); ap.add_argument("--sites", type=int, default=20); ap.add_argument("--sessions", type=int, default=40); ap.add_argument("--show", type=int, default=10)
    a = ap.parse_args()
    for need in ("/usr/sbin/sendmail", "/usr/sbin/makemap", CF + "m4/cf.m4", "/usr/bin/unshare"):
        if not os.path.exists(need): print("skipped: no %s" % need); sys.exit(77)
    if os.geteuid() != 0: print("skipped: needs root"); sys.exit(77)
    ok, bad, shown = collections.Counter(), collections.Counter(), 0
    base = tempfile.mkdtemp(prefix="differential-", dir="/srv"); os.chmod(base, 0o755)
    try:
        for n in range(a.sites):
            r = random.Random("%d-%d" % (a.seed, n)); root = "%s/%d" % (base, n); os.makedirs(root + "/etc/mail")
            mc, has_access = site(r); acc = access_map(r) if has_access else ""
            files = {"/etc/mail/access": acc, "/etc/mail/local-host-names": "\n".join(LOCAL) + "\n", "/etc/mail/service.switch": "hosts files\naliases files\npasswd files\n", "/etc/mail/aliases": "", "/etc/hostname": HOST + "\n", "/etc/nsswitch.conf": "hosts: files\npasswd: files\ngroup: files\n",
                     "/etc/hosts": "127.0.0.1 localhost\n10.200.0.19 %s mx\n" % HOST + "".join("10.200.1.%d %s\n" % (i, d) for i, d in enumerate(DOMS) if d not in (HOST, "nowhere.invalid", "alias.example", "canon.example")) + "10.200.2.1 canon.example alias.example\n"}
            for p, t in files.items(): open(root + p, "w").write(t)
            open(root + "/site.mc", "w").write(mc.replace("{DIR}", root) + "LOCAL_RULESETS\nStranslate\nR$* $$| $*\t$: $1 $| $2\n")
            cf = subprocess.run(["m4", "-D_CF_DIR_=" + CF, CF + "m4/cf.m4", root + "/site.mc"], capture_output=True, text=True).stdout; open(root + "/site.cf", "w").write(cf)
            subprocess.run(["/usr/sbin/makemap", "hash", root + "/etc/mail/access"], stdin=open(root + "/etc/mail/access"), check=True)
            sessions = [session(r) for _ in range(a.sessions)]
            delayed = ["check_relay", "check_mail"] if "delay_checks" in mc else []
            want = ask_sendmail(root + "/site.cf", root, sessions, delayed)
            ours = root + "/ours"; shutil.copytree(root + "/etc", ours + "/etc"); os.remove(ours + "/etc/mail/access.db")
            open(ours + "/etc/mail/sendmail.mc", "w").write(mc.replace("{DIR}", ""))
            subprocess.run([a.bin + "/makemap", "hash", ours + "/etc/mail/access"], stdin=open(root + "/etc/mail/access"), check=True)
            req = "".join(json.dumps({"ask": "session", "session": s, "trace": True}) + "\n" for s in sessions)
            p = subprocess.run([a.bin + "/mapctl", "ask", "--root", ours], input=req, capture_output=True, text=True)
            answers = p.stdout.splitlines()
            if len(answers) != len(sessions): print("site %d: %s" % (n, p.stderr[:600])); bad["site"] += 1; continue
            for s, w, line in zip(sessions, want, answers):
                g = json.loads(line)
                for f, e in w.items():
                    v = g.get(f) or {}
                    same = v.get("action") == e["action"] and all(squash(v.get(k)) == squash(e.get(k)) for k in ("at", "message", "reason") if k in e) and ("value" not in e or f != "srv_features" or squash(v.get("value")) == e["value"])
                    (ok if same else bad)[f] += 1
                    if not same and shown < a.show:
                        shown += 1
                        print("seed %d site %d %s\n  %s\n  asked    %s\n  sendmail %s\n  ours     %s" % (a.seed, n, f, " ".join(re.findall(r"(?:FEATURE|RELAY_DOMAIN|VIRTUSER_DOMAIN)\([^)]*\)|conf\w+MSG", mc)).replace("{DIR}", ""), json.dumps(s), json.dumps(e), json.dumps(v)))
                        for t in (g.get("trace") or {}).get(f, []):
                            if t["found"] is not None: print("     ", " ".join("%s" % x for x in t.values()))
            shutil.rmtree(root)
    finally: shutil.rmtree(base, ignore_errors=True)
    for f in sorted(set(ok) | set(bad)): print("%-13s %6d same %6d different" % (f, ok[f], bad[f]))
    sys.exit(1 if bad else 0)
main()
