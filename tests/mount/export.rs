//! What other programs do with a mount: file servers that export it.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::{Random, Site, can_mount, wait_until};

/// A server that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

fn has(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    directories.push("/usr/sbin".into());
    let missing =
        programs.iter().find(|program| !directories.iter().any(|directory| directory.join(program).exists()));
    if let Some(program) = missing {
        eprintln!("skipped: {program} is not installed");
    }
    missing.is_none()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn make_tree(site: &Site) {
    let mut random = Random(77);
    let directory = |name: &str| fs::create_dir_all(site.source.join(name)).unwrap();
    let file = |name: &str, content: &[u8]| fs::write(site.source.join(name), content).unwrap();
    directory("plain/deep/er");
    directory("caf\u{e9} \u{4e2d}\u{6587}");
    directory("empty");
    for number in 0..300_u64 {
        file(&format!("plain/small {number}"), &random.bytes(number * 13));
    }
    file("plain/deep/er/large", &random.bytes(9 << 20));
    file("caf\u{e9} \u{4e2d}\u{6587}/f\u{fc}nf", b"names");
    file("Case", b"upper");
    file("case", b"lower");
    let sparse = fs::File::create(site.source.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", 3 << 20).unwrap();
    sparse.set_len(5 << 20).unwrap();
}

/// Content of all files by path, and directories.
fn contents(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(root.join(&directory)).unwrap() {
            let path = directory.join(entry.unwrap().file_name());
            let full = root.join(&path);
            if full.is_dir() {
                found.insert(path.clone(), None);
                pending.push(path);
            } else {
                found.insert(path, Some(fs::read(&full).unwrap()));
            }
        }
    }
    found
}

fn assert_same(copied: &Path, expected: &Path) {
    let (copied, expected) = (contents(copied), contents(expected));
    assert_eq!(copied.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (path, content) in &expected {
        assert!(copied[path] == *content, "{}", path.display());
    }
}

fn start_samba(site: &Site, shared: &Path, port: u16) -> Server {
    let state = site.root.join("samba");
    fs::create_dir(&state).unwrap();
    let shown = state.display();
    let configuration = format!(
        "[global]\nserver role = standalone server\nmap to guest = Bad User\nguest account = root\n\
         interfaces = 127.0.0.1/8\nbind interfaces only = yes\nsmb ports = {port}\n\
         disable netbios = yes\nload printers = no\nlog file = {shown}/log\nprivate dir = {shown}\n\
         lock directory = {shown}\nstate directory = {shown}\ncache directory = {shown}\n\
         pid directory = {shown}\nncalrpc dir = {shown}/ncalrpc\n\
         [backup]\npath = {}\nguest ok = yes\nread only = yes\ncase sensitive = yes\n",
        shared.display()
    );
    let file = state.join("smb.conf");
    fs::write(&file, configuration).unwrap();
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("smbd");
    command.env("PATH", path).args(["--foreground", "--no-process-group", "--configfile"]).arg(&file);
    Server(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn a_generation_is_copied_whole_out_of_a_samba_share() {
    if !can_mount() || !has(&["smbd", "smbclient"]) {
        return;
    }
    let mut site = Site::new();
    make_tree(&site);
    site.backup("web1");
    let mount = site.mount(&[]);
    let port = free_port();
    let _server = start_samba(&site, &mount.path("clients/web1/latest/"), port);
    wait_until("smbd listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let copied = site.root.join("copied");
    fs::create_dir(&copied).unwrap();
    let output = Command::new("smbclient")
        .args(["//127.0.0.1/backup", "--no-pass", "--port", &port.to_string(), "--configfile"])
        .arg(site.root.join("samba/smb.conf"))
        .args(["--command", "prompt OFF; recurse ON; mget *"])
        .current_dir(&copied)
        .output()
        .unwrap();
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&told));
    assert_same(&copied, &site.source);
}

fn start_ganesha(site: &Site, shared: &Path, port: u16) -> Server {
    let state = site.root.join("ganesha");
    fs::create_dir(&state).unwrap();
    let configuration = format!(
        "NFS_CORE_PARAM {{ Protocols = 4; NFS_Port = {port}; Bind_addr = 127.0.0.1; Enable_NLM = false; \
         Enable_RQUOTA = false; }}\n\
         NFSV4 {{ Graceless = true; RecoveryRoot = {}; Only_Numeric_Owners = true; }}\n\
         EXPORT {{ Export_Id = 1; Path = {}; Pseudo = /backup; Access_Type = RO; Squash = None; \
         SecType = sys; Transports = TCP; Filesystem_id = 1.1; FSAL {{ Name = VFS; }} }}\n",
        state.display(),
        shared.display()
    );
    let file = state.join("ganesha.conf");
    fs::write(&file, configuration).unwrap();
    let mut command = Command::new("ganesha.nfsd");
    command.arg("-F").arg("-f").arg(&file).arg("-L").arg(state.join("log")).arg("-p").arg(state.join("pid"));
    Server(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

// Mode and path of each entry that `nfs-ls -R` shows: mode, links, owner, group, size, path.
fn nfs_listing(url: &str) -> Vec<(String, PathBuf)> {
    let output = Command::new("nfs-ls").args(["-R", url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let entry = |line: &str| {
        let mut rest = line;
        let mut mode = "";
        for column in 0..5 {
            let (field, after) = rest.trim_start().split_once(' ')?;
            mode = if column == 0 { field } else { mode };
            rest = after;
        }
        Some((mode.to_owned(), PathBuf::from(rest.trim_start())))
    };
    String::from_utf8(output.stdout).unwrap().lines().filter_map(entry).collect()
}

#[test]
fn a_generation_is_copied_whole_out_of_an_nfs_export() {
    if !can_mount() || !has(&["ganesha.nfsd", "nfs-ls", "nfs-cp"]) {
        return;
    }
    let mut site = Site::new();
    make_tree(&site);
    let generation = site.backup("web1");
    let mount = site.mount(&[]);
    let port = free_port();
    let _server = start_ganesha(&site, &mount.mountpoint, port);
    wait_until("ganesha listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let below = format!("/backup/clients/web1/{}", generation.time);
    let url = |path: &str| format!("nfs://127.0.0.1{below}/{path}?version=4&nfsport={port}");
    let copied = site.root.join("copied");
    fs::create_dir(&copied).unwrap();
    let mut listed = nfs_listing(&url(""));
    listed.sort_by(|one, other| one.1.cmp(&other.1));
    for (mode, path) in listed {
        let target = copied.join(&path);
        if mode.starts_with('d') {
            fs::create_dir(&target).unwrap();
            continue;
        }
        let output = Command::new("nfs-cp").arg(url(path.to_str().unwrap())).arg(&target).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {told}", path.display());
    }
    assert_same(&copied, &site.source);
}
