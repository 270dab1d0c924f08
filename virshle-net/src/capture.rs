//! A copy of all that passes a port: a mirror of Open vSwitch onto a tap.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::deadline::Deadline;
use crate::ovsdb::{Atom, Condition, Mutation, Operation, Row, Uuid, Value};
use crate::owner::{NODE, Role};
use crate::port::take_off;
use crate::switch::bump;
use crate::{Device, InterfaceName, NetError, Switch, Tap};

/// `struct virtio_net_hdr`, which stands before each frame of a tap.
const HEADER: usize = 10;
/// The longest frame of a tap: a packet of 64 KiB that was never cut into segments, and its header.
const MAX_FRAME: usize = (64 << 10) + 512;

/// A mirror of one port, while this is held: every frame that goes in or out by it is read here as well.
///
/// The copies come by a tap of this process. However it ends, the tap ends with it; what it then leaves in
/// the switch's database is a row without a device, which [`Switch::sweep_captures`] removes. Works for
/// ports of any kind, those of vhost-user too.
#[derive(Debug)]
#[must_use = "nothing is copied once it is dropped"]
pub struct Capture {
    tap: Tap,
    room: Vec<u8>,
}

impl Switch {
    /// Mirrors the port `port` of `bridge` onto a new tap called `name`; `node` marks whose it is.
    ///
    /// # Errors
    ///
    /// [`NetError::NoPort`]; [`NetError::CreateTap`]; [`NetError::PortFailed`] and
    /// [`NetError::SwitchSilent`], and nothing is left then; those of any call to the database.
    #[doc(alias = "mirror")]
    #[doc(alias = "tcpdump")]
    pub fn capture(
        &mut self,
        bridge: &str,
        port: &str,
        name: &InterfaceName,
        node: &str,
        timeout: Duration,
    ) -> Result<Capture, NetError> {
        let deadline = Deadline::after(timeout);
        let select = Operation::select("Port", &[Condition::name(port)], &["_uuid"]);
        let outcomes = self.transact(&[select], deadline)?;
        let mirrored = outcomes[0].rows.first().and_then(|row| row.get("_uuid")?.as_uuid());
        let mirrored = mirrored
            .ok_or_else(|| NetError::NoPort { port: port.into(), bridge: bridge.into() })?;
        let tap = Tap::create(name)?;
        Device::isolate(name)?;
        tap.set_up()?;
        let outcomes = self.transact(&mirror(bridge, mirrored, name, node), deadline)?;
        let made = self.confirm_mirror(bridge, name, &outcomes, deadline);
        if let Err(error) = made {
            drop(tap);
            if let Err(left) = self.sweep_captures(node, timeout) {
                tracing::warn!(%left, "a mirror is left behind");
            }
            return Err(error);
        }
        tracing::debug!(port, tap = %name, "mirrored");
        Ok(Capture { tap, room: vec![0; HEADER + MAX_FRAME] })
    }

    fn confirm_mirror(
        &mut self,
        bridge: &str,
        name: &InterfaceName,
        outcomes: &[crate::ovsdb::Outcome],
        deadline: Deadline,
    ) -> Result<(), NetError> {
        let target = self.target(outcomes)?;
        self.wait_applied(target, &format!("the mirror onto {name}"), deadline)?;
        let columns = ["ofport", "error"];
        let select = Operation::select("Interface", &[Condition::name(name.as_str())], &columns);
        let outcomes = self.transact(&[select], deadline)?;
        let row = outcomes[0].rows.first();
        let number = row.and_then(|row| row.get("ofport")?.as_i64());
        if number.is_some_and(|number| number > 0) {
            return Ok(());
        }
        let reason = row.and_then(|row| row.get("error")?.as_str());
        let reason = reason.unwrap_or("it gave no reason; see its log").into();
        Err(NetError::PortFailed { port: name.to_string(), bridge: bridge.into(), reason })
    }

    /// The captures of `node` of which nothing is left but their rows: their processes have ended.
    ///
    /// # Errors
    ///
    /// [`NetError::Device`]; those of any call to the database.
    pub fn stale_captures(&mut self, node: &str) -> Result<Vec<String>, NetError> {
        Ok(self.stale(node)?.into_iter().map(|(name, _)| name).collect())
    }

    /// Removes the rows of captures of `node` whose processes have ended, and returns their names.
    ///
    /// # Errors
    ///
    /// As [`stale_captures`](Self::stale_captures).
    pub fn sweep_captures(
        &mut self,
        node: &str,
        timeout: Duration,
    ) -> Result<Vec<String>, NetError> {
        let stale = self.stale(node)?;
        if stale.is_empty() {
            return Ok(Vec::new());
        }
        let deadline = Deadline::after(timeout);
        let named: Vec<Operation> = stale
            .iter()
            .map(|(name, _)| Operation::select("Mirror", &[Condition::name(name)], &["_uuid"]))
            .collect();
        let outcomes = self.transact(&named, deadline)?;
        let mirrors = outcomes.iter().flat_map(|outcome| &outcome.rows);
        let mirrors = mirrors.filter_map(|row| row.get("_uuid")?.as_uuid());
        let mut operations: Vec<Operation> = mirrors.map(take_mirror_off).collect();
        operations.extend(stale.iter().map(|(_, port)| take_off(*port)));
        operations.extend(bump());
        self.transact(&operations, deadline)?;
        Ok(stale.into_iter().map(|(name, _)| name).collect())
    }

    /// The ports of captures of `node` that have no device any more.
    fn stale(&mut self, node: &str) -> Result<Vec<(String, Uuid)>, NetError> {
        let ours = Value::Map(
            marks(node).into_iter().map(|(key, value)| (Atom::from(key), value.into())).collect(),
        );
        let condition = Condition::includes("external_ids", ours);
        let select = Operation::select("Port", &[condition], &["_uuid", "name"]);
        let outcomes = self.transact(&[select], self.deadline())?;
        let mut stale = Vec::new();
        for row in &outcomes[0].rows {
            let name = row.get("name").and_then(Value::as_str).unwrap_or_default();
            let port = row.get("_uuid").and_then(Value::as_uuid);
            // The tap is there before its row is.
            if let Some(port) = port
                && Device::find(&name.parse()?)?.is_none()
            {
                stale.push((name.to_owned(), port));
            }
        }
        Ok(stale)
    }
}

impl Capture {
    /// The next frame that has been copied, without waiting; nothing if there is none yet.
    ///
    /// # Errors
    ///
    /// If the tap can't be read: it was deleted.
    pub fn next_frame(&mut self) -> io::Result<Option<&[u8]>> {
        let [queue] = self.tap.as_fds()[..] else { return Ok(None) };
        let read = match rustix::io::read(queue, &mut self.room[..]) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
            read => read?,
        };
        Ok(self.room.get(HEADER..read))
    }

    /// Ends the copying; [`Switch::sweep_captures`] removes its rows then.
    pub fn end(self) {}
}

impl AsFd for Capture {
    /// What is readable when a frame has been copied.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tap.as_fds()[0]
    }
}

fn marks(node: &str) -> [(&'static str, String); 2] {
    [Role::Capture.mark(), (NODE, node.to_owned())]
}

fn mirror(bridge: &str, mirrored: Uuid, name: &InterfaceName, node: &str) -> Vec<Operation> {
    let ids = || Value::map(marks(node));
    let named = || Value::from(name.as_str());
    let interface = Row::from([
        ("name".into(), named()),
        ("type".into(), "".into()),
        ("external_ids".into(), ids()),
    ]);
    let port = Row::from([
        ("name".into(), named()),
        ("interfaces".into(), Value::named("interface")),
        ("external_ids".into(), ids()),
    ]);
    let mirror = Row::from([
        ("name".into(), named()),
        ("select_src_port".into(), Value::set([mirrored])),
        ("select_dst_port".into(), Value::set([mirrored])),
        ("output_port".into(), Value::named("port")),
        ("external_ids".into(), ids()),
    ]);
    let on = [Condition::name(bridge)];
    let mut operations = vec![
        Operation::insert("Interface", &interface).named("interface"),
        Operation::insert("Port", &port).named("port"),
        Operation::insert("Mirror", &mirror).named("mirror"),
        Operation::mutate(
            "Bridge",
            &on,
            [
                Mutation::insert("ports", Value::named("port")),
                Mutation::insert("mirrors", Value::named("mirror")),
            ],
        ),
        Operation::comment(&format!("virshle: capture by {name}")),
    ];
    operations.extend(bump());
    operations
}

fn take_mirror_off(mirror: Uuid) -> Operation {
    Operation::mutate(
        "Bridge",
        &[Condition::includes("mirrors", mirror)],
        [Mutation::delete("mirrors", mirror)],
    )
}
