//! The judges find what is missing.

use super::controls::CONTROLS;

#[test]
fn each_sync_that_is_left_out_is_found() {
    for control in CONTROLS {
        let losses = control.losses().unwrap();
        let found = losses.iter().any(|loss| loss.contains(control.says));
        assert!(found, "{}: {losses:#?}", control.name);
    }
}
