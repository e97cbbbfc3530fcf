//! Servers of databases with their data in staging: under load when commits are made and the daemon is killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reelfs::job::control::{CommitRequest, Request};

use super::committed::{ask, generation_count};
use super::{Stage, has};
use crate::support::{can_mount, shell, shell_ok, wait_until};

const POSTGRESQL: &str = "/usr/lib/postgresql/15/bin";

fn commit(stage: &Stage) {
    let request = CommitRequest { client: "web1".into(), now: true, ..CommitRequest::default() };
    ask(stage, &Request::Commit(request));
}

// Commits, and copies the data directory out of the generation.
fn committed_copy(stage: &Stage, name: &str, count: usize) -> PathBuf {
    commit(stage);
    wait_until("the generation is shown", || generation_count(stage) >= count);
    let copy = stage.site.root.join(name);
    shell_ok("cp -a $1/clients/web1/latest/data $2", &[&stage.mount().mountpoint, &copy]);
    copy
}

// What a test does while a server is under load: a commit, the death of the daemon, another commit.
fn disturb(stage: &Stage) -> [PathBuf; 2] {
    let pause = || std::thread::sleep(Duration::from_millis(600));
    pause();
    let first = committed_copy(stage, "copy-1", 1);
    stage.mount().kill_server();
    pause();
    let second = committed_copy(stage, "copy-2", 2);
    stage.mount().kill_server();
    pause();
    [first, second]
}

/// A server that is ended when dropped.
struct Server(Child);

impl Server {
    fn end(mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

fn as_user(user: &str, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups", program]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    command
}

fn start_postgresql(data: &Path, sockets: &Path) -> Server {
    let mut command = as_user("postgres", &format!("{POSTGRESQL}/postgres"));
    command.arg("-D").arg(data).arg("-k").arg(sockets);
    let server = Server(command.args(["-c", "listen_addresses="]).spawn().unwrap());
    wait_until("the server takes connections", || {
        shell("psql -qh $1 -U postgres -c 'select 1' postgres", &[sockets]).status.success()
    });
    server
}

// Each transaction of pgbench adds the same to one row of each table.
fn check_books(sockets: &Path) {
    let sums = shell_ok(
        "psql -qAth $1 -U postgres -c 'select (select sum(abalance) from pgbench_accounts),
             (select sum(tbalance) from pgbench_tellers), (select sum(bbalance) from pgbench_branches),
             (select coalesce(sum(delta), 0) from pgbench_history)' postgres",
        &[sockets],
    );
    let sums: Vec<&str> = sums.trim().split('|').collect();
    assert!(sums.len() == 4 && sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
}

#[test]
fn postgresql_goes_on_under_commits_and_kills_and_its_generations_start() {
    if !can_mount() || !has(&format!("{POSTGRESQL}/postgres")) || !has("pgbench") || !has("setpriv") {
        return;
    }
    let stage = Stage::new();
    let (data, sockets) = (stage.path("data"), stage.site.root.join("sockets"));
    shell_ok("mkdir $1 $2; chown postgres $1 $2; chmod 700 $1", &[&data, &sockets]);
    let made =
        as_user("postgres", &format!("{POSTGRESQL}/initdb")).args(["-A", "trust", "-D"]).arg(&data).status();
    assert!(made.unwrap().success());
    let server = start_postgresql(&data, &sockets);
    shell_ok("pgbench -qih $1 -U postgres postgres 2>&1", &[&sockets]);
    let copies = std::thread::scope(|scope| {
        let load = scope.spawn(|| shell_ok("pgbench -h $1 -U postgres -c 3 -T 8 postgres 2>&1", &[&sockets]));
        let copies = disturb(&stage);
        let said = load.join().unwrap();
        assert!(said.contains("number of failed transactions: 0"), "{said}");
        copies
    });
    check_books(&sockets);
    server.end();
    for copy in &copies {
        let server = start_postgresql(copy, &sockets);
        check_books(&sockets);
        server.end();
    }
}

fn start_mariadb(data: &Path, socket: &Path) -> Server {
    let mut command = Command::new("mariadbd");
    command.args(["--no-defaults", "--user=mysql", "--skip-networking", "--skip-grant-tables"]);
    command.arg(format!("--datadir={}", data.display())).arg(format!("--socket={}", socket.display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Server(command.spawn().unwrap());
    wait_until("the server takes connections", || {
        shell("mariadb --no-defaults -S $1 -e 'select 1'", &[socket]).status.success()
    });
    server
}

const TRANSFERS: &str = "
    create table account (id int primary key, balance int) engine = innodb;
    insert into account select seq, 1000 from seq_1_to_500;
    delimiter //
    create procedure transfer(seconds int) begin
        declare until_time datetime(6) default now(6) + interval seconds second;
        declare source, target, amount int;
        while now(6) < until_time do
            set source = 1 + floor(rand() * 250), target = 251 + floor(rand() * 250), amount = 1 + floor(rand() * 9);
            start transaction;
            update account set balance = balance - amount where id = source;
            update account set balance = balance + amount where id = target;
            commit;
        end while;
    end //";

fn check_balance(socket: &Path) {
    let sum = shell_ok(
        "mariadb --no-defaults -S $1 -N bank -e 'select sum(balance) from account; check table account' ",
        &[socket],
    );
    assert!(sum.starts_with("500000\n") && sum.trim_end().ends_with("OK"), "{sum}");
}

#[test]
fn mariadb_goes_on_under_commits_and_kills_and_its_generations_start() {
    if !can_mount() || !has("mariadbd") || !has("mariadb-install-db") {
        return;
    }
    let stage = Stage::new();
    let (data, sockets) = (stage.path("data"), stage.site.root.join("sockets"));
    shell_ok("mkdir $1 $2; chown mysql $1 $2", &[&data, &sockets]);
    shell_ok("mariadb-install-db --no-defaults --user=mysql --datadir=$1 > /dev/null 2>&1", &[&data]);
    let socket = sockets.join("socket");
    let server = start_mariadb(&data, &socket);
    std::fs::write(sockets.join("transfers"), TRANSFERS).unwrap();
    shell_ok(
        "mariadb --no-defaults -S $1/socket -e 'create database bank'; mariadb --no-defaults -S $1/socket bank < $1/transfers",
        &[&sockets],
    );
    let copies = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            shell_ok(
                "for i in 1 2; do mariadb --no-defaults -S $1 bank -e 'call transfer(8)' & done; wait",
                &[&socket],
            )
        });
        let copies = disturb(&stage);
        load.join().unwrap();
        copies
    });
    check_balance(&socket);
    server.end();
    for copy in &copies {
        let server = start_mariadb(copy, &socket);
        check_balance(&socket);
        server.end();
    }
}
