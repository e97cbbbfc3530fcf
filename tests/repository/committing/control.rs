//! Control over the socket: what is asked for is done, who hangs up cancels, and policies commit unasked.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use reelfs::id::ClientName;
use reelfs::index::Index;
use reelfs::job::commit::{Outside, Schedule};
use reelfs::job::control::{
    Answer, CommitRequest, ControlClient, ControlListener, RefusalKind, Request, Service, Stagings,
};
use reelfs::progress::Progress;
use reelfs::repo::staging::{SetAside, StagingError, StagingTree};
use reelfs::repo::{CacheBytes, Repository};

use super::scene::{Scene, Staged, TestOutside, caller, name, staging_options};
use crate::support::random;

#[derive(Debug)]
struct Trees {
    repository: Arc<Repository>,
    open: Mutex<HashMap<ClientName, Arc<StagingTree>>>,
}

impl Stagings for Trees {
    fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    fn names(&self) -> Result<Vec<ClientName>, StagingError> {
        StagingTree::clients(&self.repository)
    }

    fn tree(&self, client: &ClientName) -> Result<Arc<StagingTree>, StagingError> {
        let mut open = self.open.lock().unwrap();
        if let Some(tree) = open.get(client) {
            return Ok(Arc::clone(tree));
        }
        let tree = StagingTree::open(Arc::clone(&self.repository), client, &staging_options())?;
        Ok(Arc::clone(open.entry(client.clone()).or_insert(Arc::new(tree))))
    }

    fn opened(&self, client: &ClientName) -> Option<Arc<StagingTree>> {
        self.open.lock().unwrap().get(client).cloned()
    }

    fn create(&self, client: &ClientName) -> Result<Arc<StagingTree>, StagingError> {
        let repository = Arc::clone(&self.repository);
        let tree = StagingTree::create(repository, client, &staging_options(), caller(1), 0o755)?;
        let tree = Arc::new(tree);
        self.open.lock().unwrap().insert(client.clone(), Arc::clone(&tree));
        Ok(tree)
    }

    fn set_aside(&self, client: &ClientName, mark: &str) -> Result<SetAside, StagingError> {
        let tree = self.open.lock().unwrap().remove(client);
        StagingTree::set_aside(&self.repository, client, mark, tree.is_some())
    }

    fn forget(&self, _tree: &StagingTree) {}

    fn show(&self) {}

    fn is_mounted(&self) -> bool {
        true
    }
}

struct Daemon {
    service: Arc<Service>,
    trees: Arc<Trees>,
    outside: Arc<TestOutside>,
}

/// A daemon that serves the repository at `root` until the test ends.
fn daemon(root: &Path) -> Daemon {
    let repository = Arc::new(Repository::open(root, CacheBytes::default()).unwrap());
    let trees = Arc::new(Trees { repository, open: Mutex::default() });
    let outside = TestOutside::new();
    let stagings: Arc<dyn Stagings> = Arc::clone(&trees) as _;
    let service = Arc::new(Service::new(stagings, Arc::clone(&outside) as Arc<dyn Outside>));
    Daemon { service, trees, outside }
}

fn serve(daemon: &Daemon, root: &Path) {
    let listener = ControlListener::bind(root).unwrap();
    let service = Arc::clone(&daemon.service);
    thread::spawn(move || service.serve(&listener, &|_| true));
}

/// A repository without an index open, and a client whose tree is staged in.
fn repository() -> (Scene, std::path::PathBuf) {
    let mut scene = Scene::new();
    drop(scene.index.take());
    let root = scene.root();
    (scene, root)
}

fn ask(root: &Path, request: &Request) -> Vec<Answer> {
    let mut client = ControlClient::connect(root).unwrap().expect("somebody serves");
    client.ask(request).unwrap();
    let mut answers = Vec::new();
    while let Some(answer) = client.answer().unwrap() {
        let is_last = matches!(answer, Answer::Done | Answer::Failed(_));
        answers.push(answer);
        if is_last {
            break;
        }
    }
    answers
}

fn commit_request() -> CommitRequest {
    CommitRequest { client: "web1".to_owned(), files: true, ..CommitRequest::default() }
}

fn stage_in(daemon: &Daemon, write: impl FnOnce(&Staged)) {
    let tree = daemon.trees.tree(&name("web1")).unwrap();
    let staged = Staged::new(
        Arc::into_inner({
            daemon.trees.open.lock().unwrap().clear();
            tree
        })
        .expect("nobody else has it"),
    );
    write(&staged);
    let tree = Arc::new(staged.tree);
    daemon.trees.open.lock().unwrap().insert(name("web1"), tree);
}

#[test]
fn a_commit_over_the_socket_tells_what_it_did() {
    let (_scene, root) = repository();
    let daemon = daemon(&root);
    daemon.trees.create(&name("web1")).unwrap();
    serve(&daemon, &root);
    stage_in(&daemon, |staged| staged.write("file", &random(1, 100_000)));
    let answers = ask(&root, &Request::Status { client: None });
    let [Answer::Client(status), Answer::Done] = &answers[..] else { panic!("{answers:?}") };
    assert!(status.is_changed && status.is_served, "{status:?}");
    let answers = ask(&root, &Request::Preview(commit_request()));
    let preview = answers.iter().find_map(|answer| match answer {
        Answer::Commit(answer) => Some(answer.clone()),
        _ => None,
    });
    let answers = ask(&root, &Request::Commit(commit_request()));
    assert_eq!(answers.last(), Some(&Answer::Done), "{answers:?}");
    let files = answers.iter().filter(|answer| matches!(answer, Answer::File(_))).count();
    assert_eq!(files, 1);
    let committed = answers.iter().find_map(|answer| match answer {
        Answer::Commit(answer) => Some(answer),
        _ => None,
    });
    let committed = committed.expect("a summary");
    assert_eq!((committed.new.files, committed.new.bytes), (1, 100_000));
    assert_eq!(preview.expect("a preview").added_bytes, committed.added_bytes);
    assert!(committed.generation.is_some());
    let answers = ask(&root, &Request::Discard { client: "web1".to_owned() });
    let [Answer::Staged { generation, .. }, Answer::Done] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(*generation, committed.generation);
}

#[test]
fn what_cannot_be_done_is_refused_with_its_sort() {
    let (_scene, root) = repository();
    let daemon = daemon(&root);
    serve(&daemon, &root);
    let kind = |request: &Request| match ask(&root, request).pop() {
        Some(Answer::Failed(refusal)) => refusal.kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(&Request::Commit(commit_request())), RefusalKind::NoStaging);
    let client = "../web1".to_owned();
    assert_eq!(kind(&Request::Discard { client }), RefusalKind::Usage);
    let generation = "latest".to_owned();
    let stage = Request::Stage { client: "web1".to_owned(), generation };
    assert_eq!(kind(&stage), RefusalKind::NoGeneration);
    daemon.trees.create(&name("web1")).unwrap();
    stage_in(&daemon, |staged| staged.write("file", b"1"));
    ask(&root, &Request::Commit(commit_request()));
    stage_in(&daemon, |staged| staged.write("file", b"2"));
    ask(&root, &Request::Commit(commit_request()));
    stage_in(&daemon, |staged| staged.write("file", b"3"));
    let stage = Request::Stage { client: "web1".to_owned(), generation: "-2".to_owned() };
    assert_eq!(kind(&stage), RefusalKind::Pending);
    // Another process writes to the repository.
    let other = Repository::open(&root, CacheBytes::default()).unwrap();
    let _lock = other.lock().unwrap();
    assert_eq!(kind(&Request::Commit(commit_request())), RefusalKind::Locked);
}

#[test]
fn no_request_at_all_is_answered_and_the_next_one_is_served() {
    use std::io::{Read, Write};
    let (_scene, root) = repository();
    let daemon = daemon(&root);
    serve(&daemon, &root);
    for garbage in [&b"\n"[..], b"{\"request\":\"commit\"}\n", b"\xff\xfe\n", b"[[[[[[[[[[\n"] {
        let mut stream = std::os::unix::net::UnixStream::connect(root.join("staging/.control")).unwrap();
        stream.write_all(garbage).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\"usage\""), "{answer}");
    }
    assert_eq!(ask(&root, &Request::Status { client: None }), [Answer::Done]);
}

#[test]
fn a_second_daemon_is_refused_and_a_dead_one_replaced() {
    let (_scene, root) = repository();
    fs::create_dir(root.join("staging")).unwrap();
    let listener = ControlListener::bind(&root).unwrap();
    let refused = ControlListener::bind(&root).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);
    let dead = root.join("dead");
    fs::rename(root.join("staging/.control"), &dead).unwrap();
    drop(listener);
    fs::rename(dead, root.join("staging/.control")).unwrap();
    assert!(ControlClient::connect(&root).unwrap().is_none(), "nobody answers");
    drop(ControlListener::bind(&root).unwrap());
}

#[test]
fn a_policy_commits_after_silence_without_being_asked() {
    let (_scene, root) = repository();
    let text = fs::read_to_string(root.join("reelfs.toml")).unwrap();
    fs::write(root.join("reelfs.toml"), format!("{text}\n[client.web1]\ncommit.when = \"silence\"\n"))
        .unwrap();
    let daemon = daemon(&root);
    daemon.trees.create(&name("web1")).unwrap();
    daemon.trees.create(&name("web2")).unwrap();
    stage_in(&daemon, |staged| staged.write("file", b"content"));
    let mut schedule = Schedule::new();
    let generations = || daemon.trees.repository.generations(&name("web1")).unwrap().len();
    daemon.service.look(&mut schedule, &Progress::new());
    daemon.outside.sleep(std::time::Duration::from_millis(2900));
    daemon.service.look(&mut schedule, &Progress::new());
    assert_eq!(generations(), 0, "silence of less than three seconds");
    daemon.outside.sleep(std::time::Duration::from_millis(200));
    daemon.service.look(&mut schedule, &Progress::new());
    assert_eq!(generations(), 1);
    for _ in 0..5 {
        daemon.outside.sleep(std::time::Duration::from_secs(5));
        daemon.service.look(&mut schedule, &Progress::new());
    }
    assert_eq!(generations(), 1, "nothing changed since");
    // The index was told, by the daemon's own handle.
    assert!(Index::open_read_only(&root.join("index")).unwrap().counts().0 > 0);
}

#[test]
fn a_scheduled_commit_that_met_another_writer_is_made_once_that_has_ended() {
    let (_scene, root) = repository();
    let text = fs::read_to_string(root.join("reelfs.toml")).unwrap();
    fs::write(root.join("reelfs.toml"), format!("{text}\n[client.web1]\ncommit.every = \"1h\"\n")).unwrap();
    let daemon = daemon(&root);
    daemon.trees.create(&name("web1")).unwrap();
    stage_in(&daemon, |staged| staged.write("file", b"content"));
    let mut schedule = Schedule::new();
    let mut look = |seconds| {
        daemon.outside.sleep(std::time::Duration::from_secs(seconds));
        daemon.service.look(&mut schedule, &Progress::new());
        daemon.trees.repository.generations(&name("web1")).unwrap().len()
    };
    assert_eq!((look(0), look(3590)), (0, 0), "an hour has not passed");
    let other = Repository::open(&root, CacheBytes::default()).unwrap();
    let lock = other.lock().unwrap();
    assert_eq!((look(11), look(1)), (0, 0), "a backup is running");
    drop(lock);
    assert_eq!(look(1), 1);
    stage_in(&daemon, |staged| staged.write("file", b"changed"));
    assert_eq!((look(3590), look(20)), (1, 2));
}
