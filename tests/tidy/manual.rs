//! Manual pages of section 5 against the constants of the code: magic numbers, tables of offsets,
//! limits, and the fields of the configuration with their defaults.

use reelfs::format::config::Config;
use reelfs::format::staging_policy::StagingPolicy;
use reelfs::format::{FORMAT_VERSION, bdf, dtf, frame, page, record, seal};
use reelfs::id::{FileId, Ordinal};
use reelfs::tape::archive;

use crate::tree::Tree;

/// Page, table, and length of the structure that the rows of the table add up to.
fn tables() -> [(&'static str, &'static str, usize); 10] {
    [
        ("man/bdf.5", "Header", bdf::HEADER_LEN),
        ("man/bdf.5", "Frame header", frame::HEADER_LEN),
        ("man/bdf.5", "Chunk table", frame::CHUNK_LEN),
        ("man/bdf.5", "Base table", frame::BASE_LEN),
        ("man/bdf.5", "Footer", bdf::FOOTER_HEAD_LEN),
        ("man/bdf.5", "Seal", seal::SEAL_LEN),
        ("man/dtf.5", "Header", dtf::HEADER_LEN),
        ("man/dtf.5", "Page header", page::HEADER_LEN),
        ("man/dtf.5", "Seal", seal::SEAL_LEN),
        ("man/reelfs-tape.5", "Volume label", archive::LABEL_LEN),
    ]
}

/// Page, section, and what must be said there.
fn statements() -> Vec<(&'static str, &'static str, String)> {
    let magic = |bytes: &[u8]| format!("magic:\n.Qq {}", shown(bytes));
    let version = format!("format version: {FORMAT_VERSION}");
    let mut all = vec![
        ("man/bdf.5", "Header", magic(bdf::MAGIC)),
        ("man/bdf.5", "Header", version.clone()),
        ("man/bdf.5", "Header", format!("length of the header: {}", bdf::HEADER_LEN)),
        ("man/bdf.5", "Frame header", magic(frame::MAGIC)),
        ("man/bdf.5", "Frame header", format!("when decompressed, at most {}", frame::PLAIN_LEN_MAX)),
        ("man/bdf.5", "Frame header", format!("as stored, at most {}", frame::STORED_LEN_MAX)),
        ("man/bdf.5", "Frame header", format!("count of chunks, 1 to {}", frame::CHUNK_COUNT_MAX)),
        ("man/bdf.5", "Frame header", format!("1 to {} if delta", frame::BASE_COUNT_MAX)),
        ("man/bdf.5", "Payload", format!("{} bytes at most", frame::PREFIX_LEN_MAX)),
        ("man/bdf.5", "Footer", magic(bdf::FOOTER_MAGIC)),
        ("man/dtf.5", "Header", magic(dtf::MAGIC)),
        ("man/dtf.5", "Header", version.clone()),
        ("man/dtf.5", "Header", format!("length of the header: {}", dtf::HEADER_LEN)),
        ("man/dtf.5", "Page header", magic(page::MAGIC)),
        ("man/dtf.5", "Page header", format!("as stored, at most {}", page::PLAIN_LEN_MAX)),
        ("man/dtf.5", "Page header", format!("when decompressed, at most {}", page::PLAIN_LEN_MAX)),
        ("man/dtf.5", "Page header", format!("count of records, 1 to {}", page::RECORD_COUNT_MAX)),
        ("man/dtf.5", "Page header", format!("at most {}", page::LEVEL_MAX)),
        ("man/dtf.5", "Page header", format!("multiple of {} bytes", page::ALIGNMENT)),
        ("man/dtf.5", "Footer", format!(".Qq {}", shown(dtf::FOOTER_MAGIC))),
        ("man/dtf.5", "Footer", format!("at most {} bytes", dtf::TEXT_LEN_MAX)),
        ("man/dtf.5", "Directory tree", format!("root directory is object {}", record::ROOT_OBJECT)),
        ("man/dtf.5", "Directory tree", format!("objects {} to", record::FIRST_LINKED_OBJECT)),
        ("man/dtf.5", "Directory tree", format!("2^{} to", record::FIRST_DIRECTORY_OBJECT.ilog2())),
        ("man/dtf.5", "Directory tree", format!("1 to 2^{} \\- 1", record::OBJECT_MAX.ilog2())),
        ("man/dtf.5", "Inode", format!("at most {} extents", record::INLINE_EXTENT_COUNT_MAX)),
        ("man/dtf.5", "Inode", format!("at most {},", record::XATTR_LEN_MAX)),
    ];
    all.extend(tape_statements());
    for page in ["man/bdf.5", "man/dtf.5"] {
        all.push((page, "Seal", magic(seal::MAGIC)));
        all.push((page, "Seal", version.clone()));
        all.push((page, "Seal", format!("length of the footer, at most {}", seal::FOOTER_LEN_MAX)));
        all.push((page, "Conventions", format!("1 to {}, unique", Ordinal::MAX)));
    }
    all
}

fn tape_statements() -> Vec<(&'static str, &'static str, String)> {
    let page = "man/reelfs-tape.5";
    vec![
        (page, "Conventions", format!("format version is {};", archive::FORMAT_VERSION)),
        (page, "Tape files", format!("has {} bytes;", archive::BLOCK_LEN)),
        (page, "Parts", format!("records of {} zeros", archive::RECORD_LEN)),
        (page, "Self-description", format!(".Pq {} and", archive::BLOCK_LEN)),
        (page, "Data parts", format!("at most {} bytes, of any", archive::SEGMENT_LEN_MAX)),
        (page, "Data parts", format!("at most {} bytes of UTF-8", archive::NAME_LEN_MAX)),
        (page, "Data parts", format!(".Pa {} has a line", archive::CHECKSUMS_NAME)),
        (page, "Data parts", format!(".Pa {} is a list", archive::MANIFEST_NAME)),
        (page, "Lists", format!("has at most {} segments", archive::SEGMENT_COUNT_MAX)),
        (page, "Index parts", format!(".Pa {} ,", archive::NEXT_VOLUME_NAME)),
    ]
}

/// Checks that the pages state what the code says.
pub(crate) fn check(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (page, name, len) in tables() {
        check_table(page, name, section(tree, page, name), len, &mut findings);
    }
    for (page, name, statement) in statements() {
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        if !flat(section(tree, page, name)).contains(&flat(&statement)) {
            findings.push(format!("{page}:1: section `{name}` does not say `{}`", flat(&statement)));
        }
    }
    check_configuration(tree.text("man/reelfs.toml.5").unwrap_or_default(), &mut findings);
    findings
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\\e0")
}

// Text of a subsection or section.
fn section<'a>(tree: &'a Tree, page: &str, name: &str) -> &'a str {
    let text = tree.text(page).unwrap_or_default();
    let Some((_, rest)) = text.split_once(&format!("\n.Ss {name}\n")) else {
        return "";
    };
    let end = rest.find("\n.Ss ").into_iter().chain(rest.find("\n.Sh ")).min();
    &rest[..end.unwrap_or(rest.len())]
}

// The rows of the first table follow each other without a gap and add up.
fn check_table(page: &str, name: &str, text: &str, len: usize, findings: &mut Vec<String>) {
    let mut next = 0;
    for row in text.split("\n.El").next().unwrap_or_default().lines() {
        let mut cells = row.strip_prefix(".It ").unwrap_or_default().split(" Ta ");
        let numbers = (cells.next().map(str::parse::<usize>), cells.next().map(str::parse::<usize>));
        if let (Some(Ok(offset)), Some(Ok(row_len))) = numbers {
            if offset != next {
                findings.push(format!("{page}:1: table `{name}` has a row at {offset}, expected at {next}"));
            }
            next = offset + row_len;
        }
    }
    if next != len {
        findings.push(format!("{page}:1: table `{name}` describes {next} bytes of {len}"));
    }
}

// Every field of a new configuration is described with its default.
fn check_configuration(text: &str, findings: &mut Vec<String>) {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let staging = toml::to_string(&StagingPolicy::default()).expect("plain values");
    let text = Config::new(FileId([0; 16])).to_text() + &staging;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(" = ") else {
            continue;
        };
        let described = flat.split(&format!(".It Ic {key} ")).nth(1).unwrap_or_default();
        let described = described.split(".It Ic ").next().unwrap_or_default();
        let default = match key {
            "version" => format!("layout: {value}"),
            "id" => "Must be there".to_owned(),
            _ if value == "[]" => "default none".to_owned(),
            _ => format!("default {value}"),
        };
        if !described.contains(&default) {
            findings.push(format!("man/reelfs.toml.5:1: `{key}` is not described with `{default}`"));
        }
    }
}

#[test]
fn a_planted_gap_in_a_table_is_found() {
    let project = Tree::of_project();
    let pages = ["man/bdf.5", "man/dtf.5", "man/reelfs.toml.5", "man/reelfs-tape.5"];
    let original = pages.map(|page| project.text(page).unwrap_or_default().to_owned());
    for (index, from, to, expected) in [
        (
            0,
            ".It 13 Ta 3 Ta",
            ".It 13 Ta 2 Ta",
            "man/bdf.5:1: table `Header` has a row at 16, expected at 15",
        ),
        (0, "Qq REELSEAL", "Qq REELSEEL", "man/bdf.5:1: section `Seal` does not say `magic: .Qq REELSEAL`"),
        (1, ".It 60 Ta 4 Ta CRC-32 of the", "", "man/dtf.5:1: table `Page header` describes 60 bytes of 64"),
        (
            2,
            "default 262144",
            "default 0",
            "man/reelfs.toml.5:1: `frame_bytes` is not described with `default 262144`",
        ),
    ] {
        let mut texts = original.clone();
        assert!(texts[index].contains(from), "{from}");
        texts[index] = texts[index].replacen(from, to, 1);
        let files: Vec<_> = pages.into_iter().zip(texts.iter().map(String::as_str)).collect();
        assert_eq!(check(&Tree::planted(&files)), [expected]);
    }
}
