//! Which part of a list a query asks for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::request::{Rule, request};
use crate::rules::{capped, id, integer, over};

request! {
    /// Which part of a list is wanted.
    PageQuery {
        /// At most so many, 1 to 200 (more is capped); 50 by default
        limit: Option<usize> = capped(200);
        /// After so many; not together with page
        offset: Option<i64> = integer(0..=i64::MAX);
        /// From 1
        page: Option<i64> = page();
    }
    /// The same of a list that is complete where nothing is said.
    PartQuery {
        /// At most so many, 1 to 200 (more is capped); 50 where only a place is given
        limit: Option<usize> = capped(200);
        /// After so many; not together with page
        offset: Option<i64> = integer(0..=i64::MAX);
        /// From 1
        page: Option<i64> = page();
    }
}

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// At most so many.
    pub limit: usize,
    /// After so many.
    pub offset: usize,
}

/// Which part of a list an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Part {
    /// How many there are in all, of those that were asked for.
    pub total: usize,
    /// Largest size of the part; of a complete list all that there are.
    pub limit: usize,
    /// How many come before the part.
    pub offset: usize,
}

impl Part {
    /// A complete list.
    pub fn complete(total: usize) -> Self {
        Self { total, limit: total, offset: 0 }
    }
}

impl Page {
    /// This part of so many.
    pub fn of(self, total: usize) -> Part {
        Part { total, limit: self.limit, offset: self.offset }
    }
}

impl PageQuery {
    /// The part that is meant.
    pub fn page(&self) -> Page {
        let limit = self.limit.unwrap_or(50);
        let skipped_pages =
            self.page.and_then(|page| usize::try_from(page).ok()).map_or(0, |page| page.saturating_sub(1));
        let offset = self.offset.and_then(|offset| usize::try_from(offset).ok());
        Page { limit, offset: offset.unwrap_or_else(|| limit.saturating_mul(skipped_pages)) }
    }
}

impl PartQuery {
    /// The part that is meant; none for everything.
    pub fn page(self) -> Option<Page> {
        let Self { limit, offset, page } = self;
        let is_part = limit.is_some() || offset.is_some() || page.is_some();
        is_part.then(|| PageQuery { limit, offset, page }.page())
    }
}

/// From 1, and only where no offset is given.
fn page() -> impl Rule<Out = i64> {
    over(id(), |id, fields, name| {
        let page = id.read(fields, name);
        if page.is_some() && fields.value("offset").is_some() {
            fields.add(name, "page and offset exclude each other");
        }
        page
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Query;

    fn page_of(text: &str) -> Result<Option<Page>, String> {
        Query::read::<PartQuery>(text).map(PartQuery::page).map_err(|problems| problems.sentence())
    }

    #[test]
    fn a_page_is_read_with_its_cap_applied_without_a_word() {
        assert_eq!(page_of(""), Ok(None));
        assert_eq!(page_of("limit=10&offset=20"), Ok(Some(Page { limit: 10, offset: 20 })));
        assert_eq!(page_of("limit=10&page=3"), Ok(Some(Page { limit: 10, offset: 20 })));
        assert_eq!(page_of("page=2"), Ok(Some(Page { limit: 50, offset: 50 })));
        assert_eq!(page_of("limit=9999999999999999999999"), Ok(Some(Page { limit: 200, offset: 0 })));
    }

    #[test]
    fn a_wrong_page_is_named() {
        for (text, word) in [
            ("limit=0", "limit"),
            ("limit=-1", "limit"),
            ("limit=ten", "limit"),
            ("offset=-1", "offset"),
            ("page=0", "page"),
            ("page=1&offset=2", "exclude"),
            ("limit=1&limit=2", "twice"),
        ] {
            assert!(page_of(text).unwrap_err().contains(word), "{text}");
        }
    }
}
