//! `reelfs commit`

use std::time::Instant;

use reelfs::id::ClientName;
use reelfs::job::control::{Answer, CommitAnswer, CommitRequest, Counted, FileAnswer, Remarks, Request};
use serde_json::{Map, Value};

use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::output::{object, put_bytes, tell};
use crate::{human, staging};

const AFTER_HELP: &str = "\
EXAMPLES
  rsync -aHAX --delete /home/ /mnt/reelfs/staging/web1/home/ && reelfs commit web1
  reelfs commit web1 --message 'before the upgrade'
  reelfs commit web1 --preview                what a commit would add; nothing is written
  reelfs commit web1 --preview --verbose      and for each file how that is found

  A commit takes what was staged up to one moment; writers go on meanwhile, and what they write
  belongs to the next generation. Before, files that are open and were written in the last seconds
  are waited for; those that find no rest are taken as they stand and marked, or left as
  they last were: 'safe' in reelfs.toml(5) decides.

  How a file's changes are found, as --verbose shows it:
    rfe    the whole file is stored already, which its signature proves
    fda    only what was written in place was read; the rest stays where it is
    sfp    it was read and cut where its content says so; chunks that are stored are not stored again
    kept   only its attributes or names changed

  Files are counted by their names, and the bytes of a file with several names once. New, modified and
  unchanged files are all that the generation holds: what the one before held, less what was removed,
  and what is new. A file that was renamed counts as removed and as new, those in a directory that was
  renamed as unchanged.

EXIT STATUS
  0    the generation was made, or nothing had changed
  1    failed, no generation was made; what was staged is staged as before
  2    the arguments make no sense
  3    the generation was made, but some files were not in a safe state or lie on what is damaged
  10   there is no repository
  11   another process writes to the repository, or commits; --wait waits for it
  12   the repository is damaged
  130  interrupted; no generation was made";

/// Make a generation of what is staged
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Client whose next generation it becomes
    client: ClientName,
    /// Tell what a commit would add, and write nothing
    #[arg(long, short = 'n', conflicts_with_all = ["message", "always"])]
    preview: bool,
    /// Keep a remark with the generation
    #[arg(long, short, value_name = "TEXT", default_value = "", hide_default_value = true)]
    message: String,
    /// Make a generation even if nothing changed
    #[arg(long)]
    always: bool,
    /// Wait for the end of another commit or backup instead of failing
    #[arg(long)]
    wait: bool,
    /// Do not wait for files that are being written
    #[arg(long)]
    now: bool,
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let started = Instant::now();
    let request = CommitRequest {
        client: args.client.to_string(),
        message: args.message,
        always: args.always,
        now: args.now,
        wait: args.wait,
        files: context.global.verbose > 0,
    };
    let request = if args.preview { Request::Preview(request) } else { Request::Commit(request) };
    context.watch_signals()?;
    let display = context.show_progress("commit");
    let (mut done, mut refused) = (None, None);
    let global = context.global.clone();
    // Files may be many: each is shown as it is told.
    let mut out = std::mem::replace(&mut context.out, crate::output::Output::new());
    let result = staging::perform(context, &request, &mut |answer| match answer {
        Answer::Commit(answer) => done = Some(*answer),
        Answer::Note { text } if !global.quiet => tell(&format!("reelfs: {text}")),
        Answer::File(file) if refused.is_none() => {
            let shown = if global.json { out.json(file_json(&file)) } else { out.line(&file_line(&file)) };
            refused = shown.err();
        }
        _ => {}
    });
    context.out = out;
    drop(display);
    result?;
    if let Some(error) = refused {
        return Err(error.into());
    }
    let Some(answer) = done else { return Err(Failure::failed("the daemon gave no answer")) };
    tell_remarks(&answer, context);
    if context.global.json {
        context.out.json(json(&answer, started))?;
    } else if !context.global.quiet {
        show(&answer, started, context)?;
    }
    let remarks = [&answer.inconsistent, &answer.kept_back, &answer.unreadable];
    let is_complete = remarks.iter().all(|remarks| remarks.count == 0);
    if is_complete { Ok(()) } else { Err(Failure::told(Kind::Partial)) }
}

fn file_line(file: &FileAnswer) -> String {
    let path = reelfs::path::display(&file.path);
    let (size, written) = (human::bytes(file.size), human::bytes(file.written_bytes));
    match file.method.as_str() {
        "fda" => format!("{:4}  {path}  {written} of {size}: {}", file.method, file.reason),
        _ => format!("{:4}  {path}  {size}: {}", file.method, file.reason),
    }
}

fn file_json(file: &FileAnswer) -> Map<String, Value> {
    let mut members = object([
        ("method", file.method.clone().into()),
        ("reason", file.reason.clone().into()),
        ("size", file.size.into()),
        ("written_bytes", file.written_bytes.into()),
    ]);
    put_bytes(&mut members, "path", &file.path);
    members
}

// With --quiet the exit status tells.
fn tell_remarks(answer: &CommitAnswer, context: &Context) {
    if context.global.quiet {
        return;
    }
    for remarks in [&answer.inconsistent, &answer.kept_back, &answer.unreadable] {
        tell_each(remarks);
    }
    if answer.unreadable.count > 0 {
        context.note("hint: 'reelfs verify' tells what is damaged; what was not written since is as unreadable as before");
    }
    tell_each(&answer.untrusted);
    if let Some(problem) = &answer.index_problem {
        context.warn(&format!("the index does not know the new generation: {problem}"));
        context.note("hint: 'reelfs rebuild' makes the index again; the generation is complete without it");
    }
}

fn tell_each(remarks: &Remarks) {
    for (path, remark) in &remarks.listed {
        tell(&format!("reelfs: {path}: {remark}"));
    }
    let unnamed = remarks.count.saturating_sub(remarks.listed.len() as u64);
    if unnamed > 0 {
        tell(&format!("reelfs: {} more", human::count(unnamed, "file")));
    }
}

fn show(answer: &CommitAnswer, started: Instant, context: &mut Context) -> Result<(), Failure> {
    let took = human::duration(started.elapsed());
    let client = &answer.client;
    let counted =
        |count: &Counted| format!("{}, {}", human::count(count.files, "file"), human::bytes(count.bytes));
    match &answer.generation {
        Some(generation) => {
            context.out.line(&format!("{client}@{generation}"))?;
            context.out.line(&format!("  holds      {}", counted(&answer.holds)))?;
        }
        None if answer.is_preview => {
            context.out.line(&format!("{client}: a commit would find"))?;
            context.out.line(&format!("  would hold {}", counted(&answer.holds)))?;
        }
        None => {
            let line = format!("{client}: nothing changed, no generation was made ({took})");
            return Ok(context.out.line(&line)?);
        }
    }
    for (what, count, remark) in [
        ("new", &answer.new, ""),
        ("modified", &answer.modified, ""),
        ("unchanged", &answer.unchanged, ""),
        ("redundant", &answer.redundant, ", stored already"),
        ("removed", &answer.removed, ""),
        ("in place", &answer.fda, " written"),
    ] {
        if count.files > 0 {
            context.out.line(&format!("  {what:9}  {}{remark}", counted(count)))?;
        }
    }
    if answer.waited_ms >= 1000 {
        let waited = human::duration(std::time::Duration::from_millis(answer.waited_ms));
        context.out.line(&format!("  waited     {waited} for files that were being written"))?;
    }
    let (data, tree) = (human::bytes(answer.added_bytes), human::bytes(answer.dtf_bytes));
    let read = human::bytes(answer.read_bytes);
    let line = match answer.is_preview {
        true => format!("  would add  {data} of data; {read} read in {took}"),
        false => format!("  added      {data} of data, {tree} of tree; {read} read, in {took}"),
    };
    Ok(context.out.line(&line)?)
}

fn json(answer: &CommitAnswer, started: Instant) -> Map<String, Value> {
    let count = |count: &Counted| {
        Value::Object(object([("files", count.files.into()), ("bytes", count.bytes.into())]))
    };
    let remarks = |remarks: &Remarks| -> Value {
        let one = |(path, remark): &(String, String)| {
            Value::Object(object([("path", path.clone().into()), ("reason", remark.clone().into())]))
        };
        remarks.listed.iter().map(one).collect()
    };
    let address = answer.generation.as_ref().map(|generation| format!("{}@{generation}", answer.client));
    let is_told = answer.is_preview || answer.generation.is_some();
    object([
        ("client", answer.client.clone().into()),
        ("address", address.into()),
        ("generation", answer.generation.clone().into()),
        ("ordinal", answer.ordinal.into()),
        ("preview", answer.is_preview.into()),
        ("new", count(&answer.new)),
        ("modified", count(&answer.modified)),
        ("unchanged", count(&answer.unchanged)),
        ("redundant", count(&answer.redundant)),
        ("removed", count(&answer.removed)),
        ("fda", count(&answer.fda)),
        ("sfp", count(&answer.sfp)),
        ("kept", count(&answer.kept)),
        ("holds", if is_told { count(&answer.holds) } else { Value::Null }),
        ("read_bytes", answer.read_bytes.into()),
        ("added_bytes", answer.added_bytes.into()),
        ("dtf_bytes", answer.dtf_bytes.into()),
        ("inconsistent_count", answer.inconsistent.count.into()),
        ("inconsistent", remarks(&answer.inconsistent)),
        ("kept_back_count", answer.kept_back.count.into()),
        ("kept_back", remarks(&answer.kept_back)),
        ("untrusted_count", answer.untrusted.count.into()),
        ("unreadable_count", answer.unreadable.count.into()),
        ("unreadable", remarks(&answer.unreadable)),
        ("index_problem", answer.index_problem.clone().into()),
        ("waited_ms", answer.waited_ms.into()),
        ("seconds", started.elapsed().as_secs_f64().into()),
    ])
}
