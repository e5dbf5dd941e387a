use super::*;
use zeroize::Zeroizing;

fn request(login: &str, password: &str, service: &str, realm: &str) -> Request {
    Request {
        login: login.into(),
        password: Zeroizing::new(password.into()),
        service: service.into(),
        realm: realm.into(),
    }
}

fn cache(slots: usize) -> CredentialCache {
    let options = CacheOptions {
        slots,
        timeout: Duration::from_secs(10),
    };
    CredentialCache::new(options, &[7; 64])
}

fn ask(cache: &CredentialCache, r: &Request, now: Instant) -> Found {
    cache.lookup(&cache.key(r).unwrap(), now)
}

fn keep(cache: &mut CredentialCache, r: &Request, now: Instant) {
    let key = cache.key(r).unwrap();
    cache.insert(key, now);
}

#[test]
fn hits_misses_and_expiry() {
    let (mut cache, now) = (cache(5), Instant::now());
    let alice = request("alice", "secret", "smtp", "example.org");
    assert_eq!(ask(&cache, &alice, now), Found::Nothing);
    keep(&mut cache, &alice, now);
    let later = now + Duration::from_secs(9);
    let cases = [
        (alice.clone(), later, Found::Valid),
        (
            request("alice", "Secret", "smtp", "example.org"),
            later,
            Found::OtherPassword,
        ),
        (
            request("alice", "secret", "imap", "example.org"),
            later,
            Found::Nothing,
        ),
        (
            request("alice", "secret", "smtp", ""),
            later,
            Found::Nothing,
        ),
        (
            request("alicee", "secret", "smtp", "xample.org"),
            later,
            Found::Nothing,
        ),
        (alice.clone(), now + Duration::from_secs(10), Found::Nothing),
    ];
    for (r, when, want) in cases {
        assert_eq!(ask(&cache, &r, when), want, "{r:?}");
    }
}

#[test]
fn a_new_password_takes_the_place_of_the_old_one() {
    let (mut cache, now) = (cache(5), Instant::now());
    let (old, new) = (request("a", "old", "", ""), request("a", "new", "", ""));
    keep(&mut cache, &old, now);
    keep(&mut cache, &new, now);
    assert_eq!(cache.len(), 1);
    assert_eq!(ask(&cache, &old, now), Found::OtherPassword);
    assert_eq!(ask(&cache, &new, now), Found::Valid);
    cache.clear();
    assert!(cache.is_empty());
    assert_eq!(ask(&cache, &new, now), Found::Nothing);
}

#[test]
fn sixty_octets_with_their_nuls_are_the_limit() {
    let cache = cache(5);
    // 45 + 11 + 4 and no NULs would be 60; with three NULs, 42 + 11 + 4 is.
    let fits = request(&"a".repeat(42), "x", "smtp", "example.org");
    let long = request(&"a".repeat(43), "x", "smtp", "example.org");
    assert!(cache.key(&fits).is_some());
    assert!(cache.key(&long).is_none());
}

#[test]
fn a_full_slot_gives_up_its_oldest() {
    let (mut cache, now) = (cache(1), Instant::now());
    for i in 0..7u64 {
        let r = request(&format!("u{i}"), "p", "", "");
        keep(&mut cache, &r, now + Duration::from_millis(i));
    }
    assert_eq!(cache.len(), 6);
    let later = now + Duration::from_secs(1);
    assert_eq!(
        ask(&cache, &request("u0", "p", "", ""), later),
        Found::Nothing
    );
    for i in 1..7 {
        let r = request(&format!("u{i}"), "p", "", "");
        assert_eq!(ask(&cache, &r, later), Found::Valid, "{i}");
    }
}

#[test]
fn the_table_has_as_many_slots_as_the_original_gives_it() {
    let cases = [
        (1, 3),
        (2, 5),
        (16, 29),
        (17, 31),
        (100, 179),
        (1000, 1783),
        (1024, 1823),
        (2048, 3643),
        (4096, 7283),
    ];
    for (kilobytes, slots) in cases {
        assert_eq!(CacheOptions::slots_for(kilobytes), slots, "-s {kilobytes}");
    }
    assert_eq!(CacheOptions::default().buckets(), 10_266);
}

#[test]
fn no_password_stands_in_the_table() {
    let (mut cache, now) = (cache(3), Instant::now());
    keep(&mut cache, &request("alice", "hunter2hunter2", "", ""), now);
    let shown = format!("{cache:?}");
    assert_eq!(shown, "CredentialCache(1 of 18)");
    let bucket = cache.table.iter().flatten().next().unwrap();
    assert!(!bucket.what.windows(7).any(|w| w == b"hunter2"));
    // Another key, another hash: a table is worth nothing without its key.
    let other = CredentialCache::new(cache.options, &[8; 64]);
    let there = other
        .key(&request("alice", "hunter2hunter2", "", ""))
        .unwrap();
    assert_ne!(there.who, bucket.who);
}
