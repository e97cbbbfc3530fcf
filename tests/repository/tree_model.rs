//! Trees of pages against a `BTreeMap`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use proptest::prelude::*;
use reelfs::format::dtf::DtfHeader;
use reelfs::format::page::{PageRef, TreeKind};
use reelfs::id::{FileId, GenerationTime, Ordinal};
use reelfs::repo::GenerationId;
use reelfs::repo::catalog::dtf_name;
use reelfs::repo::pages::PageReader;
use reelfs::repo::tree::Tree;
use reelfs::repo::tree_writer::{PageSink, TailBuilder, Tally, TreeUpdate};
use reelfs::storage::{MemoryStorage, Storage};

use crate::support::{client, new_id, random};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Trees in memory, each written by its own DTF.
struct Forest {
    storage: Arc<dyn Storage>,
    repository: FileId,
    pages: PageReader,
    count: u32,
}

impl Forest {
    fn new() -> Self {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let repository = new_id();
        storage.create_directory(&format!("clients/{}", client())).unwrap();
        let pages = PageReader::new(Arc::clone(&storage), repository, 1 << 20);
        Self { storage, repository, pages, count: 0 }
    }

    /// Applies changes, and a tail of keys above all others, to the tree at `root`.
    fn update(
        &mut self,
        root: Option<PageRef>,
        changes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>,
        tail: &Model,
        tally: &mut dyn FnMut(Tally<'_>),
    ) -> Option<PageRef> {
        self.count += 1;
        let ordinal = Ordinal::new(self.count).unwrap();
        let time = GenerationTime::from_seconds(self.count.into()).unwrap();
        let file = new_id();
        let repository = self.repository;
        let header = DtfHeader { file, repository, ordinal, previous: None, client: client(), time };
        let mut written = self.storage.create(&dtf_name(&client(), GenerationId { time, ordinal })).unwrap();
        written.append(&header.encode()).unwrap();
        let mut sink = PageSink::new(written, file, ordinal, 1);
        let mut leaves = TailBuilder::new(TreeKind::Directory);
        for (key, value) in tail {
            leaves.push(&mut sink, key.clone(), value.clone()).unwrap();
        }
        let (leaves, few) = leaves.finish(&mut sink).unwrap();
        let is_few = leaves.is_empty();
        let update = TreeUpdate::new(&mut sink, Some(&self.pages), TreeKind::Directory, tally);
        let root = update.apply(root, &mut changes.clone().into_iter().chain(few), leaves).unwrap();
        // Records of leaves that were written already are not tallied.
        if !is_few {
            tail.iter().for_each(|(key, value)| tally(Tally::In(key, value)));
        }
        root
    }

    fn level(&self, root: Option<PageRef>) -> u8 {
        root.map_or(0, |root| self.pages.page(root).unwrap().level())
    }

    fn check(&self, root: Option<PageRef>, model: &Model, probes: &[Vec<u8>]) {
        let Some(root) = root else {
            assert!(model.is_empty());
            return;
        };
        let tree = Tree::new(&self.pages, root, TreeKind::Directory);
        let all: Vec<_> = tree.range(&[]).map(|found| found.unwrap()).collect();
        assert_eq!(all.len(), model.len());
        for (found, (key, value)) in all.iter().zip(model) {
            assert_eq!((found.key(), found.value()), (&key[..], &value[..]));
        }
        for probe in probes {
            let found = tree.get(probe).unwrap();
            assert_eq!(found.as_ref().map(|found| found.value()), model.get(probe).map(|value| &value[..]));
            let below = tree.floor(probe).unwrap();
            let expected =
                model.range::<[u8], _>((Bound::Unbounded, Bound::Included(&probe[..]))).next_back();
            assert_eq!(below.as_ref().map(|found| found.key()), expected.map(|(key, _)| &key[..]));
            let next = tree.range(probe).next().map(|found| found.unwrap());
            let expected = model.range::<[u8], _>((Bound::Included(&probe[..]), Bound::Unbounded)).next();
            assert_eq!(next.as_ref().map(|found| found.key()), expected.map(|(key, _)| &key[..]));
        }
    }
}

#[derive(Debug, Clone)]
enum Batch {
    // Keys by number, each with the length of its new value or none to remove it.
    Scattered(Vec<(u16, Option<usize>)>),
    // So many keys from one number on, put or removed.
    Run(u16, u16, bool),
    // So many keys above all others.
    Tail(u16),
}

fn key(number: u16) -> Vec<u8> {
    // Keys of different lengths, some of them the beginning of others.
    let text = format!("{:03}", number / 8);
    [text.as_bytes(), &b"abcdefgh"[..usize::from(number % 8)]].concat()
}

fn value(seed: u64, len: usize) -> Vec<u8> {
    random(seed, len)
}

fn batch() -> impl Strategy<Value = Batch> {
    let len = prop_oneof![8 => 0..200_usize, 1 => 1000..9000_usize];
    let change = (0..6000_u16, prop::option::weighted(0.6, len));
    prop_oneof![
        4 => prop::collection::vec(change, 0..60).prop_map(Batch::Scattered),
        2 => (0..6000_u16, 1..3000_u16, any::<bool>()).prop_map(|(from, len, put)| Batch::Run(from, len, put)),
        1 => (1..2000_u16).prop_map(Batch::Tail),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_holds_what_a_map_holds_and_old_roots_stay_readable(
        batches in prop::collection::vec(batch(), 1..12),
        probes in prop::collection::vec(0..7000_u16, 20),
    ) {
        let probes: Vec<_> = probes.into_iter().map(key).collect();
        let mut forest = Forest::new();
        let mut root = None;
        let mut model = Model::new();
        let mut history = Vec::new();
        for (number, batch) in batches.into_iter().enumerate() {
            let seed = number as u64;
            let mut changes = BTreeMap::new();
            let mut tail = Model::new();
            match batch {
                Batch::Scattered(list) => changes.extend(
                    list.into_iter().map(|(number, len)| (key(number), len.map(|len| value(seed, len)))),
                ),
                Batch::Run(from, len, put) => changes.extend(
                    (from..from.saturating_add(len)).map(|number| (key(number), put.then(|| value(seed, 70)))),
                ),
                Batch::Tail(len) => {
                    let from = format!("z{number:03}");
                    tail.extend((0..len).map(|at| (format!("{from}{at:05}").into_bytes(), value(seed, 50))));
                }
            }
            let mut count = model.len();
            let mut tally = |change: Tally<'_>| match change {
                Tally::In(_, _) => count += 1,
                Tally::Out(_, _) => count -= 1,
            };
            root = forest.update(root, &changes, &tail, &mut tally);
            let tallied = count;
            for (key, value) in changes {
                match value {
                    Some(value) => drop(model.insert(key, value)),
                    None => drop(model.remove(&key)),
                }
            }
            model.extend(tail);
            prop_assert_eq!(tallied, model.len(), "the tally keeps count");
            forest.check(root, &model, &probes);
            history.push((root, model.clone()));
        }
        for (root, model) in &history {
            forest.check(*root, model, &probes[..4]);
        }
    }
}

#[test]
fn a_tree_does_not_grow_in_height_with_the_number_of_commits() {
    let mut forest = Forest::new();
    let mut root = None;
    let mut model = Model::new();
    for number in 0..60_u32 {
        // Large and small additions at the end, and a change elsewhere.
        let len = if number % 7 == 0 { 900 } else { 3 };
        let prefix = format!("{number:03}");
        let tail: Model =
            (0..len).map(|at| (format!("{prefix}/{at:05}").into_bytes(), value(number.into(), 60))).collect();
        let mut changes = BTreeMap::new();
        if number > 0 {
            changes.insert(b"000/00001".to_vec(), Some(value(u64::from(number), 61)));
        }
        root = forest.update(root, &changes, &tail, &mut |_| {});
        model.extend(tail);
        model.extend(changes.into_iter().filter_map(|(key, value)| Some((key, value?))));
    }
    forest.check(root, &model, &[b"000/00001".to_vec(), b"030/00001".to_vec(), b"999".to_vec()]);
    assert_eq!(forest.level(root), 1);
}
