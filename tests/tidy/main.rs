//! Checks what the compiler cannot: layers, owners of dependencies, sizes, `unsafe`, fixtures, tests
//! that nobody runs, traces of one machine, and manual pages against the constants of the code.
//!
//! A rule takes a [`tree::Tree`] and returns its findings as `path:line: what is wrong`, so that a
//! failure reads like a compiler error. Each rule has a test that plants a violation and sees it found.

mod faults;
mod layers;
mod manual;
mod owners;
mod repository;
mod rust;
mod sources;
mod tree;

use tree::Tree;

/// A rule: a tree in, findings out.
type Rule = fn(&Tree) -> Vec<String>;

fn hold(rule: Rule) {
    let findings = rule(&Tree::of_project());
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn a_module_uses_only_lower_layers() {
    hold(layers::check);
}

#[test]
fn every_dependency_has_one_owner() {
    hold(owners::check);
}

#[test]
fn unsafe_stands_only_in_the_listed_files() {
    hold(sources::check_unsafe);
}

#[test]
fn files_and_functions_are_short() {
    hold(sources::check_sizes);
}

#[test]
fn file_names_say_what_is_inside() {
    hold(sources::check_names);
}

#[test]
fn sources_are_ascii() {
    hold(sources::check_ascii);
}

#[test]
fn every_fixture_directory_is_explained() {
    hold(repository::check_fixtures);
}

#[test]
fn every_test_file_is_run() {
    hold(repository::check_tests);
}

#[test]
fn every_fault_and_attack_has_its_tests() {
    hold(faults::check);
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    hold(repository::check_machine_paths);
}

#[test]
fn nothing_names_a_host_that_is_not_listed() {
    hold(repository::check_hosts);
}

#[test]
fn the_manual_pages_agree_with_the_code() {
    hold(manual::check);
}
