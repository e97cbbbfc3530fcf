//! Commits of staging trees: what they take, how they find what changed, and what is left when they fail.

mod control;
mod faults;
mod faulty;
mod methods;
mod safe;
mod scene;
mod taking;
