//! `reelfs man`: writes the man pages of section 1.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap_mangen::Man;

use crate::failure::Failure;

/// Write the man pages of section 1 into a directory
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// The directory
    directory: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut command = crate::cli();
    command.build();
    let mut pages = Vec::new();
    collect(&command, "reelfs", &mut pages);
    for (command, name) in pages {
        let path = args.directory.join(format!("{name}.1"));
        let page = page(command, &name).map_err(Failure::failed)?;
        fs::write(&path, page).map_err(|source| {
            Failure::failed(Write {
                path: reelfs::path::display(path.as_os_str().as_encoded_bytes()),
                source,
            })
        })?;
    }
    Ok(())
}

// A page for a command and for each of its subcommands.
fn collect(command: &clap::Command, name: &str, pages: &mut Vec<(clap::Command, String)>) {
    pages.push((command.clone(), name.to_owned()));
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        collect(subcommand, &format!("{name}-{}", subcommand.get_name()), pages);
    }
}

fn page(command: clap::Command, name: &str) -> io::Result<Vec<u8>> {
    let sections = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let usage_name = name.replace('-', " ");
    let has_subcommands = command.has_subcommands();
    let command = command.name(name.to_owned()).bin_name(usage_name).after_long_help("").after_help("");
    let man = Man::new(command).manual("reelfs").source("reelfs").date("");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_subcommands {
        man.render_subcommands_section(&mut page)?;
    }
    page.extend_from_slice(verbatim(&sections).as_bytes());
    if name != "reelfs" {
        page.extend_from_slice(b".SH \"SEE ALSO\"\n.BR reelfs (1)\n");
    }
    Ok(page)
}

// A line of capitals is a heading; what follows is shown as it is written.
fn verbatim(text: &str) -> String {
    let mut page = String::new();
    let mut is_open = false;
    for line in text.lines() {
        let is_heading =
            !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b' ');
        if is_heading {
            page.push_str(if is_open { ".fi\n" } else { "" });
            page.push_str(&format!(".SH \"{line}\"\n.nf\n"));
            is_open = true;
            continue;
        }
        let escaped = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
        // A point at the start of a line would be a request.
        page.push_str(if escaped.starts_with('.') { "\\&" } else { "" });
        page.push_str(&escaped);
        page.push('\n');
    }
    page.push_str(if is_open { ".fi\n" } else { "" });
    page
}

/// A page cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}")]
struct Write {
    path: String,
    source: io::Error,
}
