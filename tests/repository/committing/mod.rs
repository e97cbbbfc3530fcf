//! Commits of staging trees: what they take, how they find what changed, and what is left when they fail.

mod methods;
mod scene;
mod taking;
