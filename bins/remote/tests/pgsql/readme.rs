//! The commands of README's chapter "More than one host".

use crate::server::Server;

#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    let Some(server) = Server::shared() else {
        return;
    };
    server.database("readme");
    let host = server.host("readme", &["access", "mailertable", "sasldb2"]);
    host.write(
        "access",
        "Connect:192.168\tRELAY\nFrom:spam.example\tREJECT\n",
    );
    host.good("makemap hash mailertable", "a.example smtp:[b.example]\n");
    // Generation 7 is to be there.
    for n in 0..7 {
        host.good(&format!("editmap -u pgsql:access k{n} v"), "");
    }
    let readme = include_str!("../../../../README.md");
    let chapter = readme.split("\n## More than one host\n").nth(1).unwrap();
    let chapter = chapter.split("\n## ").next().unwrap();
    let mut tried = 0;
    for line in chapter.lines().filter_map(|line| line.strip_prefix("$ ")) {
        let line = line.split('#').next().unwrap().trim();
        let line = line.replace("/etc/mail/", "").replace("/etc/", "");
        let (line, input) = match line.split_once(" < ") {
            Some((line, file)) => (
                line.to_owned(),
                std::fs::read_to_string(host.path(file)).unwrap(),
            ),
            None => (line, "secret\n".into()),
        };
        // One that follows goes on for ever.
        let line = line.replace("mapctl follow", "mapctl follow --once");
        host.good(&line, &input);
        tried += 1;
    }
    assert_eq!(tried, 8);
    assert_eq!(host.replica("mailertable.pgsql").unwrap().len(), 1);
    assert_eq!(host.replica("access.pgsql").unwrap().len(), 7);
}
