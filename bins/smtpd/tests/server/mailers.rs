//! What mailers define is what is run: paths, arguments, flags and users.

use std::fs;

use crate::site::Site;
use crate::stage::{aliases, mode, send};

/// A site with a program that writes its arguments, its user and its input down.
fn site(mc: impl Fn(&str) -> String) -> Site {
    let site = Site::new("");
    fs::create_dir_all(site.path("open")).unwrap();
    mode(&site, "open", 0o1777);
    let out = site.path("open/out");
    let program = site.path("open/mda");
    let script = format!(
        "#!/bin/sh\n{{ for word in \"$@\"; do printf '<%s>' \"$word\"; done\n\
         echo \" as $(id -u):$(id -g) in $(pwd)\"; cat; echo .; }} >> {}\n",
        out.display()
    );
    site.write("open/mda", &script);
    mode(&site, "open/mda", 0o755);
    site.write(
        "etc/mail/sendmail.mc",
        &Site::mc(&mc(program.to_str().unwrap())),
    );
    site
}

#[test]
fn commands_run_by_the_shell_that_the_site_names() {
    let site = site(|program| {
        format!(
            "define(`LOCAL_SHELL_PATH', `{program}')dnl\n\
             define(`LOCAL_SHELL_ARGS', `rsh -r $u')dnl"
        )
    });
    let evil = site.path("open/evil");
    aliases(&site, &format!("prog: \"|touch {}\"\n", evil.display()));
    let server = site.start();
    send(&server, "prog");
    let text = site.text_with("open/out", "Subject: to prog");
    let want = format!("<-r><touch {}> as ", evil.display());
    assert!(text.starts_with(&want), "{text}");
    assert!(!evil.exists());
}
