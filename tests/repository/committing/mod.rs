//! Commits of staging trees: what they take, how they find what changed, what that costs, and what is left
//! when they fail.

mod control;
mod cost;
mod counting;
mod damaged;
mod faults;
mod faulty;
mod keeping;
mod methods;
mod safe;
mod scene;
mod taking;
