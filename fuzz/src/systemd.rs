//! What systemd's manager says.

use std::sync::OnceLock;
use std::time::Duration;

use virshle_systemd::{Manager, Message, SystemdError, UnitName};

use crate::answering_machine::AnsweringMachine;

/// No deadline is meant to pass: the other side always hangs up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Its answers, with the authentication before them and without.
pub fn systemd(bytes: &[u8]) {
    static SERVER: OnceLock<AnsweringMachine> = OnceLock::new();
    if let Ok(message) = Message::parse(bytes) {
        assert!(message.text.is_none_or(|text| text.len() <= bytes.len()));
    }
    let server = SERVER.get_or_init(AnsweringMachine::start);
    for words in [bytes.to_vec(), [b"OK 0\r\n", bytes].concat()] {
        server.set_answer(&words);
        // It may hang up before it was asked anything.
        let Ok(mut connection) = Manager::at(server.socket()).connect(PATIENCE) else { continue };
        let name = UnitName::new("fuzz", "scope").unwrap();
        let answer = connection
            .start_transient_unit(&name, &[])
            .and_then(|call| connection.wait(call, PATIENCE));
        if let Err(error) = answer {
            assert!(!matches!(error, SystemdError::Silent { .. }), "{error:?}");
            assert!(!error.to_string().is_empty());
        }
    }
}
