#!/usr/bin/env python3
"""Compares `mapctl ask` with an installed sendmail on random sites: where mail goes and what addresses become.

usage: differential.py [--seed N] [--sites N] [--kind route,rewrite,aliases] [--write FILE] [--bin DIR]

For each site it makes up a sendmail.mc, tables and addresses, asks sendmail (`-bt` with /parse and /try, `-bv`), and then
`DIR/mapctl ask`; the questions and sendmail's answers can be written to FILE, in the format of testdata/conformance.
Where there is no sendmail it says so and exits 0. Needs root, for a network and a mount namespace.
"""
import argparse, json, os, random, re, shutil, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from sendmail_oracle import TABLES, Oracle, missing

HOSTS = "127.0.0.1 localhost\n10.200.0.1 mx.polkatistas.org\n10.200.0.2 polkatistas.org\n10.200.0.3 hackenbush.com\n10.200.0.4 bobs.hackenbush.com\n10.200.0.5 remote.example\n10.200.0.6 visi.com\n10.200.0.7 inside.lan\n10.200.0.8 a.inside.lan Alias.Inside.LAN short\n10.200.0.9 onlyshort\n"
OURS = ["polkatistas.org", "tubascoundrels.net", "virt.example", "localhost", "mx.polkatistas.org", "localhost.polkatistas.org"]
THEIRS = ["remote.example", "sub.remote.example", "visi.com", "inside.lan", "a.inside.lan", "hackenbush.com", "bobs.hackenbush.com", "deep.er.client.example", "client.example", "x.client.example",
          "nowhere.invalid", "v.vhost.example", "vhost.example", "Alias.Inside.LAN", "short", "onlyshort", "unknownshort", "old.example", "a.old.example", "g.example", "sub.g.example", "under_score.example", "x-y.example", "pl+us.example"]
ODD = ["[192.0.2.1]", "[10.1.2.3]", "[IPv6:2001:db8::1]", "[127.0.0.1]", "foo.REDIRECT", "", ".", "a..b", ".example", "[1.2.3.4]x", "a:b", "b.UUCP", "remote.example.", "[a]:[b]", "[hub.example]", '"remote".example', "remo\\te.example", 'vi\\si.com', '"old".example', 'g.ex"am"ple', '"virt.example"', "v.vh\\ost.example", '"a.inside".lan']
LOCALS = ["joe", "Joe", "root", "ROOT", "mick", "postmaster", "info", "bob+lists", "me++x", "news+a+b", "joe+", "+x", "J.Doe", "news", "nobodyhere", "daemon", "\\\\joe", "a_b", "owner-list"]
ODD_LOCALS = ['"a b"', '"joe@remote.example"', "joe%visi.com", "joe%virt.example", "a%b%c", "host!user", "a.b!user", "h1!h2!user", "joe smith", '"joe"', '""', "a@b", "\\\\@x", '"|/bin/x"', "/etc/x", "a/b", "joe%", "!joe", "%x", "a,b", "x;", "@visi.com:joe", "@visi.com,@inside.lan:joe", "phrase: joe", "joe (comment)", "(c) joe", "j\\oe", '"bob"+lists', 'b"o"b+x', "in\\fo", '"info"']


def pick(r, *pools):
    return r.choice(r.choice(pools))


def address(r):
    local = pick(r, LOCALS, LOCALS, LOCALS, ODD_LOCALS)
    shape = r.random()
    if shape < 0.15:
        return local
    text = local + "@" + pick(r, OURS, THEIRS, THEIRS, ODD)
    if shape > 0.95:
        text = "Joe Doe <%s>" % text
    elif shape > 0.92:
        text = "<%s>" % text
    return text


def mailer_rhs(r):
    return r.choice(["smtp:hub.example", "relay:[hub.example]", "esmtp:user@hub.example", "local:", "local:postmaster", "local:u@x.example", "error:nohost No such host here", "error:5.7.0:550 no", "error:nohost:go away",
                     "smtp8:%1", "smtp:%2", "smtp:%1.inner.example", "dsmtp:%0", "hub.example", "[10.0.0.5]", "discard:x", "procmail:/etc/rc", "smtp:hub.example:backup.example", "esmtp:[10.0.0.5]", "relay:", "polkatistas.org", ".client.example", "x.client.example"])


def relay(r):
    return r.choice(["relay:hub.polkatistas.org", "hub.polkatistas.org", "smtp:[hub.example]", "local:postmaster", "error:5.1.1:550 gone", "esmtp:joe@hub.example", "[10.0.0.9]", "polkatistas.org"])


def virtual_rhs(r):
    return r.choice(["mail", "%1", "%1@remote.example", "%1%3@remote.example", "%0@x.example", "daemon+%2", "%2", "news%3", "error:nouser No such user here", "error:5.7.0:550 Address invalid", "error:nouser", "error:550 gone",
                     'error:5.1.1:"550 User unknown"', "joe@virt.example", "joe%visi.com@polkatistas.org", '"a b"', "bob+lists@polkatistas.org", "%1@vhost.example"])


def site(r, kind):
    mc = ["divert(-1)", "divert(0)dnl", "VERSIONID(`random site')dnl", "OSTYPE(`linux')dnl", "define(`confDOMAIN_NAME', `mx.polkatistas.org')dnl", "define(`confCW_FILE', `/etc/mail/local-host-names')dnl", "define(`ALIAS_FILE', `/etc/mail/aliases')dnl"]
    files = {"/etc/mail/local-host-names": "polkatistas.org\ntubascoundrels.net\nvirt.example\n", "/etc/mail/service.switch": "hosts files\naliases files\npasswd files\n", "/etc/hosts": HOSTS,
             "/etc/passwd": "".join("%s:x:%d:%d::/nonexistent:/bin/sh\n" % (u, i, i) for i, u in enumerate(["root", "daemon", "bin", "sys", "games", "man", "lp", "mail", "news", "backup", "joe"]))}

    def maybe(p, line):
        if r.random() < p:
            mc.append(line + "dnl")
            return True

    for name, p in [("SMART_HOST", 0.12), ("MAIL_HUB", 0.12), ("LUSER_RELAY", 0.2), ("LOCAL_RELAY", 0.08)]:
        if maybe(p, "define(`%s', `%s')" % (name, relay(r))) and name == "LUSER_RELAY":
            maybe(0.3, "FEATURE(`preserve_luser_host')")
    maybe(1, "FEATURE(`use_cw_file')")
    maybe(0.2, r.choice(["FEATURE(`nouucp',`reject')", "FEATURE(`nouucp',`nospecial')"]))
    maybe(0.1, "FEATURE(`nopercenthack',`reject')")
    maybe(0.15, r.choice(["FEATURE(`nocanonify')", "FEATURE(`nocanonify',`canonify_hosts')"]))
    maybe(0.1, "FEATURE(`stickyhost')")
    maybe(0.15, "FEATURE(`preserve_local_plus_detail')")
    maybe(0.15, "FEATURE(`redirect')")
    maybe(0.15, "FEATURE(`always_add_domain')")
    maybe(0.15, "LOCAL_USER(`root')")
    maybe(0.1, "FEATURE(`local_lmtp')")
    if maybe(0.4, "FEATURE(`domaintable',`hash -o /etc/mail/domaintable')"):
        files["/etc/mail/domaintable"] = "old.example\tremote.example\na.old.example\tvirt.example\nshort\tx.example\n"
    if maybe(0.5, "FEATURE(`virtusertable',`hash -o /etc/mail/virtusertable')"):
        maybe(0.4, "FEATURE(`virtuser_entire_domain')")
        maybe(0.5, "VIRTUSER_DOMAIN(`vhost.example')")
        keys = ["%s@%s" % (u, d) for u in ["joe", "info", "bob++", "bob+*", "joe+*", "news+a+b", "me++", "", "+*", "++", "nobodyhere"] for d in ["polkatistas.org", "virt.example", "vhost.example", "v.vhost.example", "tubascoundrels.net"]]
        files["/etc/mail/virtusertable"] = "".join("%s\t%s\n" % (k, virtual_rhs(r)) for k in r.sample(keys, r.randint(0, 20)))
    if maybe(0.5, "FEATURE(`mailertable',`hash -o /etc/mail/mailertable')"):
        keys = [".", ".example", ".client.example", "client.example", ".er.client.example", "remote.example", "visi.com", ".lan", "a.inside.lan", "short", "onlyshort", ".invalid", "pl+us.example", "sub.remote.example", "hub.example"]
        files["/etc/mail/mailertable"] = "".join("%s\t%s\n" % (k, mailer_rhs(r)) for k in r.sample(keys, r.randint(0, 9)))
    if kind == "rewrite" or r.random() < 0.2:
        if maybe(0.7, "MASQUERADE_AS(`%s')" % r.choice(["hackenbush.com", "pub.example", "mx.polkatistas.org", "sub.inside.lan"])):
            maybe(0.3, "FEATURE(`allmasquerade')")
            maybe(0.5, "FEATURE(`masquerade_envelope')")
            maybe(0.3, "FEATURE(`limited_masquerade')")
            maybe(0.3, "EXPOSED_USER(`root mick')")
        maybe(0.2, "FEATURE(`local_no_masquerade')")
        maybe(0.3, "FEATURE(`masquerade_entire_domain')")
        maybe(0.4, "MASQUERADE_DOMAIN(`%s')" % r.choice(["inside.lan", "virt.example inside.lan", "hackenbush.com"]))
        maybe(0.3, "MASQUERADE_EXCEPTION(`%s')" % r.choice(["a.inside.lan", "virt.example", "polkatistas.org"]))
        if maybe(0.5, "FEATURE(`genericstable',`hash -o /etc/mail/genericstable')"):
            maybe(0.6, "GENERICS_DOMAIN(`%s')" % r.choice(["g.example", "polkatistas.org inside.lan", "virt.example"]))
            maybe(0.4, "FEATURE(`generics_entire_domain')")
            keys = ["joe", "root", "bob+*", "bob", "@g.example", "@inside.lan", "joe@g.example", "joe@polkatistas.org", "bob+*@polkatistas.org", "joe@mx.polkatistas.org", "news+*", "J.Doe", "news@inside.lan", "bob+lists", "+*"]
            rhs = ["Joe.Doe@pub.example", "jdoe", "%1@pub.example", "list-%1@polkatistas.org", "x@old.example", "root", "mick@short", "a!b@pub.example"]
            files["/etc/mail/genericstable"] = "".join("%s\t%s\n" % (k, r.choice(rhs)) for k in r.sample(keys, r.randint(1, 9)))
    maybe(1, "FEATURE(`accept_unresolvable_domains')")
    mc += ["MAILER(`local')dnl", "MAILER(`smtp')dnl", ""]
    files["/etc/mail/sendmail.mc"] = "\n".join(mc)
    names = ["list", "dev", "all", "loop1", "loop2", "loop3", "staff", "info", "owner-list", "postmaster", "root", "joe", "ops+night", "ops+*", "boss", "big.boss", "owner-all", "mail", "joe+*"]
    targets = names + ["\\root", "\\joe", "\\nouser", "x@remote.example", "Big.Boss@Remote.Example", "staff@virt.example", "|/bin/true", '"|/bin/cat > /dev/null"', "/var/mail/arch", ":include:/etc/mail/lists/one", ":include:/etc/mail/lists/two", ":include:/etc/mail/lists/missing", "mail", "news", "bin", "nosuch", "joe+x", "ops+day", "list+y", "nouser+z", "JOE", "joe%visi.com@polkatistas.org", '"root"', "Joe Doe <joe@virt.example>", "daemon (comment)"]

    def targets_of():
        return ", ".join(r.choice(targets) for _ in range(r.choice([1, 1, 2, 3, 4])))

    files["/etc/mail/aliases"] = "".join("%s: %s\n" % (n, targets_of()) for n in r.sample(names, r.randint(2, len(names))))
    for f in ("one", "two"):
        files["/etc/mail/lists/" + f] = "# a list\n" + "".join(targets_of() + r.choice(["", " #@# note"]) + "\n" for _ in range(r.randint(0, 3)))
    return files, names


def cases(r, kind, files, names, oracle):
    if kind == "route":
        rcpts = [address(r) for _ in range(40)]
        return [{"session": {"rcpt_to": a}, "expect": {"route": {"mailer": m, "host": h, "user": u}}} for a, (m, h, u) in zip(rcpts, oracle.routes(rcpts))]
    if kind == "rewrite":
        ways = ["header-sender", "header-recipient", "envelope-sender", "envelope-recipient"]
        asked = [(r.choice(ways), r.choice(["esmtp", "local", "relay", "prog", "smtp8"]), address(r)) for _ in range(60)]
        got = oracle.rewrites(asked)
        if len(got) != len(asked):
            return []
        return [{"as": w, "mailer": m, "address": a, "result": x} for (w, m, a), x in zip(asked, got)]
    asked = [r.choice(names + ["nouser", "joe+x", "list+y", "ops+z", "joe@virt.example", "Root", "news", "x@remote.example", "\\root", "joe,root", "all@polkatistas.org", "|/bin/x", "loop1 loop2"]) for _ in range(10)]
    return [{"address": a, "expect": oracle.expand(a)} for a in asked]


def squash(text):
    return re.sub(r'[\s"]+', "", text or "")


def norm(route):
    return route.get("mailer"), (route.get("host") or "").rstrip(".").lower(), squash(route.get("user"))


def differs(case, got):
    if "session" in case:
        return norm(case["expect"]["route"]) != norm(got.get("route") or {})
    if "as" in case:
        return squash(case["result"]) != squash(got.get("result"))
    e = case["expect"]
    return (sorted(set(map(norm, e["deliver"]))) != sorted(set(map(norm, got.get("deliver") or []))) or e["unknown"] != sorted(set(got.get("unknown") or [])) or bool(e["errors"]) != bool(got.get("errors")))


def ask(bin_, files, questions):
    """The answers of our programs."""
    root = tempfile.mkdtemp(prefix="differential-")
    try:
        for path, text in files.items():
            os.makedirs(os.path.dirname(root + path), exist_ok=True)
            with open(root + path, "w", encoding="latin-1", newline="") as f:
                f.write(text)
        for t in TABLES:
            p = root + "/etc/mail/" + t
            if os.path.exists(p):
                subprocess.run([bin_ + "/makemap", "hash", p], stdin=open(p, "rb"), capture_output=True, check=True)
        subprocess.run([bin_ + "/newaliases", "--root", root], capture_output=True)
        text = "".join(json.dumps(q) + "\n" for q in questions)
        r = subprocess.run([bin_ + "/mapctl", "ask", "--root", root], input=text.encode(), capture_output=True, timeout=300)
        return [json.loads(line) for line in r.stdout.splitlines()] or [{"stderr": r.stderr.decode("latin-1")}]
    finally:
        shutil.rmtree(root, ignore_errors=True)


def question(case):
    if "session" in case:
        return {"ask": "session", "session": case["session"]}
    if "as" in case:
        return {"ask": "rewrite", "as": case["as"], "mailer": case["mailer"], "address": case["address"]}
    return {"ask": "expand", "address": case["address"]}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--sites", type=int, default=20)
    ap.add_argument("--kind", default="route,rewrite,aliases")
    ap.add_argument("--write")
    ap.add_argument("--bin")
    a = ap.parse_args()
    why = missing()
    if why:
        print("skipped: " + why)
        return 0
    out = open(a.write, "w") if a.write else None
    asked = wrong = 0
    for n in range(a.sites):
        for kind in a.kind.split(","):
            r = random.Random("%d/%d/%s" % (a.seed, n, kind))
            files, names = site(r, kind)
            with Oracle(files) as oracle:
                all_cases = cases(r, kind, files, names, oracle)
            name = "%s-%d-%d" % (kind, a.seed, n)
            if out:
                out.write(json.dumps({"site": name, "files": files, "cases": all_cases}) + "\n")
            if not a.bin:
                continue
            got = ask(os.path.abspath(a.bin), files, [question(c) for c in all_cases])
            got += [{}] * (len(all_cases) - len(got))
            for case, g in zip(all_cases, got):
                asked += 1
                if differs(case, g):
                    wrong += 1
                    print("%s %s\n  got %s" % (name, json.dumps(case), json.dumps(g)[:400]))
    if a.bin:
        print("%d asked, %d differ" % (asked, wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
