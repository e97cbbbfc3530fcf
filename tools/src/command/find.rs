//! `reelfs find`

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::ValueEnum;
use globset::{GlobBuilder, GlobMatcher};
use reelfs::format::record::{Content, Detail, FileKind, Inode, Time};
use reelfs::id::{Fingerprint, FingerprintHasher};
use reelfs::job::walk::{Walk, Walked};
use reelfs::path;
use reelfs::repo::{Address, Repository};

use super::ls;
use crate::context::Context;
use crate::damage::Damage;
use crate::failure::Failure;
use crate::output::put_bytes;
use crate::place::{self, Place};
use crate::{session, show};

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs find web1 --name '*.conf'
  reelfs find web1@-2:var --larger 100M --type f
  reelfs find web1 --all-generations --name 'report*.odt'
  reelfs cat \"$(reelfs find web1 --name hosts --path 'etc/*' | head -n 1)\"

  Each line is an address that the other commands take, unless control characters, invalid UTF-8 or '\\' in
  a name had to be escaped; --print0 writes names as they are. All conditions must hold. In patterns '*' and
  '?' do not match '/', '**' does, and [a-z] and {a,b} are what they are to a shell.

  With --all-generations each version of a file is shown once, in the oldest generation that has it.

EXIT STATUS
  0 done, found or not; 1 no such client, generation or path; 2 usage; 10 no repository; 12 something is
  damaged, the rest was searched; 130 interrupted";

/// Search generations for files
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Where to search: CLIENT[@GENERATION][:PATH]
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<OsString>,
    /// The name matches this pattern
    #[arg(long, short, value_name = "GLOB")]
    name: Option<String>,
    /// The whole path, from the root of the backup, matches this pattern
    #[arg(long, value_name = "GLOB")]
    path: Option<String>,
    /// Upper and lower case are the same in patterns
    #[arg(long, short)]
    ignore_case: bool,
    /// It is of this kind
    #[arg(long, short, value_name = "KIND")]
    r#type: Option<Sort>,
    /// It is a file of more than this many bytes; K, M, G and T mean KiB, MiB, GiB and TiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    larger: Option<u64>,
    /// It is a file of less than this many bytes
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    smaller: Option<u64>,
    /// Search all generations of the client, oldest first
    #[arg(long, short)]
    all_generations: bool,
    /// Show mode, owner, size and time too
    #[arg(long, short)]
    long: bool,
    /// End each address with a NUL and escape nothing
    #[arg(long, short = '0', conflicts_with_all = ["long", "json"])]
    print0: bool,
}

/// Kinds that can be searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// Regular file
    #[value(name = "f", alias = "file")]
    File,
    /// Directory
    #[value(name = "d", alias = "directory")]
    Directory,
    /// Symbolic link
    #[value(name = "l", alias = "symlink")]
    Symlink,
    /// Device, FIFO or socket
    #[value(name = "o", alias = "other")]
    Other,
}

struct Conditions {
    name: Option<GlobMatcher>,
    path: Option<GlobMatcher>,
    sort: Option<Sort>,
    larger: Option<u64>,
    smaller: Option<u64>,
}

pub(crate) fn run(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let glob =
        |pattern: &Option<String>| pattern.as_ref().map(|text| glob(text, args.ignore_case)).transpose();
    let conditions = Conditions {
        name: glob(&args.name)?,
        path: glob(&args.path)?,
        sort: args.r#type,
        larger: args.larger,
        smaller: args.smaller,
    };
    let addresses = args.addresses.iter().map(place::parse).collect::<Result<Vec<_>, _>>()?;
    if args.all_generations && addresses.iter().any(|address| address.generation.is_some()) {
        return Err(Failure::usage("an address with @GENERATION does not go with --all-generations"));
    }
    let repository = session::open(context)?;
    let mut damage = Damage::default();
    for address in &addresses {
        // Versions that were shown.
        let mut seen = args.all_generations.then(HashSet::new);
        for place in places(&repository, address, args.all_generations)? {
            search(&repository, &place, &conditions, args, &mut seen, context, &mut damage)?;
        }
    }
    damage.finish()
}

fn places(repository: &Repository, address: &Address, all: bool) -> Result<Vec<Place>, Failure> {
    let mut places = Vec::new();
    // Names the client that does not exist.
    repository.resolve(&address.client, address.generation())?;
    if !all {
        return Ok(vec![place::find(repository, address)?]);
    }
    for id in repository.generations(&address.client)? {
        places.extend(place::find_in(repository, address, id)?);
    }
    Ok(places)
}

fn search(
    repository: &Repository,
    place: &Place,
    conditions: &Conditions,
    args: &Args,
    seen: &mut Option<HashSet<Fingerprint>>,
    context: &mut Context,
    damage: &mut Damage,
) -> Result<(), Failure> {
    let Some(directory) = place.directory() else {
        let itself = Walked {
            path: place.address.path.clone(),
            depth: 0,
            node: place.node,
            inode: place.inode.clone(),
        };
        return if conditions.hold(&itself) { show(place, &itself, args, context) } else { Ok(()) };
    };
    for walked in Walk::new(repository, &place.generation, directory, place.address.path.clone()) {
        match walked {
            Ok(walked) => {
                if conditions.hold(&walked) && is_new(seen, &walked) {
                    show(place, &walked, args, context)?;
                }
            }
            Err(error) => {
                context.out.flush()?;
                damage.note(&format!("{}@{}", place.address.client, place.id.time), &error);
            }
        }
    }
    Ok(())
}

fn is_new(seen: &mut Option<HashSet<Fingerprint>>, walked: &Walked) -> bool {
    seen.as_mut().is_none_or(|seen| seen.insert(version(walked)))
}

// Equal for an object that is at the same path in two generations and did not change: place of the data,
// inode number and the times that a backup or a link moves do not count.
fn version(walked: &Walked) -> Fingerprint {
    let mut inode =
        Inode { ctime: Time::default(), atime: Time::default(), source_inode: 0, ..walked.inode.clone() };
    inode.link_count = 1;
    if let Detail::Regular { signature: Some(_), content, .. } = &mut inode.detail {
        *content = Content::Inline(Vec::new());
    }
    let mut hasher = FingerprintHasher::default();
    hasher.update(&walked.path);
    hasher.update(&[0]);
    hasher.update(&inode.encode());
    hasher.finish()
}

fn show(place: &Place, walked: &Walked, args: &Args, context: &mut Context) -> Result<(), Failure> {
    let mut address = format!("{}@{}:", place.address.client, place.id.time).into_bytes();
    if context.global.json {
        let mut object = show::json(&walked.path, walked.node, &walked.inode);
        object.insert("client".to_owned(), place.address.client.as_str().into());
        object.insert("generation".to_owned(), place.id.time.to_string().into());
        address.extend_from_slice(&walked.path);
        put_bytes(&mut object, "address", &address);
        return Ok(context.out.json(object)?);
    }
    address.extend_from_slice(&walked.path);
    if args.print0 {
        address.push(0);
        return Ok(context.out.bytes(&address)?);
    }
    if args.long {
        return ls::entry(place, walked, &address, context);
    }
    Ok(context.out.line(&path::display(&address))?)
}

impl Conditions {
    fn hold(&self, walked: &Walked) -> bool {
        let name = walked.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let sort = match walked.inode.kind() {
            FileKind::Regular => Sort::File,
            FileKind::Directory => Sort::Directory,
            FileKind::Symlink => Sort::Symlink,
            _ => Sort::Other,
        };
        let matches = |glob: &Option<GlobMatcher>, bytes: &[u8]| {
            glob.as_ref().is_none_or(|glob| glob.is_match(OsStr::from_bytes(bytes)))
        };
        let has_size = self.larger.is_none() && self.smaller.is_none()
            || sort == Sort::File
                && self.larger.is_none_or(|size| walked.inode.size() > size)
                && self.smaller.is_none_or(|size| walked.inode.size() < size);
        self.sort.is_none_or(|wanted| wanted == sort)
            && has_size
            && matches(&self.name, name)
            && matches(&self.path, &walked.path)
    }
}

fn glob(pattern: &str, ignore_case: bool) -> Result<GlobMatcher, Failure> {
    let built = GlobBuilder::new(pattern)
        .literal_separator(true)
        .case_insensitive(ignore_case)
        .backslash_escape(true)
        .build();
    built.map(|glob| glob.compile_matcher()).map_err(Failure::usage)
}

fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (text.get(..at), 10),
        Some((at, 'M' | 'm')) => (text.get(..at), 20),
        Some((at, 'G' | 'g')) => (text.get(..at), 30),
        Some((at, 'T' | 't')) => (text.get(..at), 40),
        _ => (Some(text), 0),
    };
    let number = digits.and_then(|digits| digits.parse::<u64>().ok());
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "expected a number of bytes, or one with K, M, G or T after it".to_owned())
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_unit() {
        for (text, expected) in [("0", 0), ("17", 17), ("2K", 2048), ("3m", 3 << 20), ("1T", 1 << 40)] {
            assert_eq!(parse_size(text), Ok(expected));
        }
        for bad in ["", "K", "-1", "1.5G", "99999999T", "1KB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
