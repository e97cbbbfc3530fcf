//! Long random runs; each prints its seed. `STAGING_SEED` runs one seed, `STAGING_STEPS` sets the steps.

use super::driver::Driver;

fn run(seed: u64, step_count: usize) {
    println!("seed {seed}");
    let mut driver = Driver::new(seed);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        driver.compare();
        let mut choice = super::driver::Random::new(seed ^ 0x5eed);
        for _ in 0..step_count {
            match choice.below(60) {
                0 => driver.commit(),
                1 => driver.restart(),
                2 if choice.below(4) == 0 => driver.discard(),
                _ => driver.step(),
            }
            if choice.below(10) == 0 {
                driver.compare();
            }
        }
        driver.compare();
    }));
    if let Err(panic) = outcome {
        let (count, last) = driver.last();
        println!("seed {seed} failed at step {count}: {last}");
        std::mem::forget(driver);
        std::panic::resume_unwind(panic);
    }
    driver.end();
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn staging_is_a_posix_tree_over_commits_kills_and_discards() {
    let steps = usize::try_from(number("STAGING_STEPS", 400)).unwrap();
    match std::env::var("STAGING_SEED") {
        Ok(seed) => run(seed.parse().unwrap(), steps),
        Err(_) => (1..=number("STAGING_SEEDS", 6)).for_each(|seed| run(seed, steps)),
    }
}
