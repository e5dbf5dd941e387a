//! A file in the drop folder, whatever is in it: what is understood has limits and holds no control octets.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use smtpd::drop::file::read_end;
use smtpd::drop::submission::{MAX_ADDRESS_OCTETS, MAX_RECIPIENTS};

fn check(file: Vec<u8>) {
    let size = file.len() as u64;
    let Ok((submission, text)) = read_end(&mut Cursor::new(file), size) else {
        return;
    };
    assert!(text < size);
    let (good, faulty) = (&submission.recipients, &submission.faulty);
    assert!((1..=MAX_RECIPIENTS).contains(&(good.len() + faulty.len())));
    let good = good.iter().map(|recipient| &recipient.address.0);
    for address in good.chain(faulty.iter().map(|recipient| &recipient.address.0)) {
        assert!(!address.is_empty() && address.len() <= MAX_ADDRESS_OCTETS);
        assert!(!address.iter().any(u8::is_ascii_control));
    }
    for recipient in faulty {
        assert!(recipient.status.starts_with("5."));
        assert!(!recipient.text.chars().any(char::is_control));
    }
}

fuzz_target!(|data: &[u8]| {
    check(data.to_vec());
    // The same octets as an envelope whose last line is right.
    let mut file = b"x\r\n".to_vec();
    file.extend_from_slice(data);
    file.extend_from_slice(format!("smtpd-drop 1 {:016x} {:08x}\n", 3, data.len()).as_bytes());
    check(file);
});
