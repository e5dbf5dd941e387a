//! The judges find what is missing.

use super::controls::CONTROLS;

#[test]
fn each_sync_that_is_left_out_is_found() {
    let mut missed = Vec::new();
    for control in CONTROLS {
        let losses = control.losses().unwrap();
        if !losses.iter().any(|loss| loss.contains(control.says)) {
            let first: Vec<String> = losses.into_iter().take(3).collect();
            missed.push(format!("{}: {first:#?}", control.name));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
