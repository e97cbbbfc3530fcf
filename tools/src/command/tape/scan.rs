//! `reelfs tape scan`

use std::collections::BTreeMap;
use std::ffi::OsString;

use nix::unistd::{Group, User};
use reelfs::format::record::Time;
use reelfs::id::FileId;
use reelfs::job::tape::cartridges::ours;
use reelfs::job::tape::catalogue::Catalogue;
use reelfs::job::tape::error::TapeJobError;
use reelfs::job::tape::foreign::{AclName, scan_foreign_volume};
use reelfs::job::tape::library::TapeLibrary;
use reelfs::job::tape::scan::{KeepLimits, ScanOptions, ScannedVolume, scan_volume};
use reelfs::library::Barcode;
use reelfs::tape::archive::{ForeignDescription, Recognised, VolumeDescription};
use reelfs::tape::drive::Drive;
use reelfs::tape::reader::{Identified, IndexState, SessionSummary, VolumeReader};

use super::inventory::short;
use super::{Place, place};
use crate::clock;
use crate::context::Context;
use crate::failure::Failure;
use crate::human;
use crate::output::object;

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs tape scan RL0001L8                 what it holds, by its newest index
  reelfs tape scan --full RL0001L8          by going through it from the beginning, without any index
  reelfs tape scan RL0001L8 RL0002L8        all cartridges of a set, for a restore
  reelfs tape scan                          what is in a lone drive
  reelfs tape scan --sessions RL0001L8      what was archived to it and when; the catalogue stays as it is

  What a cartridge holds is taken into the catalogue, with its directory trees and the extended attributes that
  are too long for these: after that all can be asked of it but data without moving it. So a catalogue that was
  lost is made again from the cartridges alone. Name all cartridges of a set in one command: one that
  has attributes of a tree that came later is then loaded once more by itself.

  A tree is kept whatever its length, if a twentieth of the disk stays free or --keep-trees allows it; of extended
  attributes --keep-lists for each cartridge. What was left out is told, and a mount refuses it: 'No medium found'.

  A cartridge with tar or pax archives of another program is taken in too: each archive is a directory below
  tapes/BARCODE in a mount. One of LTFS, Amanda, Bacula or others is named for what it is and left alone.

EXIT STATUS
  0 done; 1 failed; 2 usage; 13 the cartridge or a drive; 130 interrupted";

/// Take into the catalogue what cartridges hold
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// Barcodes of the cartridges; none with a lone drive
    #[arg(value_name = "BARCODE")]
    barcodes: Vec<OsString>,
    /// Go through the whole cartridge instead of believing its index
    #[arg(long)]
    full: bool,
    /// Longest directory tree that is kept, in MiB; what leaves a twentieth of the disk free if left out
    #[arg(long, value_name = "MIB")]
    keep_trees: Option<u32>,
    /// Most that is kept of extended attributes too long for a tree, in MiB for each cartridge
    #[arg(long, value_name = "MIB", default_value_t = LIST_MIB)]
    keep_lists: u32,
    /// List the sessions of the cartridges instead, oldest first
    #[arg(long, conflicts_with = "full")]
    sessions: bool,
}

const LIST_MIB: u32 = 256;

impl Args {
    fn options(&self) -> ScanOptions {
        let bytes = |mib: u32| u64::from(mib) << 20;
        let limits =
            KeepLimits { tree_bytes_max: self.keep_trees.map(bytes), list_bytes_max: bytes(self.keep_lists) };
        ScanOptions { is_full: self.full, limits }
    }
}

pub(super) fn run(args: &Args, place: &Place, context: &mut Context) -> Result<(), Failure> {
    context.watch_signals()?;
    let mut library = place.open()?;
    if args.barcodes.is_empty() {
        if library.changer().is_some() {
            return Err(Failure::usage("no cartridge was named").hint("'reelfs tape inventory' lists them"));
        }
        let made = one(None, args, &mut library, place, context)?;
        warn_of_lists(made.as_ref(), context);
        return Ok(());
    }
    let barcodes = args.barcodes.iter().map(place::barcode).collect::<Result<Vec<_>, _>>()?;
    let mut scanned: Vec<(&Barcode, ScannedVolume)> = Vec::new();
    for barcode in &barcodes {
        context.progress.check()?;
        let made = one(Some(barcode), args, &mut library, place, context)?;
        scanned.extend(made.map(|made| (barcode, made)));
    }
    let mut last: BTreeMap<FileId, usize> = BTreeMap::new();
    last.extend(scanned.iter().enumerate().map(|(index, (_, made))| (made.description.set, index)));
    for index in last.into_values() {
        let (set, rest) = scanned.split_at(index);
        let Some((_, made)) = rest.first() else { continue };
        let earlier = set.iter().filter(|(_, other)| other.description.set == made.description.set);
        let again =
            lists_again(earlier.map(|(barcode, _)| *barcode), made, args, &mut library, place, context)?;
        warn_of_lists(Some(again.as_ref().unwrap_or(made)), context);
    }
    Ok(())
}

// A tree may need lists that are on a cartridge that was scanned before it was known.
fn lists_again<'a>(
    earlier: impl Iterator<Item = &'a Barcode>,
    made: &ScannedVolume,
    args: &Args,
    library: &mut TapeLibrary,
    place: &Place,
    context: &mut Context,
) -> Result<Option<ScannedVolume>, Failure> {
    let mut lacking = made.lists.elsewhere;
    let mut newest = None;
    for barcode in earlier {
        if lacking == 0 {
            break;
        }
        context.progress.check()?;
        let Some(made) = cartridge(Some(barcode), args.options(), library, place, context)? else { continue };
        lacking = made.lists.elsewhere;
        newest = Some(made);
    }
    Ok(newest)
}

fn one(
    barcode: Option<&Barcode>,
    args: &Args,
    library: &mut TapeLibrary,
    place: &Place,
    context: &mut Context,
) -> Result<Option<ScannedVolume>, Failure> {
    match args.sessions {
        true => sessions(barcode, library, place, context).map(|()| None),
        false => cartridge(barcode, args.options(), library, place, context),
    }
}

// Lists what was archived to a cartridge, and when.
fn sessions(
    barcode: Option<&Barcode>,
    library: &mut TapeLibrary,
    place: &Place,
    context: &mut Context,
) -> Result<(), Failure> {
    let mounted = library.mount(barcode, place.drive(), &context.progress)?;
    let (number, mut drive) = (mounted.number, mounted.drive);
    let display = context.show_progress("scan");
    let made = ours(&drive, mounted.identified).and_then(|description| {
        let mut reader = VolumeReader::assume(&mut drive, description.clone());
        let index = reader.index(&context.progress)?;
        Ok((description, reader.sessions(&index, &context.progress)?))
    });
    drop(display);
    let unloaded = if barcode.is_some() { library.put_away(drive, number, None).map(drop) } else { Ok(()) };
    let (description, sessions) = made?;
    for session in &sessions {
        show_session(&description.barcode, session, context)?;
    }
    Ok(unloaded?)
}

fn show_session(barcode: &str, session: &SessionSummary, context: &mut Context) -> Result<(), Failure> {
    if context.global.json {
        return Ok(context.out.json(object([
            ("kind", "session".into()),
            ("barcode", barcode.into()),
            ("session", session.text.clone().into()),
            ("written_seconds", session.written_seconds.into()),
            ("commits", session.commits.into()),
            ("segments", session.segments.into()),
            ("bytes", session.bytes.into()),
            ("closed", session.is_closed.into()),
        ]))?);
    }
    let time = human::time(Time { seconds: session.written_seconds, nanoseconds: 0 }, context.global.local);
    let cut_short = if session.is_closed { "" } else { "; cut short" };
    Ok(context.out.line(&format!(
        "{barcode}: {time}  {}: {}, {}{cut_short}",
        reelfs::path::display(session.text.as_bytes()),
        human::count(session.segments, "segment"),
        human::bytes(session.bytes)
    ))?)
}

/// Loads a cartridge, takes into the catalogue what it holds, and puts it away; returns what it found on one of ours.
pub(super) fn cartridge(
    barcode: Option<&Barcode>,
    options: ScanOptions,
    library: &mut TapeLibrary,
    place: &Place,
    context: &mut Context,
) -> Result<Option<ScannedVolume>, Failure> {
    let catalogue = place.catalogue(context)?;
    let mounted = library.mount(barcode, place.drive(), &context.progress)?;
    let (number, mut drive) = (mounted.number, mounted.drive);
    let display = context.show_progress("scan");
    let made = match mounted.identified {
        Identified::Foreign(kind) => {
            foreign(&catalogue, &mut drive, &kind, barcode, context).map(Scanned::Foreign)
        }
        identified => ours(&drive, identified)
            .and_then(|_| scan_volume(&catalogue, &mut drive, options, &context.progress))
            .map(|made| Scanned::Ours(Box::new(made))),
    };
    drop(display);
    let unloaded = if barcode.is_some() { library.put_away(drive, number, None).map(drop) } else { Ok(()) };
    let found = match made? {
        Scanned::Foreign(description) => {
            show_foreign(&description, context)?;
            None
        }
        Scanned::Ours(made) => {
            let ScannedVolume { description, .. } = &*made;
            let is_other = |outside: &&Barcode| outside.as_bytes() != description.barcode.as_bytes();
            if let Some(outside) = barcode.filter(is_other) {
                let inside = description.barcode.clone();
                let error = TapeJobError::Mislabelled { outside: outside.clone(), inside };
                context.warn(&reelfs::job::chain(&error));
            }
            show(&made, context)?;
            warn_of_others(&catalogue, description, context)?;
            warn_of_gaps(&made, context);
            Some(*made)
        }
    };
    unloaded?;
    Ok(found)
}

enum Scanned {
    Ours(Box<ScannedVolume>),
    Foreign(ForeignDescription),
}

// Without a changer nobody has read the label, and the cartridge itself may know it.
fn foreign(
    catalogue: &Catalogue,
    drive: &mut Drive,
    kind: &Recognised,
    barcode: Option<&Barcode>,
    context: &Context,
) -> Result<ForeignDescription, TapeJobError> {
    let barcode = match barcode {
        Some(barcode) => barcode.to_string(),
        None => drive.medium()?.barcode.unwrap_or_default(),
    };
    let scanned = Time { seconds: clock::now_seconds(), nanoseconds: 0 };
    scan_foreign_volume(catalogue, drive, kind, &barcode, scanned, &number_of, &context.progress)
}

// Access lists of tar have names of users, as this machine knows them.
fn number_of(name: AclName<'_>) -> Option<u32> {
    match name {
        AclName::User(name) => User::from_name(name).ok().flatten().map(|user| user.uid.as_raw()),
        AclName::Group(name) => Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw()),
    }
}

fn show_foreign(description: &ForeignDescription, context: &mut Context) -> Result<(), Failure> {
    let count =
        |of: fn(&reelfs::tape::archive::ForeignFile) -> u64| description.files.iter().map(of).sum::<u64>();
    let (entries, left_out) = (count(|file| file.entry_count), count(|file| file.left_out_count));
    if context.global.json {
        let files = description.files.iter().map(|file| {
            serde_json::Value::Object(object([
                ("tape_file", file.number.into()),
                ("state", file.state.as_str().into()),
                ("entries", file.entry_count.into()),
                ("left_out", file.left_out_count.into()),
                ("first_block", file.first_loi.into()),
                ("end_block", file.end_loi.into()),
            ]))
        });
        return Ok(context.out.json(object([
            ("barcode", description.barcode.clone().into()),
            ("volume", description.volume.to_string().into()),
            ("foreign", description.kind.clone().into()),
            ("name", description.name.clone().into()),
            ("entries", entries.into()),
            ("left_out", left_out.into()),
            ("files", files.collect::<Vec<_>>().into()),
        ]))?);
    }
    let barcode = if description.barcode.is_empty() { "(no barcode)" } else { &description.barcode };
    let name = if description.name.is_empty() { String::new() } else { format!(" {}", description.name) };
    if description.files.is_empty() {
        let text = format!(
            "{barcode}: a cartridge of another program ({}{name}); it was left alone",
            description.kind
        );
        return Ok(context.out.line(&text)?);
    }
    let archives =
        human::count(description.files.iter().filter(|file| file.entry_count > 0).count() as u64, "archive");
    context.out.line(&format!(
        "{barcode}: {} of another program, {archives}, {}",
        description.kind,
        human::count(entries, "entry")
    ))?;
    for file in &description.files {
        let what = match file.state {
            reelfs::tape::archive::ForeignState::Whole => continue,
            reelfs::tape::archive::ForeignState::Cut => {
                "ends in the middle: it goes on on another volume, or was cut short"
            }
            reelfs::tape::archive::ForeignState::Damaged => {
                "is damaged: what is behind the damage is not listed"
            }
            reelfs::tape::archive::ForeignState::Other => "is no archive",
        };
        context.warn(&format!("tape file {} {what}", file.number));
    }
    if left_out > 0 {
        context.warn(&format!(
            "{} left out: names that lead out of the archive, or links to nothing",
            human::count(left_out, "entry")
        ));
    }
    Ok(())
}

// What the catalogue says of another cartridge may be gone with it.
fn warn_of_others(
    catalogue: &Catalogue,
    found: &VolumeDescription,
    context: &Context,
) -> Result<(), Failure> {
    let barcode = &found.barcode;
    if !found.is_described() {
        context.warn(&format!(
            "{barcode}: its description is damaged, so its repository and pool are not known; nothing is added to it"
        ));
    }
    for known in place::known_volumes(catalogue, context)? {
        let other = &known.description;
        if other.barcode != *barcode || other.volume == found.volume {
            continue;
        }
        let time = human::time(Time { seconds: other.created_seconds, nanoseconds: 0 }, context.global.local);
        context.warn(&format!(
            "{barcode} is cartridge {}; the catalogue has another one of this barcode, {}, labelled {time}: if this \
             one was written over, what the catalogue says of that one is gone; 'reelfs tape archive --new-set' \
             writes it again",
            found.volume, other.volume
        ));
    }
    Ok(())
}

// What cannot be listed or asked for in a mount.
fn warn_of_gaps(made: &ScannedVolume, context: &mut Context) {
    let barcode = &made.description.barcode;
    for name in &made.trees_left_out {
        context.warn(&format!(
            "{barcode}: {name} was not kept for want of room: its generation cannot be listed; see --keep-trees"
        ));
    }
    for (count, why) in [
        (made.lists.over_limit, "more than are kept; see --keep-lists"),
        (made.lists.unread, "cannot be read from this cartridge alone"),
    ] {
        warn_of_some(barcode, count, why, context);
    }
}

/// Tells of lists that are lacking when all cartridges are scanned: another one may have had them.
pub(super) fn warn_of_lists(made: Option<&ScannedVolume>, context: &mut Context) {
    let Some(ScannedVolume { description, lists, .. }) = made else { return };
    let why = "on other cartridges of the set: scan those too";
    warn_of_some(&description.barcode, lists.elsewhere, why, context);
}

fn warn_of_some(barcode: &str, count: u64, why: &str, context: &mut Context) {
    if count > 0 {
        context
            .warn(&format!("{barcode}: {} of extended attributes: {why}", human::count(count, "long list")));
    }
}

fn show(made: &ScannedVolume, context: &mut Context) -> Result<(), Failure> {
    let ScannedVolume { description, index, trees_left_out, lists } = made;
    let bytes: u64 = index.segments.iter().map(|segment| segment.len).sum();
    let state = match index.state {
        IndexState::Closed => "closed",
        IndexState::Committed => "committed",
        IndexState::Torn => "torn",
    };
    if context.global.json {
        return Ok(context.out.json(object([
            ("barcode", description.barcode.clone().into()),
            ("volume", description.volume.to_string().into()),
            ("set", description.set.to_string().into()),
            ("sequence", description.sequence.into()),
            ("segments", index.segments.len().into()),
            ("bytes", bytes.into()),
            ("state", state.into()),
            ("trees_left_out", trees_left_out.len().into()),
            ("lists_kept", lists.kept.into()),
            ("lists_lacking", (lists.over_limit + lists.unread + lists.elsewhere).into()),
            ("session", index.header.as_ref().map(|header| header.session.clone()).into()),
        ]))?);
    }
    let torn = if index.state == IndexState::Torn { "; its last session was cut short" } else { "" };
    Ok(context.out.line(&format!(
        "{}: {} of set {}, {}, {}{torn}",
        description.barcode,
        description.sequence,
        short(&description.set.to_string()),
        human::count(index.segments.len() as u64, "segment"),
        human::bytes(bytes)
    ))?)
}
