//! `reelfs discard`

use reelfs::id::ClientName;
use reelfs::job::control::{Answer, Request, SetAsideAnswer};
use serde_json::Value;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::object;
use crate::{human, staging};

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs commit web1 --preview      what is pending
  reelfs discard web1               and away with it

  Staging then shows the generation that it stands on. Files of it that are open become stale, and
  what was committed before stays.

  Staging that is damaged begins anew on the client's latest generation. Nobody can say then what was
  staged, so nothing of it is removed: it is moved to staging/.damaged-CLIENT-TIME in the repository,
  which is told, and takes its space until you remove it.

EXIT STATUS
  0 done; 1 failed, or the client has no staging; 2 usage; 10 no repository;
  11 a commit is running, or another process has staging open; 12 damaged";

/// Drop what is staged and not committed
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Client whose changes are dropped
    client: ClientName,
}

pub(crate) fn run(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let request = Request::Discard { client: args.client.to_string() };
    let mut staged = None;
    staging::perform(context, &request, &mut |answer| {
        if let Answer::Staged { client, generation, aside } = answer {
            staged = Some(Staged { client, generation, aside });
        }
    })?;
    show(staged, context)
}

/// Where a client's staging stands.
pub(super) struct Staged {
    pub(super) client: String,
    pub(super) generation: Option<String>,
    pub(super) aside: Option<SetAsideAnswer>,
}

fn tell_aside(client: &str, aside: &SetAsideAnswer, context: &Context) {
    let files = human::count(aside.file_count, "file");
    let (bytes, path) = (human::bytes(aside.bytes), &aside.path);
    context.warn(&format!(
        "staging of {client} was damaged ({}); what is left of it, its database and {files} with {bytes} that were \
         written, is in {path} now",
        aside.damage
    ));
    context.note(
        "hint: remove that directory when nothing of it is needed; 'reelfs list' shows what was committed",
    );
}

fn aside_json(aside: &SetAsideAnswer) -> Value {
    Value::Object(object([
        ("damage", aside.damage.clone().into()),
        ("path", aside.path.clone().into()),
        ("files", aside.file_count.into()),
        ("bytes", aside.bytes.into()),
    ]))
}

/// Tells on which generation a client's staging stands.
pub(super) fn show(staged: Option<Staged>, context: &mut Context) -> Result<(), Failure> {
    let Some(Staged { client, generation, aside }) = staged else {
        return Err(Failure::failed("the daemon gave no answer"));
    };
    if let Some(aside) = &aside {
        tell_aside(&client, aside, context);
    }
    if context.global.json {
        let aside = aside.as_ref().map_or(Value::Null, aside_json);
        let members = object([("client", client.into()), ("base", generation.into()), ("set_aside", aside)]);
        return Ok(context.out.json(members)?);
    }
    if context.global.quiet {
        return Ok(());
    }
    let line = match generation {
        Some(generation) => format!("staging of {client} shows {client}@{generation}"),
        None => format!("staging of {client} is empty"),
    };
    Ok(context.out.line(&line)?)
}
