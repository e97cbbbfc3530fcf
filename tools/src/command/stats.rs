//! `reelfs stats`

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use reelfs::format::bdf::Area;
use reelfs::index::Index;
use reelfs::repo::Repository;
use reelfs::repo::catalog::CLIENTS;
use reelfs::repo::repository::INDEX;

use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::output::object;
use crate::{human, session};

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs stats
  reelfs stats --json | jq .ratio

  LOGICAL is what all generations hold together, each as if it were alone; the ratio is that to what the
  repository takes on the disk.

EXIT STATUS
  0 done; 1 failed; 2 usage; 10 no repository; 12 a generation is damaged, the others were counted";

/// Show how large the repository is and what it holds
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {}

#[derive(Debug, Default)]
struct Counted {
    client_count: u64,
    generation_count: u64,
    logical_bytes: u64,
    latest_bytes: u64,
    tree_bytes: u64,
    // Bytes in the areas full, delta and merge.
    area_bytes: [u64; 3],
    index_bytes: u64,
    // Records in the index: chunks and files; `None` if there is none.
    index_counts: Option<(u64, u64)>,
    worst: Option<Kind>,
}

pub(crate) fn run(_: &Args, context: &mut Context) -> Result<(), Failure> {
    let repository = session::open(context)?;
    let counted = count(&repository, context)?;
    if context.global.json {
        json(&counted, context)?
    } else {
        show(&counted, context)?
    }
    counted.worst.map_or(Ok(()), |kind| Err(Failure::told(kind)))
}

fn count(repository: &Repository, context: &Context) -> Result<Counted, Failure> {
    let mut counted = Counted::default();
    let mut clients = BTreeSet::new();
    for client in repository.clients()? {
        let mut latest = 0;
        for id in repository.generations(&client)? {
            counted.generation_count += 1;
            clients.insert(client.clone());
            match repository.generation(id.ordinal) {
                Ok(generation) => {
                    latest = generation.footer.totals.content_bytes;
                    counted.logical_bytes += latest;
                }
                Err(error) => {
                    let text = reelfs::job::chain(&error);
                    context.warn(&format!("{client}@{} is not counted: {text}", id.time));
                    counted.worst = Some(Kind::Damaged);
                }
            }
        }
        counted.latest_bytes += latest;
    }
    counted.client_count = clients.len() as u64;
    let Some(root) = repository.root() else { return Ok(counted) };
    counted.tree_bytes = bytes_below(&root.join(CLIENTS));
    for (area, bytes) in Area::ALL.into_iter().zip(&mut counted.area_bytes) {
        *bytes = bytes_below(&root.join(area.directory()));
    }
    let index = root.join(INDEX);
    counted.index_bytes = bytes_below(&index);
    counted.index_counts = Index::open_read_only(&index).ok().map(|index| index.counts());
    Ok(counted)
}

// Files come and go while others work; what is gone takes no space.
fn bytes_below(directory: &Path) -> u64 {
    let mut bytes = 0;
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => left.push(entry.path()),
                Ok(metadata) => bytes += metadata.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

impl Counted {
    fn stored_bytes(&self) -> u64 {
        self.tree_bytes + self.area_bytes.iter().sum::<u64>()
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio is shown with two digits")]
    fn ratio(&self) -> Option<f64> {
        let stored = self.stored_bytes();
        (stored > 0).then(|| self.logical_bytes as f64 / stored as f64)
    }
}

fn show(counted: &Counted, context: &mut Context) -> Result<(), Failure> {
    let mut lines = vec![
        format!("clients      {}", human::grouped(counted.client_count)),
        format!("generations  {}", human::grouped(counted.generation_count)),
        format!("logical      {}", human::bytes(counted.logical_bytes)),
        format!("latest       {}", human::bytes(counted.latest_bytes)),
        format!("stored       {}", human::bytes(counted.stored_bytes())),
    ];
    if let Some(ratio) = counted.ratio() {
        lines.push(format!("ratio        {ratio:.2}"));
    }
    lines.push(format!("  trees      {}", human::bytes(counted.tree_bytes)));
    for (area, bytes) in Area::ALL.into_iter().zip(counted.area_bytes) {
        lines.push(format!("  {:9}  {}", area.directory(), human::bytes(bytes)));
    }
    lines.push(format!("index        {}", human::bytes(counted.index_bytes)));
    if let Some((chunks, files)) = counted.index_counts {
        lines.push(format!("  chunks     about {}", human::grouped(chunks)));
        lines.push(format!("  files      about {} of more than one chunk", human::grouped(files)));
    }
    lines.iter().try_for_each(|line| context.out.line(line))?;
    Ok(())
}

fn json(counted: &Counted, context: &mut Context) -> Result<(), Failure> {
    let mut members = object([
        ("clients", counted.client_count.into()),
        ("generations", counted.generation_count.into()),
        ("logical_bytes", counted.logical_bytes.into()),
        ("latest_bytes", counted.latest_bytes.into()),
        ("stored_bytes", counted.stored_bytes().into()),
        ("ratio", counted.ratio().into()),
        ("tree_bytes", counted.tree_bytes.into()),
        ("index_bytes", counted.index_bytes.into()),
        ("index_chunks", counted.index_counts.map(|counts| counts.0).into()),
        ("index_files", counted.index_counts.map(|counts| counts.1).into()),
    ]);
    for (area, bytes) in Area::ALL.into_iter().zip(counted.area_bytes) {
        members.insert(format!("{}_bytes", area.directory()), bytes.into());
    }
    Ok(context.out.json(members)?)
}
