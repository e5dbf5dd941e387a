use super::*;
use proptest::prelude::*;

fn runs(budget: usize) -> Runs {
    Runs::new(budget, Box::new(tempfile::tempfile))
}

type Pair = (Vec<u8>, Vec<u8>);

fn sorted(runs: Runs, keep: Keep) -> (Vec<Pair>, Vec<u64>) {
    let mut out = Vec::new();
    let duplicates = runs
        .merge(keep, &|e| panic!("{e}"), &mut |lhs, rhs| {
            out.push((lhs.to_vec(), rhs.to_vec()));
            Ok(())
        })
        .unwrap();
    (out, duplicates.iter().map(|d| d.line).collect())
}

fn push(runs: &mut Runs, line: u64, lhs: &[u8], rhs: &[u8]) {
    runs.push(Record { line, lhs, rhs }).unwrap();
}

#[test]
fn which_of_several_values_is_kept() {
    for (keep, want, lines) in [
        (Keep::First, "a=1 b=2", vec![3, 4]),
        (Keep::Last, "a=4 b=2", vec![3, 4]),
        (Keep::All, "a=1 a=3 a=4 b=2", vec![]),
    ] {
        let mut r = runs(1 << 30);
        push(&mut r, 1, b"a", b"1");
        push(&mut r, 2, b"b", b"2");
        push(&mut r, 3, b"a", b"3");
        push(&mut r, 4, b"a", b"4");
        let (out, duplicates) = sorted(r, keep);
        let shown: Vec<String> = out
            .iter()
            .map(|(l, r)| format!("{}={}", l.escape_ascii(), r.escape_ascii()))
            .collect();
        assert_eq!(shown.join(" "), want);
        assert_eq!(duplicates, lines);
    }
}

#[test]
fn many_chunks_some_in_a_file_merge_in_order() {
    let mut r = runs(2 * CHUNK_OCTETS);
    let rhs = vec![b'x'; 1000];
    let mut n: u32 = 1;
    for line in 0..60_000 {
        // A full-period generator: every number below 2^16 once.
        n = (n.wrapping_mul(0x6255) + 0x3619) & 0xffff;
        push(
            &mut r,
            line,
            format!("a common prefix {n:05}").as_bytes(),
            &rhs,
        );
    }
    assert!(r.runs.iter().any(|run| matches!(run, Run::Spilled(_))));
    assert!(r.memory() < 8 * CHUNK_OCTETS, "{}", r.memory());
    let (out, duplicates) = sorted(r, Keep::First);
    assert_eq!(out.len(), 60_000);
    assert!(duplicates.is_empty());
    assert!(out.is_sorted());
}

#[test]
fn an_entry_larger_than_a_chunk_is_taken() {
    let mut r = runs(1 << 20);
    let big = vec![b'y'; CHUNK_OCTETS + 5];
    push(&mut r, 1, b"b", &big);
    push(&mut r, 2, b"a", &big);
    push(&mut r, 3, b"c", b"");
    let (out, _) = sorted(r, Keep::First);
    let sizes: Vec<usize> = out.iter().map(|e| e.1.len()).collect();
    assert_eq!(sizes, [big.len(), big.len(), 0]);
}

proptest! {
    #[test]
    fn the_order_is_that_of_the_octets(keys: Vec<Vec<u8>>) {
        let mut r = runs(1 << 20);
        for (n, key) in keys.iter().enumerate() {
            push(&mut r, n as u64, key, &n.to_be_bytes());
        }
        let (out, _) = sorted(r, Keep::All);
        let mut want: Vec<Pair> =
            keys.iter().enumerate().map(|(n, k)| (k.clone(), n.to_be_bytes().into())).collect();
        want.sort_by(|a, b| a.0.cmp(&b.0));
        prop_assert_eq!(out, want);
    }
}
