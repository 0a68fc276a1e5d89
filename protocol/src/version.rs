//! Calendar versions of OpenClaw: `2026.9.6`, `2026.02.9`, `v2026.3.24-1`, `2026.9.6-beta.2`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A released version. Ordered by date, then beta before release before revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CalendarVersion {
    year: u32,
    month: u32,
    day: u32,
    stage: Stage,
}

/// What follows the date; the order of the variants is the order of the versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Stage {
    /// `-beta.N` (also alpha and rc, which sort by name only through their number: no release has used two of them).
    Beta(u32),
    /// Nothing: the release.
    Release,
    /// `-N`: a revision of the release.
    Revision(u32),
}

/// Whether a gateway that says this version is an embedded one (`gatewarden gateway run`): it names the release whose protocol it
/// follows, and itself after the plus, as build metadata.
pub fn is_embedded(version: &str) -> bool {
    version.split_once('+').is_some_and(|(_, build)| build.starts_with("gatewarden"))
}

/// Why a text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version like 2026.9.6, 2026.9.6-1 or 2026.9.6-beta.1")]
pub struct VersionError(String);

impl CalendarVersion {
    /// A plain release.
    pub const fn release(year: u32, month: u32, day: u32) -> Self {
        Self { year, month, day, stage: Stage::Release }
    }

    /// The version in a text that may say `dev` or `unknown` instead of one; those and anything else unreadable are none.
    pub fn known(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl FromStr for CalendarVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text.trim()).ok_or_else(|| VersionError(text.chars().take(64).collect()))
    }
}

fn parse(text: &str) -> Option<CalendarVersion> {
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    // Build metadata says nothing about the order.
    let text = text.split_once('+').map_or(text, |(version, _)| version);
    let (date, suffix) = match text.split_once('-') {
        Some((date, suffix)) => (date, Some(suffix)),
        None => (text, None),
    };
    let mut parts = date.split('.');
    let (year, month, day) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    if parts.next().is_some() {
        return None;
    }
    let stage = match suffix {
        None => Stage::Release,
        Some(suffix) => match number(suffix) {
            Some(revision) => Stage::Revision(revision),
            None => Stage::Beta(beta(suffix)?),
        },
    };
    Some(CalendarVersion { year, month, day, stage })
}

fn beta(suffix: &str) -> Option<u32> {
    let rest = ["beta", "alpha", "rc"].iter().find_map(|name| suffix.strip_prefix(name))?;
    if rest.is_empty() { Some(0) } else { number(rest.strip_prefix('.').unwrap_or(rest)) }
}

fn number(digits: &str) -> Option<u32> {
    let plain = (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

impl Ord for CalendarVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.year, self.month, self.day, self.stage).cmp(&(other.year, other.month, other.day, other.stage))
    }
}

impl PartialOrd for CalendarVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for CalendarVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.year, self.month, self.day)?;
        match self.stage {
            Stage::Release => Ok(()),
            Stage::Beta(number) => write!(f, "-beta.{number}"),
            Stage::Revision(number) => write!(f, "-{number}"),
        }
    }
}

#[cfg(test)]
mod tests;
