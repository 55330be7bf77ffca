//! The fuzz targets over random bytes, so that they compile and hold between the long runs of `scripts/fuzz`.

#[path = "../../fuzz/src/decoding.rs"]
mod decoding;
#[path = "../../fuzz/src/ids.rs"]
mod ids;
#[path = "../../fuzz/src/input.rs"]
mod input;
#[path = "../../fuzz/src/mapping.rs"]
mod mapping;
#[path = "../../fuzz/src/model.rs"]
mod model;
#[path = "../../fuzz/src/tree.rs"]
mod tree;

use crate::workload::random::Random;

/// Inputs of each target: about a second.
const INPUTS: u64 = 2000;

fn over_random_bytes(target: fn(&[u8])) {
    for seed in 0..INPUTS {
        let mut random = Random::new(seed, 0);
        let length = 20 + random.below(400);
        let data: Vec<u8> = (0..length).map(|_| u8::try_from(random.below(256)).expect("a byte")).collect();
        if let Err(panic) = std::panic::catch_unwind(|| target(&data)) {
            eprintln!("seed {seed} fails");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn change_decoding_holds() {
    over_random_bytes(decoding::run);
}

#[test]
fn row_mapping_holds() {
    over_random_bytes(mapping::run);
}
