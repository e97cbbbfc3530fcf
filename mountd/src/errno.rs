//! Why a request cannot be answered, and the error number for it.

pub use reelfs::job::chain;
use reelfs::job::tape::order::OrderError;
use reelfs::repo::{ReadError, RepoError};
use thiserror::Error;

/// Why a request cannot be answered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ViewError {
    /// There is no such name.
    #[error("no such name")]
    NoName,
    /// The inode number stands for nothing that is shown.
    #[error("no such inode number")]
    NoNumber,
    /// A name was looked for in something that is no directory.
    #[error("not a directory")]
    NotDirectory,
    /// The object is of a kind that cannot be asked this.
    #[error("not possible with this kind of object")]
    WrongKind,
    /// The object has no such extended attribute.
    #[error("no such extended attribute")]
    NoXattr,
    /// The object has no SELinux label.
    ///
    /// Told apart because `ls -l` asks each file for one, and stops asking when it hears that there are no
    /// labels here. Only ENOSYS would make the kernel stop for other attributes too.
    #[error("no security label")]
    NoLabel,
    /// The position is not in the file.
    #[error("position is not in the file")]
    NoPosition,
    /// The generation has extended attributes, and this connection cannot show any; another path can.
    #[error("the generation is shown elsewhere")]
    Elsewhere,
    /// A part of the directory cannot be read; the rest was listed.
    #[error("part of the directory is damaged")]
    PartlyListed,
    /// The set of a cartridge cannot be opened; the reason is in the log.
    #[error("the cartridge's set cannot be opened")]
    NoCatalogue,
    /// The cartridge is in the library and was never scanned.
    #[error("the cartridge was never scanned; 'reelfs tape scan' takes it into the catalogue")]
    Unscanned,
    /// The cartridge is one of a set whose beginning was never scanned.
    #[error(
        "the beginning of the cartridge's set was never scanned; 'reelfs tape scan' takes it into the catalogue"
    )]
    Incomplete,
    /// The cartridge is another program's and holds nothing that can be read.
    #[error("the cartridge is another program's")]
    Foreign,
    /// The program must not move a tape.
    #[error("no tape is moved for this program")]
    Refused,
    /// The table of inode numbers cannot grow.
    #[error("no more inode numbers")]
    Numbers(#[from] std::io::Error),
    /// The order of a generation on tape cannot be read.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// Stored data cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The repository cannot be read.
    #[error(transparent)]
    Repo(#[from] RepoError),
}

impl ViewError {
    /// The error number that the caller gets.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::NoName => libc::ENOENT,
            Self::NoNumber | Self::Elsewhere => libc::ESTALE,
            Self::NotDirectory => libc::ENOTDIR,
            Self::WrongKind => libc::EINVAL,
            Self::NoXattr => libc::ENODATA,
            Self::NoLabel => libc::EOPNOTSUPP,
            Self::NoPosition => libc::ENXIO,
            Self::Unscanned | Self::Incomplete => libc::ENODATA,
            Self::Foreign => libc::EOPNOTSUPP,
            Self::Refused => libc::EACCES,
            Self::Read(error) => errno_of(error),
            Self::PartlyListed | Self::NoCatalogue | Self::Numbers(_) | Self::Order(_) | Self::Repo(_) => {
                libc::EIO
            }
        }
    }
}

// Of a tape it is told apart what a person can do something about: the cartridge is not in the library, or no
// drive was free in time; and that nobody waits for it any more.
fn errno_of(error: &ReadError) -> i32 {
    let ReadError::Storage(error) = error else { return libc::EIO };
    match error.source.raw_os_error() {
        Some(errno @ (libc::ENOMEDIUM | libc::EBUSY | libc::EINTR)) => errno,
        _ => libc::EIO,
    }
}
