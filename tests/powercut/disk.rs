//! A disk in memory that knows, of all that is on it, what would outlive a loss of power.
//!
//! Stricter than file systems are: bytes are durable once their file was synced, names once their directory
//! was, and neither takes the other along. Of what is neither, any part may survive, in any order: each page
//! of a write by itself, a rename as a whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use crate::content::{Change, Content};
use crate::random::Random;

/// Number of the root directory.
pub(crate) const ROOT: u64 = 1;

/// What is told of an object.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    /// Kind and permissions.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: SystemTime,
    pub(crate) atime: SystemTime,
    pub(crate) ctime: SystemTime,
}

/// Names of a directory and what they lead to.
pub(crate) type Names = BTreeMap<Vec<u8>, u64>;

/// An object: as it is, and as it would be after a loss of power.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) status: Status,
    pub(crate) content: Content,
    pub(crate) names: Names,
    durable_status: Status,
    durable_content: Content,
    durable_names: Names,
    changes: Vec<(u64, Change)>,
}

impl Object {
    fn new(status: Status) -> Self {
        let (content, names) = (Content::default(), Names::new());
        Self {
            durable_status: status.clone(),
            durable_content: content.clone(),
            durable_names: names.clone(),
            changes: Vec::new(),
            status,
            content,
            names,
        }
    }
}

/// A name, the directory that has it, and what it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    directory: u64,
    name: Vec<u8>,
    object: u64,
}

/// A change of names that happens as a whole.
#[derive(Debug)]
struct NameChange {
    removed: Option<Name>,
    added: Option<Name>,
}

impl NameChange {
    fn directories(&self) -> impl Iterator<Item = u64> + '_ {
        self.removed.iter().chain(&self.added).map(|name| name.directory)
    }
}

/// What a disk is made of; cheap to copy.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    objects: HashMap<u64, Arc<Object>>,
    /// Changes of names that are not durable, with the number of the operation.
    pending: Vec<(u64, Arc<NameChange>)>,
    next: u64,
    operation_count: u64,
}

/// What is lost with the power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// All that is not durable.
    Everything,
    /// Names; bytes of files survive.
    Names,
    /// Bytes; names survive.
    Bytes,
    /// All from some operation on.
    Latest,
    /// Any part.
    AnyPart,
}

impl Loss {
    pub(crate) fn chosen(random: &mut Random) -> Self {
        match random.below(7) {
            0 | 1 => Self::Everything,
            2 => Self::Names,
            3 => Self::Bytes,
            4 => Self::Latest,
            _ => Self::AnyPart,
        }
    }
}

impl Image {
    /// How many operations had changed something.
    pub(crate) fn operation_count(&self) -> u64 {
        self.operation_count
    }

    /// Number of the first change that is not durable.
    fn first_pending(&self) -> u64 {
        let names = self.pending.iter().map(|(number, _)| *number);
        let bytes = self.objects.values().filter_map(|object| object.changes.first());
        names.chain(bytes.map(|(number, _)| *number)).min().unwrap_or(self.operation_count)
    }

    /// The disk as it is found when power is back.
    pub(crate) fn after(&self, loss: Loss, random: &mut Random) -> Disk {
        let first = self.first_pending();
        let bound = first + random.below((self.operation_count - first).max(1));
        let odds = 1 + random.below(9);
        let mut survives = |number: u64, is_name: bool| match loss {
            Loss::Everything => false,
            Loss::Names => !is_name,
            Loss::Bytes => is_name,
            Loss::Latest => number < bound,
            Loss::AnyPart => random.below(10) < odds,
        };
        let mut numbers: Vec<u64> = self.objects.keys().copied().collect();
        numbers.sort_unstable();
        let mut names: HashMap<u64, Names> =
            self.objects.iter().map(|(number, object)| (*number, object.durable_names.clone())).collect();
        for (number, change) in &self.pending {
            if survives(*number, true) {
                apply(&mut names, change);
            }
        }
        let mut objects = HashMap::new();
        for number in reachable(&names) {
            let Some(object) = self.objects.get(&number) else { continue };
            let mut content = object.durable_content.clone();
            let mut status = object.durable_status.clone();
            for (number, change) in &object.changes {
                if survives(*number, false) {
                    content.apply(change);
                    status.mtime = object.status.mtime;
                }
            }
            let mut found = Object::new(status);
            found.content = content.clone();
            found.durable_content = content;
            found.names = names.remove(&number).unwrap_or_default();
            found.durable_names = found.names.clone();
            objects.insert(number, Arc::new(found));
        }
        let image = Self { objects, pending: Vec::new(), next: self.next, operation_count: 0 };
        Disk { image, taken: Vec::new(), plan: Plan::default() }
    }
}

// Changes in names; what a name led to before does not matter.
fn apply(names: &mut HashMap<u64, Names>, change: &NameChange) {
    if let Some(Name { directory, name, object }) = &change.removed {
        let known = names.entry(*directory).or_default();
        if known.get(name) == Some(object) {
            known.remove(name);
        }
    }
    if let Some(Name { directory, name, object }) = &change.added {
        names.entry(*directory).or_default().insert(name.clone(), *object);
    }
}

fn reachable(names: &HashMap<u64, Names>) -> BTreeSet<u64> {
    let (mut found, mut left) = (BTreeSet::new(), vec![ROOT]);
    while let Some(number) = left.pop() {
        if found.insert(number) {
            left.extend(names.get(&number).into_iter().flat_map(|names| names.values()));
        }
    }
    found
}

/// At which operations images are taken.
#[derive(Debug, Default)]
struct Plan {
    /// 0: none are.
    distance_max: u64,
    next: u64,
    random: Option<Random>,
}

/// A disk in use.
#[derive(Debug)]
pub(crate) struct Disk {
    image: Image,
    taken: Vec<Image>,
    plan: Plan,
}

pub(crate) type Refused = i32;

impl Disk {
    /// An empty disk, whose root belongs to root.
    pub(crate) fn new() -> Self {
        let now = SystemTime::now();
        let status =
            Status { mode: libc::S_IFDIR | 0o755, uid: 0, gid: 0, mtime: now, atime: now, ctime: now };
        let objects = HashMap::from([(ROOT, Arc::new(Object::new(status)))]);
        let image = Image { objects, pending: Vec::new(), next: ROOT + 1, operation_count: 0 };
        Self { image, taken: Vec::new(), plan: Plan::default() }
    }

    /// From now on an image is taken before one of every so many operations.
    pub(crate) fn take_images(&mut self, distance_max: u64, random: Random) {
        self.plan = Plan { distance_max, next: self.image.operation_count + 1, random: Some(random) };
    }

    /// The images that were taken, and one of now.
    pub(crate) fn images(&mut self) -> Vec<Image> {
        let mut taken = std::mem::take(&mut self.taken);
        taken.push(self.image.clone());
        taken
    }

    /// How many operations have changed something.
    pub(crate) fn operation_count(&self) -> u64 {
        self.image.operation_count
    }

    fn begin(&mut self) -> u64 {
        let (plan, image) = (&mut self.plan, &mut self.image);
        image.operation_count += 1;
        if let Some(random) = plan.random.as_mut().filter(|_| image.operation_count >= plan.next) {
            plan.next = image.operation_count + 1 + random.below(plan.distance_max);
            // Before the operation, which is then not in it.
            let mut taken = image.clone();
            taken.operation_count -= 1;
            self.taken.push(taken);
        }
        image.operation_count
    }

    pub(crate) fn object(&self, number: u64) -> Result<&Object, Refused> {
        self.image.objects.get(&number).map(|object| &**object).ok_or(libc::ESTALE)
    }

    fn object_mut(&mut self, number: u64) -> Result<&mut Object, Refused> {
        self.image.objects.get_mut(&number).map(Arc::make_mut).ok_or(libc::ESTALE)
    }

    /// What a name leads to.
    pub(crate) fn find(&self, directory: u64, name: &[u8]) -> Result<u64, Refused> {
        self.object(directory)?.names.get(name).copied().ok_or(libc::ENOENT)
    }

    /// Makes an object of any kind.
    pub(crate) fn make(&mut self, directory: u64, name: &[u8], status: Status) -> Result<u64, Refused> {
        if self.find(directory, name).is_ok() {
            return Err(libc::EEXIST);
        }
        let operation = self.begin();
        let object = self.image.next;
        self.image.next += 1;
        self.image.objects.insert(object, Arc::new(Object::new(status)));
        self.change(operation, None, Some(Name { directory, name: name.to_vec(), object }))?;
        Ok(object)
    }

    /// Removes a name; a directory must be empty.
    pub(crate) fn remove(&mut self, directory: u64, name: &[u8]) -> Result<(), Refused> {
        let object = self.find(directory, name)?;
        if !self.object(object)?.names.is_empty() {
            return Err(libc::ENOTEMPTY);
        }
        let operation = self.begin();
        self.change(operation, Some(Name { directory, name: name.to_vec(), object }), None)
    }

    /// Gives an object another name, in place of what may have it.
    pub(crate) fn rename(
        &mut self,
        (directory, name): (u64, &[u8]),
        (new_directory, new_name): (u64, &[u8]),
    ) -> Result<(), Refused> {
        let object = self.find(directory, name)?;
        if let Ok(replaced) = self.find(new_directory, new_name)
            && !self.object(replaced)?.names.is_empty()
        {
            return Err(libc::ENOTEMPTY);
        }
        let operation = self.begin();
        let removed = Name { directory, name: name.to_vec(), object };
        let added = Name { directory: new_directory, name: new_name.to_vec(), object };
        self.change(operation, Some(removed), Some(added))
    }

    fn change(&mut self, operation: u64, removed: Option<Name>, added: Option<Name>) -> Result<(), Refused> {
        let now = SystemTime::now();
        if let Some(name) = &removed {
            let directory = self.object_mut(name.directory)?;
            directory.names.remove(&name.name);
            (directory.status.mtime, directory.status.ctime) = (now, now);
        }
        if let Some(name) = &added {
            let directory = self.object_mut(name.directory)?;
            directory.names.insert(name.name.clone(), name.object);
            (directory.status.mtime, directory.status.ctime) = (now, now);
        }
        self.image.pending.push((operation, Arc::new(NameChange { removed, added })));
        Ok(())
    }

    /// Changes the content of a file.
    pub(crate) fn write(&mut self, number: u64, changes: Vec<Change>) -> Result<(), Refused> {
        self.object(number)?;
        let operation = self.begin();
        let object = self.object_mut(number)?;
        let now = SystemTime::now();
        (object.status.mtime, object.status.ctime) = (now, now);
        for change in changes {
            object.content.apply(&change);
            object.changes.push((operation, change));
        }
        Ok(())
    }

    /// Changes attributes.
    pub(crate) fn set_status(&mut self, number: u64, status: Status) -> Result<(), Refused> {
        self.object(number)?;
        self.begin();
        self.object_mut(number)?.status = status;
        Ok(())
    }

    /// Makes a file's content durable, with its attributes if `all`.
    pub(crate) fn sync(&mut self, number: u64, all: bool) -> Result<(), Refused> {
        self.object(number)?;
        self.begin();
        let object = self.object_mut(number)?;
        object.durable_content = object.content.clone();
        object.changes.clear();
        if all {
            object.durable_status = object.status.clone();
        }
        Ok(())
    }

    /// Makes the names in a directory durable, and what a rename from or to it brought about elsewhere.
    pub(crate) fn sync_names(&mut self, number: u64) -> Result<(), Refused> {
        self.object(number)?;
        self.begin();
        let mut synced = BTreeSet::from([number]);
        for (_, change) in self.image.pending.iter().rev() {
            if change.directories().any(|directory| synced.contains(&directory)) {
                synced.extend(change.directories());
            }
        }
        let is_synced = |change: &NameChange| change.directories().any(|at| synced.contains(&at));
        let (done, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.image.pending).into_iter().partition(|(_, change)| is_synced(change));
        self.image.pending = left;
        let mut names = HashMap::new();
        for directory in &synced {
            names.insert(*directory, self.object(*directory)?.durable_names.clone());
        }
        for (_, change) in &done {
            apply(&mut names, change);
        }
        for (directory, names) in names {
            self.object_mut(directory)?.durable_names = names;
        }
        let object = self.object_mut(number)?;
        object.durable_status = object.status.clone();
        Ok(())
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn status() -> Status {
        let now = SystemTime::now();
        Status { mode: libc::S_IFREG | 0o600, uid: 0, gid: 0, mtime: now, atime: now, ctime: now }
    }

    fn file(disk: &mut Disk, name: &[u8], bytes: &[u8]) -> u64 {
        let number = disk.make(ROOT, name, status()).unwrap();
        disk.write(number, Change::of_write(0, bytes)).unwrap();
        number
    }

    fn found(disk: &mut Disk, loss: Loss, name: &[u8]) -> Option<Vec<u8>> {
        let after = disk.images().pop().unwrap().after(loss, &mut Random(1));
        let number = after.find(ROOT, name).ok()?;
        let content = &after.object(number).unwrap().content;
        Some(content.read(0, content.len() as usize))
    }

    #[test]
    fn a_file_survives_once_it_and_its_directory_were_synced() {
        let mut disk = Disk::new();
        let number = file(&mut disk, b"f", b"bytes");
        assert_eq!(found(&mut disk, Loss::Everything, b"f"), None);
        assert_eq!(found(&mut disk, Loss::Bytes, b"f").as_deref(), Some(&b""[..]));
        disk.sync(number, true).unwrap();
        assert_eq!(found(&mut disk, Loss::Everything, b"f"), None);
        disk.sync_names(ROOT).unwrap();
        assert_eq!(found(&mut disk, Loss::Everything, b"f").as_deref(), Some(&b"bytes"[..]));
    }

    #[test]
    fn a_rename_and_a_removal_are_undone_unless_the_directory_was_synced() {
        let mut disk = Disk::new();
        for (name, bytes) in [(b"a", b"1"), (b"b", b"2")] {
            let number = file(&mut disk, name, bytes);
            disk.sync(number, true).unwrap();
        }
        disk.sync_names(ROOT).unwrap();
        disk.rename((ROOT, b"a"), (ROOT, b"b")).unwrap();
        assert_eq!(found(&mut disk, Loss::Everything, b"b").as_deref(), Some(&b"2"[..]));
        assert_eq!(found(&mut disk, Loss::Bytes, b"b").as_deref(), Some(&b"1"[..]));
        disk.remove(ROOT, b"b").unwrap();
        assert_eq!(found(&mut disk, Loss::Everything, b"a").as_deref(), Some(&b"1"[..]));
        disk.sync_names(ROOT).unwrap();
        assert_eq!(found(&mut disk, Loss::Everything, b"a"), None);
        assert_eq!(found(&mut disk, Loss::Everything, b"b"), None);
    }

    #[test]
    fn any_part_of_what_was_not_synced_survives() {
        let mut disk = Disk::new();
        let number = file(&mut disk, b"f", &[1; 40_960]);
        disk.sync(number, true).unwrap();
        disk.sync_names(ROOT).unwrap();
        disk.write(number, Change::of_write(0, &[2; 40_960])).unwrap();
        let image = disk.images().pop().unwrap();
        let mut met = BTreeSet::new();
        for seed in 1..40 {
            let after = image.after(Loss::AnyPart, &mut Random(seed));
            let number = after.find(ROOT, b"f").unwrap();
            let bytes = after.object(number).unwrap().content.read(0, 40_960);
            for page in bytes.chunks(4096) {
                assert!(page.iter().all(|byte| *byte == page[0]), "pages are whole");
            }
            met.insert(bytes);
        }
        assert!(met.len() > 10, "{} ways", met.len());
    }
}
