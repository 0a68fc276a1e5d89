//! A request's query, read field by field like a body.

use std::ops::RangeInclusive;

use super::fields::{Problems, check_text};

/// The query's parameters and what was wrong with them so far.
#[derive(Debug)]
pub struct Query {
    parameters: Vec<(String, String)>,
    /// What was wrong so far.
    pub problems: Problems,
}

impl Query {
    /// Reads `a=1&b=2`. A parameter that is given twice is a problem.
    pub fn parse(text: &str) -> Self {
        let mut parameters: Vec<(String, String)> = Vec::new();
        let mut problems = Problems::default();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            if parameters.iter().any(|(known, _)| *known == name) {
                let shown: String = name.chars().filter(|character| !character.is_control()).take(60).collect();
                problems.add(shown.clone(), format!("The query names {shown} twice"));
                continue;
            }
            parameters.push((name.into_owned(), value.into_owned()));
        }
        Self { parameters, problems }
    }

    /// The value, unless left out or empty.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// A whole number within a range.
    pub fn integer(&mut self, name: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.value(name)?;
        let number = value.parse::<i64>().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let sentence = if *range.end() == i64::MAX {
                format!("{name} must be an integer of at least {}", range.start())
            } else {
                format!("{name} must be an integer from {} to {}", range.start(), range.end())
            };
            self.problems.add(name, sentence);
        }
        number
    }

    /// A positive number that is capped without a word where it is too large (`limit`).
    pub fn capped(&mut self, name: &str, cap: usize) -> Option<usize> {
        let value = self.value(name)?;
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        // More digits than a number can hold is above any cap.
        match value.parse::<usize>() {
            Ok(0) => {}
            Ok(number) => return Some(number.min(cap)),
            Err(_) if digits => return Some(cap),
            Err(_) => {}
        }
        self.problems.add(name, format!("{name} must be a positive integer"));
        None
    }

    /// `true`, `false`, `1` or `0`.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        match self.value(name)? {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => {
                self.problems.add(name, format!("{name} must be true or false (1 and 0 work too)"));
                None
            }
        }
    }

    /// A text of so many characters, without control characters.
    pub fn text(&mut self, name: &str, length: RangeInclusive<usize>) -> Option<String> {
        let value = self.value(name)?.to_owned();
        match check_text(&value, length) {
            Ok(()) => Some(value),
            Err(what) => {
                self.problems.add(name, format!("{name} {what}"));
                None
            }
        }
    }
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// At most so many.
    pub limit: usize,
    /// After so many.
    pub offset: usize,
}

impl Page {
    /// `limit` (default 50, capped at 200) with `offset` or `page` (from 1); `None` where the query has none of them.
    pub fn read(query: &mut Query) -> Option<Self> {
        let limit = query.capped("limit", 200);
        let offset = query.integer("offset", 0..=i64::MAX);
        let page = query.integer("page", 1..=i64::MAX);
        if offset.is_some() && page.is_some() {
            query.problems.add("page", "page and offset exclude each other");
        }
        if limit.is_none() && offset.is_none() && page.is_none() {
            return None;
        }
        let limit = limit.unwrap_or(50);
        let offset = offset.and_then(|offset| usize::try_from(offset).ok());
        let skipped_pages = page.and_then(|page| usize::try_from(page).ok()).map_or(0, |page| page.saturating_sub(1));
        Some(Self { limit, offset: offset.unwrap_or_else(|| limit.saturating_mul(skipped_pages)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Result<Option<Page>, String> {
        let mut query = Query::parse(text);
        let page = Page::read(&mut query);
        query.problems.into_result().map(|()| page).map_err(|error| error.0.message)
    }

    #[test]
    fn a_page_is_read_with_its_cap_applied_without_a_word() {
        assert_eq!(page(""), Ok(None));
        assert_eq!(page("limit=10&offset=20"), Ok(Some(Page { limit: 10, offset: 20 })));
        assert_eq!(page("limit=10&page=3"), Ok(Some(Page { limit: 10, offset: 20 })));
        assert_eq!(page("page=2"), Ok(Some(Page { limit: 50, offset: 50 })));
        assert_eq!(page("limit=9999999999999999999999"), Ok(Some(Page { limit: 200, offset: 0 })));
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
            assert!(page(text).unwrap_err().contains(word), "{text}");
        }
    }
}
