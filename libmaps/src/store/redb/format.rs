//! What redb's file format says of where pages are: the header, and the page numbers in pages.
//!
//! As redb 4.6 documents it in `docs/design.md` ("Database header", "Transaction slot 0",
//! "B+tree pages"), for file format version 3 alone. What the document leaves out is from redb's
//! sources: the bits of a page number, the fields of a table definition, and that the values of
//! one key of a multimap table, where they have a tree of their own, begin with 3.

use std::ops::Range;

/// The size of a page of order 0, in octets: the one that redb opens files with.
pub(super) const PAGE_OCTETS: u64 = 4096;

/// The length of the header with both transaction slots, in octets.
pub(super) const HEADER_OCTETS: usize = 320;

const MAGIC: &[u8; 9] = b"redb\x1a\x0a\xa9\x0d\x0a";
const VERSION: u8 = 3;
const SLOTS: [usize; 2] = [64, 192];

// The god byte.
const SECOND_IS_PRIMARY: u8 = 1;
const TWO_PHASE_COMMIT: u8 = 4;
const PRIMARY_UNFLUSHED: u8 = 8;

const LEAF: u8 = 1;
const BRANCH: u8 = 2;

const NORMAL_TABLE: u8 = 3;
const MULTIMAP_TABLE: u8 = 4;

const VALUES_INLINE: u8 = 1;
const VALUES_IN_A_TREE: u8 = 3;

/// A page number as it is stored: index in the region, region, and order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageNumber(u64);

impl PageNumber {
    fn at(octets: &[u8], at: usize) -> Option<Self> {
        Some(PageNumber(u64::from_le_bytes(*chunk(octets, at)?)))
    }

    /// Whether order and region are 0.
    fn is_small_and_in_first_region(self) -> bool {
        self.0 & (0x1f << 59 | 0xf_ffff << 20) == 0
    }

    /// A page is `1 << order` pages of order 0.
    fn order(self) -> u32 {
        (self.0 >> 59) as u32
    }

    fn region(self) -> u64 {
        (self.0 >> 20) & 0xf_ffff
    }

    /// Counted in pages of this order.
    fn index(self) -> u64 {
        self.0 & (0xf_ffff >> self.order())
    }
}

/// The header's fields for where pages are, and how many pages of order 0 the file is long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Before the data pages of each region.
    header_pages: u64,
    /// The most data pages of a region.
    most_pages: u64,
    /// Of the whole file.
    pages: u64,
    /// Where the data pages of the first region are, as far as the file has them.
    first_region: Range<u64>,
}

impl Layout {
    fn new(header_pages: u64, most_pages: u64, pages: u64) -> Self {
        let start = 1 + header_pages;
        Layout {
            header_pages,
            most_pages,
            pages,
            first_region: start..pages.min(start + most_pages),
        }
    }

    /// Which pages of order 0, counted from the beginning of the file, make this one; `None`
    /// where the file has not all of them.
    pub(super) fn place(&self, number: PageNumber) -> Option<Range<u64>> {
        // Nearly all pages of most maps.
        if number.is_small_and_in_first_region() {
            let start = self.first_region.start + (number.0 & 0xf_ffff);
            return (start < self.first_region.end).then_some(start..start + 1);
        }
        let (first, count) = (number.index() << number.order(), 1 << number.order());
        let region = number.region() * (self.header_pages + self.most_pages);
        let start = 1 + region + self.header_pages + first;
        let end = start + count;
        (first + count <= self.most_pages && end <= self.pages).then_some(start..end)
    }

    /// How many pages of order 0 the file is long.
    pub(super) fn pages(&self) -> u64 {
        self.pages
    }
}

/// What the header of a file of this version says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) layout: Layout,
    /// The roots of the table trees, the users' and redb's own, of each slot that redb may serve;
    /// a root that both slots have is there once.
    pub(super) roots: Vec<PageNumber>,
}

impl Header {
    /// The header of a file of `len` octets. `None`: one that redb refuses to open.
    pub(super) fn parse(octets: &[u8], len: u64) -> Option<Self> {
        let field = |at| Some(u64::from(u32::from_le_bytes(*chunk(octets, at)?)));
        if octets.len() < HEADER_OCTETS || !octets.starts_with(MAGIC) || field(12)? != PAGE_OCTETS {
            return None;
        }
        let layout = Layout::new(field(16)?, field(20)?, len / PAGE_OCTETS);
        let [first, second] = SLOTS.map(|at| octets.get(at..).unwrap_or_default());
        if [first, second]
            .iter()
            .any(|slot| !slot.starts_with(&[VERSION]))
        {
            return None;
        }
        let state = octets.get(9)?;
        let (primary, secondary) = match state & SECOND_IS_PRIMARY {
            0 => (first, second),
            _ => (second, first),
        };
        let mut roots = roots(primary)?;
        // The secondary slot's pages may be gone, where nothing needs that slot.
        if state & PRIMARY_UNFLUSHED != 0 || state & TWO_PHASE_COMMIT == 0 {
            for root in self::roots(secondary)? {
                if !roots.contains(&root) {
                    roots.push(root);
                }
            }
        }
        Some(Header { layout, roots })
    }
}

/// The roots of the trees in a transaction slot that are not empty.
fn roots(slot: &[u8]) -> Option<Vec<PageNumber>> {
    let mut roots = Vec::with_capacity(4);
    for (non_null, root) in [(1, 8), (2, 40)] {
        let root = PageNumber::at(slot, root)?;
        if *slot.get(non_null)? != 0 {
            roots.push(root);
        }
    }
    Some(roots)
}

/// A page, as far as it tells where others are.
pub(super) enum Page<'a> {
    Branch(&'a [u8]),
    Leaf(Leaf<'a>),
}

impl<'a> Page<'a> {
    /// `None` where it is neither a branch nor a leaf.
    pub(super) fn parse(octets: &'a [u8]) -> Option<Self> {
        let count = usize::from(u16::from_le_bytes(*chunk(octets, 2)?));
        match *octets.first()? {
            BRANCH => {
                let checksums_end = 8 + 16 * (count + 1);
                let children_end = checksums_end + 8 * (count + 1);
                Some(Page::Branch(octets.get(checksums_end..children_end)?))
            }
            LEAF => Some(Page::Leaf(Leaf { octets, count })),
            _ => None,
        }
    }
}

/// The page numbers of a branch's children, which [`Page::Branch`] has.
pub(super) fn children(numbers: &[u8]) -> impl Iterator<Item = PageNumber> {
    let (numbers, _) = numbers.as_chunks();
    numbers
        .iter()
        .map(|number| PageNumber(u64::from_le_bytes(*number)))
}

/// A leaf.
pub(super) struct Leaf<'a> {
    octets: &'a [u8],
    count: usize,
}

impl<'a> Leaf<'a> {
    /// The values, where neither keys nor values are of one width. One is `None` that does not
    /// lie in the page.
    pub(super) fn values(&self) -> impl Iterator<Item = Option<&'a [u8]>> {
        let Leaf { octets, count } = *self;
        let end = move |at: usize| {
            let end = u32::from_le_bytes(*chunk(octets, 4 + 4 * at)?);
            usize::try_from(end).ok()
        };
        // The ends of the keys, then those of the values, which follow the last key.
        (count..2 * count).map(move |at| octets.get(end(at - 1)?..end(at)?))
    }
}

/// A tree that a page says there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    /// Its pages hold no page numbers but those of its branches.
    Plain(PageNumber),
    /// A multimap table: its leaves hold [`values_tree`]s.
    Multimap(PageNumber),
}

/// A definition in a table tree does not say what tree there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadValue;

/// The tree of the table that a value of a table tree defines; `None` of an empty table.
pub(super) fn table(definition: &[u8]) -> Result<Option<Tree>, BadValue> {
    let octet = |at: usize| definition.get(at).copied().ok_or(BadValue);
    let tree = match octet(0)? {
        NORMAL_TABLE => Tree::Plain,
        // Leaves of keys or values of one width look otherwise; no map has such a multimap.
        MULTIMAP_TABLE if octet(42)? == 0 && octet(47)? == 0 => Tree::Multimap,
        _ => return Err(BadValue),
    };
    match octet(9)? {
        0 => Ok(None),
        _ => Ok(Some(tree(PageNumber::at(definition, 10).ok_or(BadValue)?))),
    }
}

/// The tree of the values that stand under one key of a multimap table; `None` where they are
/// in the leaf themselves.
pub(super) fn values_tree(values: &[u8]) -> Result<Option<Tree>, BadValue> {
    match values.first() {
        Some(&VALUES_INLINE) => Ok(None),
        Some(&VALUES_IN_A_TREE) => {
            let root = PageNumber::at(values, 1).ok_or(BadValue)?;
            Ok(Some(Tree::Plain(root)))
        }
        _ => Err(BadValue),
    }
}

fn chunk<const N: usize>(octets: &[u8], at: usize) -> Option<&[u8; N]> {
    octets.get(at..)?.first_chunk()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(edits: &[(usize, &[u8])]) -> Vec<u8> {
        let mut octets = vec![0; HEADER_OCTETS];
        let plain: [(usize, &[u8]); 6] = [
            (0, MAGIC),
            (9, &[TWO_PHASE_COMMIT]),
            (12, &4096u32.to_le_bytes()),
            (20, &8u32.to_le_bytes()),
            (64, &[VERSION, 1, 1]),
            (192, &[VERSION, 1, 0]),
        ];
        let roots = [(72, 1u64), (104, 2), (200, 3)].map(|(at, n)| (at, n.to_le_bytes()));
        let roots = roots.iter().map(|(at, octets)| (*at, &octets[..]));
        for (at, part) in plain.into_iter().chain(roots).chain(edits.iter().copied()) {
            octets[at..at + part.len()].copy_from_slice(part);
        }
        octets
    }

    #[test]
    fn the_header_of_another_version_says_nothing() {
        assert!(Header::parse(&header(&[]), 1 << 20).is_some());
        let other = 8192u32.to_le_bytes();
        for edit in [(0, &b"b"[..]), (12, &other), (64, &[4]), (192, &[2])] {
            assert_eq!(Header::parse(&header(&[edit]), 1 << 20), None, "{edit:?}");
        }
        assert_eq!(Header::parse(&header(&[])[1..], 1 << 20), None);
    }

    #[test]
    fn the_roots_are_those_that_may_be_served() {
        let roots = |edits: &[(usize, &[u8])]| {
            let roots = Header::parse(&header(edits), 1 << 20).unwrap().roots;
            roots.iter().map(|n| n.0).collect::<Vec<_>>()
        };
        assert_eq!(roots(&[]), [1, 2]);
        assert_eq!(roots(&[(9, &[TWO_PHASE_COMMIT | SECOND_IS_PRIMARY])]), [3]);
        assert_eq!(
            roots(&[(9, &[TWO_PHASE_COMMIT | PRIMARY_UNFLUSHED])]),
            [1, 2, 3]
        );
        assert_eq!(roots(&[(9, &[0])]), [1, 2, 3]);
        assert_eq!(roots(&[(9, &[SECOND_IS_PRIMARY])]), [3, 1, 2]);
        assert_eq!(roots(&[(9, &[0]), (200, &[1])]), [1, 2]);
        assert_eq!(roots(&[(65, &[0])]), [2]);
    }

    #[test]
    fn a_place_is_in_the_file_and_in_its_region() {
        let layout = Layout::new(2, 8, 1 + 10 + 6);
        let place = |order: u64, region: u64, index: u64| {
            layout.place(PageNumber(order << 59 | region << 20 | index))
        };
        assert_eq!(place(0, 0, 0), Some(3..4));
        assert_eq!(place(0, 0, 7), Some(10..11));
        assert_eq!(place(0, 0, 8), None);
        assert_eq!(place(2, 0, 1), Some(7..11));
        assert_eq!(place(3, 0, 0), Some(3..11));
        assert_eq!(place(4, 0, 0), None);
        assert_eq!(place(0, 1, 3), Some(16..17));
        assert_eq!(place(0, 1, 4), None);
        assert_eq!(place(2, 1, 0), Some(13..17));
        assert_eq!(place(3, 1, 0), None);
        assert_eq!(place(31, 0xf_ffff, 0xf_ffff), None);
        // Bits that mean nothing.
        assert_eq!(layout.place(PageNumber(1 << 40 | 1 << 58)), Some(3..4));
        assert_eq!(place(2, 0, 1 << 18), Some(3..7));
        // A file that ends in its first region, or before.
        for (pages, has) in [(3, 0), (2, 0), (8, 5), (11, 8), (12, 8)] {
            let layout = Layout::new(2, 8, pages);
            let found = (0..20).filter(|n| layout.place(PageNumber(*n)).is_some());
            assert_eq!(found.count(), has, "{pages}");
        }
    }

    #[test]
    fn any_octets_are_a_page_or_none() {
        for octets in [
            &b""[..],
            b"\x01\0\x01",
            b"\x02\0\0\0",
            b"\x02\0\xff\xff",
            &[0; 64],
        ] {
            assert!(Page::parse(octets).is_none(), "{octets:?}");
        }
        let Some(Page::Leaf(leaf)) =
            Page::parse(b"\x01\0\x02\0\x14\0\0\0\x15\0\0\0\x17\0\0\0\xff\xff\xff\xff")
        else {
            panic!("a leaf");
        };
        assert_eq!(leaf.values().collect::<Vec<_>>(), [None, None]);
        let octets = b"\x01\0\x02\0\x14\0\0\0\x15\0\0\0\x17\0\0\0\x18\0\0\0kvvw";
        let Some(Page::Leaf(leaf)) = Page::parse(octets) else {
            panic!("a leaf");
        };
        assert_eq!(
            leaf.values().collect::<Vec<_>>(),
            [Some(&b"vv"[..]), Some(b"w")]
        );
        assert_eq!(table(b"\x03"), Err(BadValue));
        assert_eq!(table(&[1; 60]), Err(BadValue));
        assert_eq!(table(&[4; 60]), Err(BadValue));
        assert_eq!(values_tree(b"\x03\x01"), Err(BadValue));
        assert_eq!(values_tree(b""), Err(BadValue));
        assert_eq!(values_tree(b"\x01"), Ok(None));
    }
}
