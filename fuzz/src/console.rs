//! What a guest writes to its console.

use virshle_cli::filter_console;

/// Whatever a guest writes, in whatever pieces: what is printed reaches no further than the screen.
pub fn console(bytes: &[u8]) {
    let shown = filter_console(&[bytes]);
    let middle = bytes.len() / 2;
    let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(filter_console(&pieces), shown);
    assert_eq!(filter_console(&[&bytes[..middle], &bytes[middle..]]), shown);
    // An introducer of eight bits is printed in two bytes, and nothing else is added.
    assert!(shown.len() <= 2 * bytes.len());
    // What passes is whole in itself, so it passes again.
    assert_eq!(filter_console(&[&shown]), shown);
    for (at, _) in shown.iter().enumerate().filter(|(_, byte)| **byte == 0x1b) {
        let sequence = &shown[at + 1..];
        // No device control, application program, privacy message or start of string.
        assert!(!sequence.first().is_none_or(|byte| b"PX^_kZ\\".contains(byte)), "{shown:?}");
        if let Some(command) = sequence.strip_prefix(b"]") {
            let known = [&b"0"[..], b"1", b"2", b"8"];
            let end = command.iter().position(|byte| [b';', 0x07].contains(byte)).unwrap();
            assert!(known.contains(&&command[..end]), "{shown:?}");
        }
        if let Some(control) = sequence.strip_prefix(b"[") {
            let end = control.iter().position(|byte| (b'@'..=b'~').contains(byte)).unwrap();
            assert!(
                !b"ctix".contains(&control[end]) || control[..end].contains(&b' '),
                "{shown:?}"
            );
            let asks_for_place = [&b"5"[..], b"6"].contains(&&control[..end]);
            assert!(control[end] != b'n' || asks_for_place, "{shown:?}");
        }
    }
    assert!(!shown.contains(&0x05), "the answerback is asked for");
}
