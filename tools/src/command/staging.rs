//! `reelfs staging`

use reelfs::id::ClientName;
use reelfs::job::control::{Answer, ClientStatus, Request};
use serde_json::{Map, Value};

use crate::context::Context;
use crate::failure::Failure;
use crate::output::{object, tell};
use crate::{human, staging};

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs staging                    all clients with staging
  reelfs staging web1
  reelfs staging --json | jq -r 'select(.changed) | .client'

  BASE is the generation that staging stands on, CHANGED the count of names that differ from it, DATA what
  was written and is not committed. reelfs-staging(7) tells how it all works.

EXIT STATUS
  0 done; 1 no such client; 2 usage; 10 no repository;
  11 another process has staging open and does not answer; 12 damaged";

/// List what each client has staged
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Only this client
    client: Option<ClientName>,
}

pub(crate) fn run(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let request = Request::Status { client: args.client.as_ref().map(ToString::to_string) };
    let mut clients = Vec::new();
    let quiet = context.global.quiet;
    let told = staging::perform(context, &request, &mut |answer| match answer {
        Answer::Client(status) => clients.push(status),
        Answer::Note { text } if !quiet => tell(&format!("reelfs: {text}")),
        _ => {}
    });
    show(&clients, context)?;
    told
}

fn show(clients: &[ClientStatus], context: &mut Context) -> Result<(), Failure> {
    if context.global.json {
        for status in clients {
            context.out.json(json(status))?;
        }
        return Ok(());
    }
    let longest = clients.iter().map(|status| status.client.len()).max().unwrap_or(0);
    let width = longest.max("CLIENT".len());
    if !clients.is_empty() && !context.global.quiet {
        let head = format!("{:width$}  {:20}  {:>9}  {:>10}  STATE", "CLIENT", "BASE", "CHANGED", "DATA");
        context.out.line(&head)?;
    }
    for status in clients {
        let base = status.base.as_deref().unwrap_or("empty");
        let (changed, data) = (human::grouped(status.entry_count), human::bytes(status.backing_bytes));
        let line =
            format!("{:width$}  {base:20}  {changed:>9}  {data:>10}  {}", status.client, state(status));
        context.out.line(&line)?;
    }
    if let Some(status) = clients.iter().find(|status| status.disk_free_bytes <= status.reserve_bytes) {
        context.warn(&format!(
            "staging takes nothing more: {} are free on its disk, {} of the disk are kept for a commit or a \
             discard ({}: staging.space.reserve_bytes)",
            human::bytes(status.disk_free_bytes),
            human::bytes(status.reserve_bytes),
            reelfs::format::config::FILE_NAME
        ));
    }
    Ok(())
}

fn state(status: &ClientStatus) -> String {
    let mut parts = vec![match (status.is_committing, status.is_changed) {
        (true, _) => "committing".to_owned(),
        (false, true) => "changed".to_owned(),
        (false, false) => "unchanged".to_owned(),
    }];
    if status.writer_count > 0 {
        parts.push(format!("{} open for writing", human::count(status.writer_count, "file")));
    }
    if status.commits_on_silence {
        parts.push("commits on silence".to_owned());
    }
    if status.commit_every_seconds > 0 {
        let every = human::duration(std::time::Duration::from_secs(status.commit_every_seconds));
        parts.push(format!("commits every {every}"));
    }
    parts.push(if status.is_served { "mounted" } else { "not mounted" }.to_owned());
    parts.join(", ")
}

fn json(status: &ClientStatus) -> Map<String, Value> {
    object([
        ("client", status.client.clone().into()),
        ("base", status.base.clone().into()),
        ("changed", status.is_changed.into()),
        ("changed_names", status.entry_count.into()),
        ("changed_objects", status.object_count.into()),
        ("data_bytes", status.backing_bytes.into()),
        ("files_open_for_writing", status.writer_count.into()),
        ("committing", status.is_committing.into()),
        ("commits_on_silence", status.commits_on_silence.into()),
        ("commit_every_seconds", status.commit_every_seconds.into()),
        ("mounted", status.is_served.into()),
        ("disk_free_bytes", status.disk_free_bytes.into()),
        ("reserve_bytes", status.reserve_bytes.into()),
    ])
}
