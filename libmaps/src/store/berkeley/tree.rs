//! Trees of pages: the leaves of one in order, each page once.

use super::fault::Fault;
use super::file::PageFile;
use super::item::Item;
use super::page::{Page, PageType};
use super::seen::Seen;

/// What a tree holds, which says what its pages may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TreeKind {
    /// The btree of the map.
    Main,
    /// The values of one key.
    Duplicates,
}

/// A walk over the leaves of a tree, from the first to the last.
///
/// Levels must fall by one from a page to its children and the links between
/// the leaves must agree with the tree, so that a lost child is an error and
/// not a shorter map.
#[derive(Debug)]
pub(super) struct TreeWalk {
    kind: TreeKind,
    /// The root, until it was visited.
    root: Option<u32>,
    /// The page that names the root, for errors.
    named_on: u32,
    /// Inner pages from the root down, with the index of the child to visit next.
    inner: Vec<(Page, usize)>,
    /// The last leaf and the one that it says follows it.
    last: Option<(u32, u32)>,
}

impl TreeWalk {
    pub(super) fn new(root: u32, kind: TreeKind, named_on: u32) -> Self {
        TreeWalk {
            kind,
            root: Some(root),
            named_on,
            inner: Vec::new(),
            last: None,
        }
    }

    /// The next leaf.
    pub(super) fn next_leaf(
        &mut self,
        file: &PageFile,
        seen: &mut Seen,
    ) -> Result<Option<Page>, Fault> {
        while let Some((number, above)) = self.next_page()? {
            let page = enter(file, number, self.kind, above)?;
            seen.visit(number)?;
            if is_inner(&page)? {
                if page.entries()? == 0 {
                    return Err(page.damaged("an inner page without children"));
                }
                self.inner.push((page, 0));
                continue;
            }
            let (previous, announced) = self.last.unwrap_or((0, number));
            if page.previous()? != previous || announced != number {
                return Err(page.damaged("the links between the leaves contradict the tree"));
            }
            self.last = Some((number, page.next()?));
            return Ok(Some(page));
        }
        match self.last {
            Some((leaf, next)) if next != 0 => Err(Fault::damaged(
                leaf,
                format!("the next leaf, page {next}, is not in the tree"),
            )),
            _ => Ok(None),
        }
    }

    /// The page to visit next and the page that leads to it.
    fn next_page(&mut self) -> Result<Option<(u32, Above)>, Fault> {
        if let Some(root) = self.root.take() {
            return Ok(Some((root, Above::Root(self.named_on))));
        }
        while let Some((page, index)) = self.inner.last_mut() {
            if *index < page.entries()? {
                let child = child(page, *index)?;
                *index += 1;
                return Ok(Some((child, Above::of(page)?)));
            }
            self.inner.pop();
        }
        Ok(None)
    }
}

/// What leads to a page of a tree.
#[derive(Clone, Copy, Debug)]
pub(super) enum Above {
    /// The page is a root; which page says so.
    Root(u32),
    /// An inner page of this type, number and level.
    Inner {
        number: u32,
        level: u8,
        page_type: PageType,
    },
}

impl Above {
    /// A page below this one.
    pub(super) fn of(page: &Page) -> Result<Self, Fault> {
        Ok(Above::Inner {
            number: page.number(),
            level: page.level()?,
            page_type: page.page_type()?,
        })
    }
}

/// Reads a page of a tree and checks that it may stand where it stands.
pub(super) fn enter(
    file: &PageFile,
    number: u32,
    kind: TreeKind,
    above: Above,
) -> Result<Page, Fault> {
    let (Above::Root(leads) | Above::Inner { number: leads, .. }) = above;
    if number == 0 || number >= file.pages() {
        return Err(Fault::damaged(
            leads,
            format!(
                "it leads to page {number}, and the file has {} pages",
                file.pages()
            ),
        ));
    }
    let page = file.page(number)?;
    let page_type = page.page_type()?;
    let allowed = match (kind, above) {
        (TreeKind::Main, _) => matches!(page_type, PageType::BtreeInner | PageType::BtreeLeaf),
        (TreeKind::Duplicates, Above::Root(_)) => matches!(
            page_type,
            PageType::BtreeInner
                | PageType::RecnoInner
                | PageType::DuplicateLeaf
                | PageType::RecnoLeaf
        ),
        (
            TreeKind::Duplicates,
            Above::Inner {
                page_type: above, ..
            },
        ) => match above {
            PageType::RecnoInner => matches!(page_type, PageType::RecnoInner | PageType::RecnoLeaf),
            _ => matches!(page_type, PageType::BtreeInner | PageType::DuplicateLeaf),
        },
    };
    if !allowed {
        return Err(page.damaged(format!(
            "a page of type {page_type:?} in a tree of {kind:?}"
        )));
    }
    let level = page.level()?;
    let falls_by_one = match above {
        Above::Root(_) => true,
        Above::Inner { level: above, .. } => above.checked_sub(1) == Some(level),
    };
    // Leaves are level 1 and inner pages above that.
    if !falls_by_one || is_inner(&page)? != (level > 1) || level == 0 {
        return Err(page.damaged(format!("level {level} is wrong for its place in the tree")));
    }
    Ok(page)
}

/// Whether a page of a tree has children.
pub(super) fn is_inner(page: &Page) -> Result<bool, Fault> {
    Ok(matches!(
        page.page_type()?,
        PageType::BtreeInner | PageType::RecnoInner
    ))
}

fn child(page: &Page, index: usize) -> Result<u32, Fault> {
    match page.page_type()? {
        PageType::RecnoInner => page.u32(page.offset(index)?),
        _ => Ok(Item::on_inner(page, index)?.1),
    }
}
