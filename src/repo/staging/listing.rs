//! Listing a directory: what staging changed, merged with the base in order of names.

use std::collections::VecDeque;

use super::attributes::Attributes;
use crate::format::record::FileKind;

/// Cookie after which the first entry comes; smaller ones are left for `.` and `..`.
pub const FIRST_COOKIE: u64 = 2;

/// The state of one open directory; cookies of names that were handed out lately lead back to them.
///
/// A cookie that it does not know, after the serving process was replaced, is taken as a count of entries.
#[derive(Debug)]
pub struct Listing {
    pub(super) directory: u64,
    // Names handed out last and the cookies behind them, in order.
    pub(super) window: VecDeque<(u64, Vec<u8>)>,
}

/// An entry of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a> {
    /// The name.
    pub name: &'a [u8],
    /// Number of the object.
    pub number: u64,
    /// Kind.
    pub kind: FileKind,
    /// Cookie behind it: where the listing goes on.
    pub cookie: u64,
    /// Its attributes, if they were asked for and can be read.
    pub attributes: Option<Attributes>,
}
