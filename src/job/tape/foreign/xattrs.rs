//! Extended attributes and access lists out of pax headers.
//!
//! `SCHILY.xattr.NAME` has the value as it is. `SCHILY.acl.access` and `SCHILY.acl.default` are lists as text
//! (acl_to_text(3), of star with the number of the user or group behind each entry); they are shown as
//! `system.posix_acl_access` and `system.posix_acl_default`, in the layout of Linux (`linux/posix_acl_xattr.h`):
//!
//! ```text
//! version 4 = 2 | for each entry: tag 2 | permissions 2 | id 4        little-endian
//! ```

use crate::format::record::XattrList;
use crate::tape::archive::Keyword;

const XATTR: &str = "SCHILY.xattr.";
const ACL_VERSION: u32 = 2;
const ACL_NO_ID: u32 = u32::MAX;
const ACL_ENTRY_COUNT_MAX: usize = 8191;

/// A user or group by name, of whom the number is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AclName<'a> {
    /// A user.
    User(&'a str),
    /// A group.
    Group(&'a str),
}

/// The extended attributes that keywords tell of; `number_of` knows the numbers of users and groups. A list with one
/// that has none is left out whole: without that entry it could allow more.
pub(super) fn xattrs(keywords: &[Keyword], number_of: &dyn Fn(AclName<'_>) -> Option<u32>) -> XattrList {
    let mut list = XattrList::new();
    for keyword in keywords {
        let (name, value) = match keyword.name.as_str() {
            "SCHILY.acl.access" => ("system.posix_acl_access", acl(&keyword.value, number_of)),
            "SCHILY.acl.default" => ("system.posix_acl_default", acl(&keyword.value, number_of)),
            other => match other.strip_prefix(XATTR) {
                // Their names and values would be taken for access lists by the kernel without a look.
                Some(name) if name.starts_with("system.") || name.is_empty() || name.len() > 255 => continue,
                Some(name) => (name, Some(keyword.value.clone())),
                None => continue,
            },
        };
        match value {
            Some(value) if value.len() <= 64 << 10 => {
                list.retain(|(known, _)| known != name.as_bytes());
                list.push((name.as_bytes().to_vec(), value));
            }
            _ => log::info!("{name}: {} is left out", keyword.name),
        }
    }
    list
}

// `user::rwx`, `user:joe:r-x`, `user:joe:r-x:1000`, `group:...`, `mask::rwx`, `other::r--`; between them commas or line
// feeds.
fn acl(text: &[u8], number_of: &dyn Fn(AclName<'_>) -> Option<u32>) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut entries: Vec<(u16, u16, u32)> = Vec::new();
    for line in text.split([',', '\n']) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        entries.push(acl_entry(line, number_of)?);
    }
    // The kernel wants them in the order of their tags and numbers.
    entries.sort_unstable_by_key(|(tag, _, id)| (*tag, *id));
    let has = |wanted: u16| entries.iter().filter(|(tag, ..)| *tag == wanted).count() == 1;
    if !has(0x01) || !has(0x04) || !has(0x20) || entries.len() > ACL_ENTRY_COUNT_MAX {
        return None;
    }
    let mut value = ACL_VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    Some(value)
}

fn acl_entry(line: &str, number_of: &dyn Fn(AclName<'_>) -> Option<u32>) -> Option<(u16, u16, u32)> {
    let mut fields = line.split(':').map(str::trim);
    let (kind, name, letters) = (fields.next()?, fields.next()?, fields.next());
    // Solaris writes `mask:rwx` and `other:rwx`.
    let (name, letters) = letters.map_or(("", name), |letters| (name, letters));
    let number = fields.next().and_then(|number| number.parse().ok());
    let id = |name| number.or_else(|| number_of(name));
    let (tag, id) = match (kind, name) {
        ("user" | "u", "") => (0x01, ACL_NO_ID),
        ("user" | "u", name) => (0x02, name.parse().ok().or_else(|| id(AclName::User(name)))?),
        ("group" | "g", "") => (0x04, ACL_NO_ID),
        ("group" | "g", name) => (0x08, name.parse().ok().or_else(|| id(AclName::Group(name)))?),
        ("mask" | "m", "") => (0x10, ACL_NO_ID),
        ("other" | "o", "") => (0x20, ACL_NO_ID),
        _ => return None,
    };
    let mut permissions = 0;
    for letter in letters.chars() {
        permissions |= match letter {
            'r' => 4,
            'w' => 2,
            'x' => 1,
            '-' => 0,
            _ => return None,
        };
    }
    Some((tag, permissions, id))
}

#[cfg(test)]
mod test {
    use super::*;

    fn keyword(name: &str, value: &[u8]) -> Keyword {
        Keyword { name: name.to_owned(), value: value.to_vec() }
    }

    #[test]
    fn access_lists_have_the_layout_of_linux() {
        let number_of = |name: AclName<'_>| (name == AclName::User("joe")).then_some(1000);
        // As getfattr -e hex shows what setfacl -m u:joe:rx makes of mode 640.
        let expected = [
            &[2, 0, 0, 0][..],
            &[1, 0, 6, 0, 255, 255, 255, 255],
            &[2, 0, 5, 0, 0xe8, 3, 0, 0],
            &[4, 0, 4, 0, 255, 255, 255, 255],
            &[16, 0, 5, 0, 255, 255, 255, 255],
            &[32, 0, 0, 0, 255, 255, 255, 255],
        ]
        .concat();
        for text in [
            "user::rw-,user:joe:r-x,group::r--,mask::r-x,other::---",
            "user::rw-\nuser:jim:r-x:1000\ngroup::r--\nmask::r-x\nother::---\n",
            "user::rw-,group::r--,user:1000:r-x,mask:r-x,other:---",
        ] {
            let list = xattrs(&[keyword("SCHILY.acl.access", text.as_bytes())], &number_of);
            assert_eq!(list, [(b"system.posix_acl_access".to_vec(), expected.clone())], "{text}");
        }
        for bad in ["user::rw-,user:jim:r-x,group::r--,mask::r-x,other::---", "user::rw-", "x", "user::rwz"] {
            assert!(xattrs(&[keyword("SCHILY.acl.access", bad.as_bytes())], &number_of).is_empty(), "{bad}");
        }
    }

    #[test]
    fn attributes_keep_any_bytes_and_cannot_pass_as_access_lists() {
        let list = xattrs(
            &[
                keyword("SCHILY.xattr.user.a", b"\0\xff="),
                keyword("SCHILY.xattr.user.a", b"later"),
                keyword("SCHILY.xattr.system.posix_acl_access", b"\x02"),
                keyword("SCHILY.xattr.", b"x"),
                keyword("path", b"x"),
            ],
            &|_| None,
        );
        assert_eq!(list, [(b"user.a".to_vec(), b"later".to_vec())]);
    }
}
