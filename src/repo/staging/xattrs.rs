//! Extended attributes, and the two of them that are access control lists.
//!
//! An ACL is encoded as the kernel gives it (`linux/posix_acl_xattr.h`): version 2 (32 bits), then of each
//! entry tag 16, permissions 16, id 32, all little-endian.

use super::attributes::Caller;
use super::error::StagingError;
use super::objects::Edit;
use super::terms::XattrMode;
use super::tree::StagingTree;
use crate::format::record::{FileKind, XATTR_LEN_MAX, XattrList, Xattrs};
use crate::index::staging::ObjectState;

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";
const VALUE_LEN_MAX: usize = 1 << 16;
const USER_OBJECT: u16 = 0x01;
const GROUP_OBJECT: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

impl StagingTree {
    pub(super) fn list_xattrs(&self, state: &ObjectState) -> Result<XattrList, StagingError> {
        Ok(self.repository().stored_xattrs(&state.xattrs)?)
    }

    /// Value of an extended attribute.
    ///
    /// # Errors
    /// [`StagingError::NoAttribute`] if there is none.
    pub fn xattr(&self, number: u64, name: &[u8]) -> Result<Vec<u8>, StagingError> {
        let object = self.load(&self.core(), number)?;
        if object.state.xattrs.is_empty() {
            return Err(StagingError::NoAttribute);
        }
        let list = self.list_xattrs(&object.state)?;
        let found = list.into_iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value).ok_or(StagingError::NoAttribute)
    }

    /// Names and values of all extended attributes in order of names.
    ///
    /// # Errors
    /// [`StagingError`] if they cannot be read.
    pub fn xattrs(&self, number: u64) -> Result<XattrList, StagingError> {
        let object = self.load(&self.core(), number)?;
        self.list_xattrs(&object.state)
    }

    /// Sets an extended attribute. An access control list sets the permission bits too.
    ///
    /// # Errors
    /// [`StagingError::AttributeExists`], [`StagingError::NoAttribute`] as the mode says,
    /// [`StagingError::AttributeTooLarge`], [`StagingError::AttributeSpace`].
    pub fn set_xattr(
        &self,
        number: u64,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        caller: Caller,
    ) -> Result<(), StagingError> {
        if name.is_empty() || name.len() > crate::path::NAME_LEN_MAX || name.contains(&0) {
            return Err(StagingError::Invalid { what: "the name of an extended attribute" });
        }
        if value.len() > VALUE_LEN_MAX {
            return Err(StagingError::AttributeTooLarge);
        }
        self.space.check_row(self)?;
        self.change_xattrs(number, caller, |state, list| {
            let at = list.binary_search_by(|(known, _)| known.as_slice().cmp(name));
            match (mode, at) {
                (XattrMode::Create, Ok(_)) => return Err(StagingError::AttributeExists),
                (XattrMode::Replace, Err(_)) => return Err(StagingError::NoAttribute),
                _ => {}
            }
            if name == ACCESS {
                match mode_of(value) {
                    Some((bits, is_plain)) => {
                        state.permissions = state.permissions & 0o7000 | bits;
                        if is_plain {
                            // It says no more than the permission bits.
                            if let Ok(at) = at {
                                list.remove(at);
                            }
                            return Ok(());
                        }
                    }
                    None => return Err(StagingError::Invalid { what: "an access control list" }),
                }
            }
            match at {
                Ok(at) => list.get_mut(at).map_or((), |(_, known)| value.clone_into(known)),
                Err(at) => list.insert(at, (name.to_vec(), value.to_vec())),
            }
            let len: usize = list.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
            if len as u64 > XATTR_LEN_MAX {
                return Err(StagingError::AttributeSpace);
            }
            Ok(())
        })
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// [`StagingError::NoAttribute`] if there is none.
    pub fn remove_xattr(&self, number: u64, name: &[u8], caller: Caller) -> Result<(), StagingError> {
        self.change_xattrs(number, caller, |_, list| {
            let at = list.iter().position(|(known, _)| known == name).ok_or(StagingError::NoAttribute)?;
            list.remove(at);
            Ok(())
        })
    }

    fn change_xattrs(
        &self,
        number: u64,
        caller: Caller,
        change: impl FnOnce(&mut ObjectState, &mut XattrList) -> Result<(), StagingError>,
    ) -> Result<(), StagingError> {
        let mut core = self.core_mut();
        let object = self.load(&core, number)?;
        let mut state = ObjectState::clone(&object.state);
        if self.is_written_now(&object)? {
            self.kill_privileges(&mut state)?;
        }
        let mut list = self.list_xattrs(&state)?;
        change(&mut state, &mut list)?;
        state.xattrs = Xattrs::Inline(list);
        state.ctime = caller.now;
        if self.may_be_written_directly(number) && self.has_privileges(&state)? {
            self.restamp(&object, &mut state)?;
        }
        let mut edit = Edit::new(self, &mut core);
        edit.put(number, Some(&object), object.linked, state)?;
        edit.apply()
    }
}

/// What a new object takes over from its directory.
#[derive(Debug)]
pub(super) struct Inherited {
    pub(super) permissions: u16,
    pub(super) xattrs: Xattrs,
}

/// Permission bits and lists of a new object: the default list of its directory, in place of the umask, as
/// `acl(5)` has it under "object creation and default ACLs".
pub(super) fn inherit(
    parent: &[(Vec<u8>, Vec<u8>)],
    kind: FileKind,
    permissions: u16,
    umask: u16,
) -> Inherited {
    let plain = Inherited { permissions: permissions & !(umask & 0o777), xattrs: Xattrs::NONE };
    let default = parent.iter().find(|(name, _)| name == DEFAULT);
    let Some((_, default)) = default.filter(|_| kind != FileKind::Symlink) else { return plain };
    let Some(access) = masked(default, permissions) else { return plain };
    let Some((bits, is_plain)) = mode_of(&access) else { return plain };
    let mut list = Vec::new();
    if !is_plain {
        list.push((ACCESS.to_vec(), access));
    }
    if kind == FileKind::Directory {
        list.push((DEFAULT.to_vec(), default.clone()));
    }
    Inherited { permissions: permissions & 0o7000 | bits, xattrs: Xattrs::Inline(list) }
}

/// The attributes with the access list changed so that it says what these permission bits say; nothing if there is
/// no such list.
pub(super) fn with_mode(list: &[(Vec<u8>, Vec<u8>)], permissions: u16) -> Option<XattrList> {
    let at = list.iter().position(|(name, _)| name == ACCESS)?;
    let mut list = list.to_vec();
    let (_, value) = list.get_mut(at)?;
    *value = with_classes(value, |class, _| match class {
        Class::User => permissions >> 6 & 7,
        Class::Group => permissions >> 3 & 7,
        Class::Other => permissions & 7,
    })?;
    Some(list)
}

// A list with the permissions of its classes cut down to those of the mode.
fn masked(value: &[u8], permissions: u16) -> Option<Vec<u8>> {
    with_classes(value, |class, known| match class {
        Class::User => known & (permissions >> 6 & 7),
        Class::Group => known & (permissions >> 3 & 7),
        Class::Other => known & (permissions & 7),
    })
}

#[derive(Debug, Clone, Copy)]
enum Class {
    User,
    Group,
    Other,
}

const HEADER_LEN: usize = 4;
const ENTRY_LEN: usize = 8;

fn entries(value: &[u8]) -> Option<impl Iterator<Item = (u16, u16)>> {
    let body = value.get(HEADER_LEN..)?;
    if value.get(..HEADER_LEN)? != 2_u32.to_le_bytes() || body.len() % ENTRY_LEN != 0 {
        return None;
    }
    Some(body.chunks_exact(ENTRY_LEN).map(|entry| {
        let field = |at: usize| {
            entry.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes)
        };
        (field(0), field(2))
    }))
}

// Sets the permissions of the three classes; that of the group is the mask if there is one.
fn with_classes(value: &[u8], set: impl Fn(Class, u16) -> u16) -> Option<Vec<u8>> {
    let has_mask = entries(value)?.any(|(tag, _)| tag == MASK);
    let mut changed = value.to_vec();
    for (index, (tag, known)) in entries(value)?.enumerate() {
        let class = match tag {
            USER_OBJECT => Class::User,
            MASK => Class::Group,
            GROUP_OBJECT if !has_mask => Class::Group,
            OTHER => Class::Other,
            _ => continue,
        };
        let at = HEADER_LEN + index * ENTRY_LEN + 2;
        changed.get_mut(at..at + 2)?.copy_from_slice(&set(class, known & 7).to_le_bytes());
    }
    Some(changed)
}

// Permission bits that a list stands for, and whether it says no more than these.
fn mode_of(value: &[u8]) -> Option<(u16, bool)> {
    let (mut user, mut group, mut mask, mut other) = (None, None, None, None);
    let mut is_plain = true;
    for (tag, permissions) in entries(value)? {
        match tag {
            USER_OBJECT => user = Some(permissions & 7),
            GROUP_OBJECT => group = Some(permissions & 7),
            MASK => mask = Some(permissions & 7),
            OTHER => other = Some(permissions & 7),
            _ => {}
        }
        is_plain &= matches!(tag, USER_OBJECT | GROUP_OBJECT | OTHER);
    }
    Some((user? << 6 | mask.or(group)? << 3 | other?, is_plain))
}

#[cfg(test)]
mod test {
    use super::*;

    fn list(entries: &[(u16, u16)]) -> Vec<u8> {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions) in entries {
            bytes.extend_from_slice(&tag.to_le_bytes());
            bytes.extend_from_slice(&permissions.to_le_bytes());
            bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a_default_list_takes_the_place_of_the_umask() {
        let default = list(&[(USER_OBJECT, 7), (0x02, 6), (GROUP_OBJECT, 7), (MASK, 7), (OTHER, 5)]);
        let parent = vec![(DEFAULT.to_vec(), default.clone())];
        let made = inherit(&parent, FileKind::Regular, 0o664, 0o077);
        assert_eq!(made.permissions, 0o664);
        let access = list(&[(USER_OBJECT, 6), (0x02, 6), (GROUP_OBJECT, 7), (MASK, 6), (OTHER, 4)]);
        assert_eq!(made.xattrs, Xattrs::Inline(vec![(ACCESS.to_vec(), access.clone())]));
        let made = inherit(&parent, FileKind::Directory, 0o777, 0o077);
        assert_eq!(made.permissions, 0o775);
        let Xattrs::Inline(list_of_directory) = made.xattrs else { panic!("inline") };
        assert_eq!(list_of_directory.last(), Some(&(DEFAULT.to_vec(), default)));
        let made = inherit(&[], FileKind::Regular, 0o666, 0o027);
        assert_eq!((made.permissions, made.xattrs.is_empty()), (0o640, true));
        let changed = with_mode(&[(ACCESS.to_vec(), access)], 0o600).expect("there is a list");
        assert_eq!(mode_of(&changed[0].1), Some((0o600, false)));
    }

    #[test]
    fn a_malformed_list_is_no_list() {
        for bytes in [&b""[..], b"\x02", b"\x01\0\0\0", b"\x02\0\0\0\x01\0\x07"] {
            assert_eq!(mode_of(bytes), None, "{bytes:?}");
            assert_eq!(with_classes(bytes, |_, known| known), None);
        }
    }
}
