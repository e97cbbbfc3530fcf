//! Staging as a file system: a second connection to the kernel, mounted on the tree's `staging` directory.
//!
//! ```text
//! session     receives requests and has them answered; taken over by the next server
//! adapter     what is asked, as calls to the clients' trees: names
//! content     the same: open files and what is in them
//! way         whether the kernel reads and writes an open file by itself
//! objects     the same: attributes and extended attributes
//! root        the directory of the clients
//! clients     the trees, opened when they are needed
//! nodes       inode numbers of the connection, and what is said of objects
//! handles     open files, in a table that outlives the server
//! directories open directories, in a table that outlives the server
//! control     what other threads may do with the trees
//! commands    answers the commands of staging, and commits by schedule
//! counts      how often was asked for what
//! backing     files made ahead, which the kernel then writes itself
//! takeover    what the server before left: open files, numbers, requests without an answer
//! renewal     attributes that the kernel lost by a rename, told again
//! write_back  makes the kernel write back what it has of mappings
//! lister_process  asks the mount for something on behalf of this server
//! ```

mod adapter;
mod backing;
mod clients;
mod commands;
mod content;
mod control;
mod counts;
mod directories;
mod handles;
mod lister_process;
mod nodes;
mod objects;
mod renewal;
mod root;
mod session;
mod takeover;
mod way;
mod write_back;

pub use counts::Counts;
pub(crate) use handles::make_table;
pub(crate) use session::{Inputs, Session};
