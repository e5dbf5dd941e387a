use super::*;
use crate::map::{Entry, MapClass};
use crate::site::load;
use crate::store::publish::{Options, Publisher};
use std::fs;
use std::path::PathBuf;

/// One class that must be there, and one that may be missing.
const RELAYS_AND_NAMES: &str = "OSTYPE(`linux')dnl\n\
    define(`confDOMAIN_NAME', `mail.example.test')dnl\n\
    define(`confLDAP_DEFAULT_SPEC', `-h localhost -b dc=x')dnl\n\
    RELAY_DOMAIN_FILE(`@LDAP')dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n\
    LOCAL_CONFIG\nF{w}-o @LDAP\n";

const VIRTUAL: &str = "OSTYPE(`linux')dnl\n\
    define(`confDOMAIN_NAME', `mail.example.test')dnl\n\
    define(`confLDAP_DEFAULT_SPEC', `-h localhost -b dc=x')dnl\n\
    VIRTUSER_DOMAIN_FILE(`@LDAP')dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n";

fn publish(replica: &Path, words: &[&str]) {
    let options = Options::new(MapClass::Hash, "test");
    let mut publisher = Publisher::create(replica, options).unwrap();
    for word in words {
        publisher.put(Entry::new(*word, *word)).unwrap();
    }
    publisher.publish().unwrap();
}

#[test]
fn a_class_follows_its_map_and_keeps_its_words_without_it() {
    let root = tempfile::tempdir().unwrap();
    let mail = root.path().join("etc/mail");
    fs::create_dir_all(&mail).unwrap();
    fs::write(mail.join("sendmail.mc"), VIRTUAL).unwrap();
    let load = || load(Some(root.path()), None).unwrap();
    let errors: Vec<String> = load().errors().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains("sendmail.mc:4: error: class VirtHost: its words were never fetched")
            && errors[0].contains("mapctl follow --once"),
        "{errors:?}"
    );
    fs::write(
        mail.join("class-VirtHost.ldap"),
        "host localhost\nbase dc=x\n",
    )
    .unwrap();
    let replica = mail.join("class-VirtHost.ldap.db");
    publish(&replica, &["shop.example"]);
    let loaded = load();
    assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
    // What may have a virtual user may be relayed to.
    let has = |site: &Site, word: &[u8]| {
        let classes = &site.classes;
        let both = [&classes.virtual_hosts, &classes.relay_domains];
        assert_eq!(both[0].contains(word), both[1].contains(word));
        both[0].contains(word)
    };
    assert!(has(&loaded.site, b"shop.example"));
    let site = Arc::new(loaded.site);
    let live = LiveClasses::of(&site);
    let now = || live.site(|news| panic!("{news}"));
    // The words that it was loaded with are no reason for another.
    assert!(Arc::ptr_eq(&now(), &site));
    assert!(Arc::ptr_eq(&now(), &now()));
    publish(&replica, &["shop.example"]);
    assert!(Arc::ptr_eq(&now(), &site));
    publish(&replica, &["store.example"]);
    assert!(has(&now(), b"store.example") && !has(&now(), b"shop.example"));
    fs::remove_file(&replica).unwrap();
    let mut told = 0;
    assert!(has(&live.site(|_| told += 1), b"store.example"));
    assert_eq!(told, 1);
    fs::write(&replica, "nonsense").unwrap();
    assert!(has(&live.site(|_| told += 1), b"store.example"));
    assert_eq!(told, 2);
}

/// A host with the classes of [`RELAYS_AND_NAMES`].
struct Host {
    root: tempfile::TempDir,
}

/// What a look at a host's classes finds.
struct Seen {
    relays: String,
    names: String,
    news: Vec<String>,
}

impl Host {
    fn new(relays: Option<&str>, names: Option<&str>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let host = Host { root };
        fs::create_dir_all(host.path("")).unwrap();
        fs::write(host.path("sendmail.mc"), RELAYS_AND_NAMES).unwrap();
        for (class, word) in [("R", relays), ("w", names)] {
            let text = "host localhost\nbase dc=x\n";
            fs::write(host.path(&format!("class-{class}.ldap")), text).unwrap();
            if let Some(word) = word {
                host.publish(class, word);
            }
        }
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("etc/mail").join(name)
    }

    fn replica(&self, class: &str) -> PathBuf {
        self.path(&format!("class-{class}.ldap.db"))
    }

    fn publish(&self, class: &str, word: &str) {
        let _ = fs::remove_file(self.replica(class));
        publish(&self.replica(class), &[word]);
    }

    fn remove(&self, class: &str) {
        fs::remove_file(self.replica(class)).unwrap();
    }

    /// By rename, as all that is published.
    fn damage(&self, class: &str) {
        fs::write(self.path("draft"), "nonsense").unwrap();
        fs::rename(self.path("draft"), self.replica(class)).unwrap();
    }

    fn load(&self) -> LiveClasses {
        let loaded = load(Some(self.root.path()), None).unwrap();
        assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
        LiveClasses::of(&Arc::new(loaded.site))
    }
}

/// Looks; of the class of local names, only what ends in `.example` is from the map.
fn look(live: &LiveClasses) -> Seen {
    let mut news = Vec::new();
    let site = live.site(|new| news.push(new.to_string()));
    let words = |class: &crate::site::model::Class| {
        let words = class.sorted().into_iter();
        let words = words.map(|word| String::from_utf8(word.to_vec()).unwrap());
        let shared: Vec<String> = words.filter(|word| word.ends_with(".example")).collect();
        shared.join(" ")
    };
    Seen {
        relays: words(&site.classes.relay_domains),
        names: words(&site.classes.local_hosts),
        news,
    }
}

/// Asserts what the classes hold, and what is told of which class, in order.
fn expect(live: &LiveClasses, words: [&str; 2], told: &[&str]) {
    let seen = look(live);
    assert_eq!(
        [seen.relays.as_str(), &seen.names],
        words,
        "{:?}",
        seen.news
    );
    assert_eq!(seen.news.len(), told.len(), "{:?}", seen.news);
    for (news, told) in seen.news.iter().zip(told) {
        assert!(news.starts_with(told), "{news}: {told}");
    }
}

const R_KEPT: &str = "class R kept as it was: ";
const W_KEPT: &str = "class w kept as it was: ";
const R_AGAIN: &str = "class R: /etc/mail/class-R readable again";
const W_AGAIN: &str = "class w: /etc/mail/class-w readable again";

#[test]
fn words_of_the_start_stay_when_the_first_look_finds_no_map() {
    type Harm = fn(&Host, &str);
    let harms: [(&str, Harm); 3] = [
        ("removed", |host, class| host.remove(class)),
        ("damaged", |host, class| host.damage(class)),
        ("its connection file can't be read", |host, class| {
            let file = host.path(&format!("class-{class}.ldap"));
            fs::remove_file(&file).unwrap();
            fs::create_dir(file).unwrap();
        }),
    ];
    for (name, harm) in harms {
        for classes in [&["w"][..], &["R"], &["R", "w"]] {
            println!("{name}: {classes:?}");
            let host = Host::new(Some("relay.example"), Some("own.example"));
            let live = host.load();
            for class in classes {
                harm(&host, class);
            }
            let told: Vec<String> = classes
                .iter()
                .map(|class| format!("class {class} kept as it was: "))
                .collect();
            let told: Vec<&str> = told.iter().map(String::as_str).collect();
            expect(&live, ["relay.example", "own.example"], &told);
            expect(&live, ["relay.example", "own.example"], &[]);
        }
    }
}

#[test]
fn each_class_follows_its_map_whatever_becomes_of_the_other() {
    for (broken, other) in [("R", "w"), ("w", "R")] {
        println!("{broken} broken");
        let host = Host::new(Some("old.example"), Some("old.example"));
        let live = host.load();
        let pair = |of_broken, of_other| match broken {
            "R" => [of_broken, of_other],
            _ => [of_other, of_broken],
        };
        let (kept, again, other_kept, other_again) = match broken {
            "R" => (R_KEPT, R_AGAIN, W_KEPT, W_AGAIN),
            _ => (W_KEPT, W_AGAIN, R_KEPT, R_AGAIN),
        };
        // Broken since the start: the other's words come and go.
        host.damage(broken);
        host.publish(other, "new.example");
        expect(&live, pair("old.example", "new.example"), &[kept]);
        host.publish(other, "newer.example");
        expect(&live, pair("old.example", "newer.example"), &[]);
        // With both gone, both stay.
        host.remove(other);
        expect(&live, pair("old.example", "newer.example"), &[other_kept]);
        host.remove(broken);
        expect(&live, pair("old.example", "newer.example"), &[kept]);
        expect(&live, pair("old.example", "newer.example"), &[]);
        // And each comes back by itself.
        host.publish(broken, "back.example");
        expect(&live, pair("back.example", "newer.example"), &[again]);
        host.publish(other, "too.example");
        expect(&live, pair("back.example", "too.example"), &[other_again]);
        expect(&live, pair("back.example", "too.example"), &[]);
        // One that was read and vanishes stays, as does one that vanished before.
        host.remove(broken);
        expect(&live, pair("back.example", "too.example"), &[kept]);
        host.publish(other, "last.example");
        expect(&live, pair("back.example", "last.example"), &[]);
    }
}

#[test]
fn an_optional_class_without_a_map_is_empty_until_it_has_one() {
    let host = Host::new(Some("relay.example"), None);
    let live = host.load();
    expect(&live, ["relay.example", ""], &[]);
    host.damage("w");
    expect(&live, ["relay.example", ""], &[W_KEPT]);
    // What need not be there is nothing to tell, but the next fault is.
    host.remove("w");
    expect(&live, ["relay.example", ""], &[]);
    host.damage("w");
    expect(&live, ["relay.example", ""], &[W_KEPT]);
    host.publish("w", "own.example");
    expect(&live, ["relay.example", "own.example"], &[W_AGAIN]);
    host.remove("w");
    expect(&live, ["relay.example", "own.example"], &[W_KEPT]);
}

#[test]
fn a_map_that_is_put_back_is_readable_again() {
    let host = Host::new(Some("relay.example"), Some("own.example"));
    let live = host.load();
    expect(&live, ["relay.example", "own.example"], &[]);
    fs::rename(host.replica("R"), host.path("aside")).unwrap();
    expect(&live, ["relay.example", "own.example"], &[R_KEPT]);
    fs::rename(host.path("aside"), host.replica("R")).unwrap();
    expect(&live, ["relay.example", "own.example"], &[R_AGAIN]);
    expect(&live, ["relay.example", "own.example"], &[]);
}
