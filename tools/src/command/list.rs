//! `reelfs list`

use reelfs::format::record::Time;
use reelfs::id::ClientName;
use reelfs::path;
use reelfs::repo::{Generation, GenerationId, RepoError, Repository, catalog};

use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::output::{object, put_bytes};
use crate::{human, session};

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs list                       all generations of all clients, oldest first
  reelfs list web1                  those of one client
  reelfs list --json web1 | jq -r .generation

  ADDED is what the generation added to the repository, compressed, its tree included.

EXIT STATUS
  0 done; 1 no such client; 2 usage; 10 no repository; 12 a generation is damaged, the others were listed";

/// List clients and their generations
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Only the generations of this client
    client: Option<ClientName>,
}

pub(crate) fn run(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let repository = session::open(context)?;
    let all = repository.clients()?;
    let clients = match &args.client {
        Some(client) if !all.contains(client) => {
            return Err(RepoError::NoClient { client: client.clone() }.into());
        }
        Some(client) => vec![client.clone()],
        None => all,
    };
    if args.client.is_none() {
        for name in repository.strays()? {
            context.warn(&format!(
                "{}/{} is no directory of a client and is passed over; nothing in it is a generation",
                catalog::CLIENTS,
                path::display(name.as_bytes())
            ));
        }
    }
    let mut worst = None;
    let mut is_first = true;
    for client in clients {
        let generations = repository.generations(&client)?;
        let width = client.as_str().len() + "@2026-11-21T04-00-00Z".len();
        if !context.global.json && !context.global.quiet && !generations.is_empty() {
            if !is_first {
                context.out.line("")?;
            }
            let head = format!("{:width$}  {:>12}  {:>10}  {:>10}", "ADDRESS", "FILES", "SIZE", "ADDED");
            context.out.line(&head)?;
        }
        is_first &= generations.is_empty();
        for id in generations {
            if let Err(failure) = show(&repository, &client, id, width, context) {
                if failure.kind != Kind::Damaged {
                    return Err(failure);
                }
                context.warn(&format!("{client}@{}: {}", id.time, failure.text().unwrap_or_default()));
                worst = Some(Kind::Damaged);
            }
        }
    }
    worst.map_or(Ok(()), |kind| Err(Failure::told(kind)))
}

fn show(
    repository: &Repository,
    client: &ClientName,
    id: GenerationId,
    width: usize,
    context: &mut Context,
) -> Result<(), Failure> {
    let generation = repository.generation(id.ordinal)?;
    if context.global.json {
        return Ok(context.out.json(json(client, id, &generation))?);
    }
    let Generation { footer, dtf_bytes, .. } = &*generation;
    let address = if context.global.local {
        let time = Time { seconds: id.time.seconds(), nanoseconds: 0 };
        format!("{client}@{}  {}", id.time, human::time(time, true))
    } else {
        format!("{client}@{}", id.time)
    };
    let mut line = format!(
        "{address:width$}  {:>12}  {:>10}  {:>10}",
        human::grouped(footer.totals.file_count),
        human::bytes(footer.totals.content_bytes),
        human::bytes(footer.added_bytes + dtf_bytes),
    );
    if !footer.message.is_empty() {
        line.push_str("  ");
        line.push_str(&path::display(&footer.message));
    }
    Ok(context.out.line(&line)?)
}

fn json(
    client: &ClientName,
    id: GenerationId,
    generation: &Generation,
) -> serde_json::Map<String, serde_json::Value> {
    let Generation { header, footer, dtf_bytes } = generation;
    let totals = &footer.totals;
    let mut members = object([
        ("client", client.as_str().into()),
        ("generation", id.time.to_string().into()),
        ("address", format!("{client}@{}", id.time).into()),
        ("ordinal", id.ordinal.get().into()),
        ("previous", header.previous.map(reelfs::id::Ordinal::get).into()),
        ("seconds", id.time.seconds().into()),
        ("files", totals.file_count.into()),
        ("directories", totals.directory_count.into()),
        ("symlinks", totals.symlink_count.into()),
        ("others", totals.other_count.into()),
        ("linked_files", totals.linked_count.into()),
        ("inconsistent_files", totals.inconsistent_count.into()),
        ("content_bytes", totals.content_bytes.into()),
        ("added_bytes", footer.added_bytes.into()),
        ("dtf_bytes", (*dtf_bytes).into()),
    ]);
    put_bytes(&mut members, "source", &footer.source);
    put_bytes(&mut members, "message", &footer.message);
    members
}
