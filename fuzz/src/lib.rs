//! Everything of virshle's that parses what others wrote, fed with bytes: nothing may panic, hang
//! or take memory without bound, and what is accepted has to hold what it promises.
//!
//! Each function is the body of a program of the same name, which `scripts/fuzz` runs. They call
//! what anybody may call, over real files and real sockets.

mod answering_machine;
mod console;
mod disk;
mod hypervisor;
mod net;
mod systemd;
mod text;

pub use console::console;
pub use disk::qcow2;
pub use hypervisor::{events, http};
pub use net::{control, frame, openflow, ovsdb};
pub use systemd::systemd;
pub use text::{selector, template, user_data, values, vm_toml};

#[cfg(test)]
mod tests {
    use std::path::Path;

    fn seeds(name: &str, target: fn(&[u8])) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
        let mut count = 0;
        for entry in std::fs::read_dir(directory).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            // Whole, and cut off anywhere.
            for end in (0..=bytes.len()).step_by(1 + bytes.len() / 64) {
                target(&bytes[..end]);
            }
            target(&bytes);
            count += 1;
        }
        assert!(count > 0, "{name} has no seeds");
    }

    #[test]
    fn seeds_are_survived() {
        seeds("template", super::template);
        seeds("user_data", super::user_data);
        seeds("vm_toml", super::vm_toml);
        seeds("values", super::values);
        seeds("selector", super::selector);
        seeds("console", super::console);
        seeds("qcow2", super::qcow2);
        seeds("control", super::control);
        seeds("frame", super::frame);
        seeds("openflow", super::openflow);
        seeds("ovsdb", super::ovsdb);
        seeds("http", super::http);
        seeds("events", super::events);
        seeds("systemd", super::systemd);
    }
}
