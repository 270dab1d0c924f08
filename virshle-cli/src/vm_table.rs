//! The table of machines.

use anstyle::Style;
use virshle_core::template::ByteSize;
use virshle_core::{AddressSource, Node, VmInfo, VmState, VmSummary};

use crate::escape::escape;
use crate::paint::{self, Paint};
use crate::table::Table;

/// The heading: which node this is.
pub(crate) fn heading(node: &Node, paint: Paint) -> String {
    let alias = paint.paint(paint::ALIAS, &escape(node.alias()));
    let host = paint.paint(paint::HOST, &escape(node.host()));
    format!("{alias} {} {host}\n", paint.paint(paint::STRONG, "on"))
}

/// A table of the machines of a listing.
pub(crate) fn of_summaries<'a>(
    vms: impl IntoIterator<Item = &'a VmSummary>,
    paint: Paint,
) -> Table {
    let mut table = Table::new(paint, COLUMNS);
    for vm in vms {
        table.row(cells(vm.id, vm.name.as_str(), vm.vcpus, vm.memory_bytes, vm.state));
    }
    table
}

/// A detailed table, to be filled by [`push_detailed`].
pub(crate) fn detailed(paint: Paint) -> Table {
    Table::new(paint, COLUMNS.into_iter().chain(DETAILS))
}

/// Adds a machine to a detailed table.
pub(crate) fn push_detailed(table: &mut Table, vm: VmInfo) {
    let nets: Vec<String> = vm.nets.iter().map(|net| format!("{} {}", net.name, net.mac)).collect();
    let addresses = addresses(&vm);
    let first = cells(vm.id, vm.name.as_str(), vm.vcpu, vm.vram, vm.state);
    let details: [String; DETAILS.len()] = [
        vm.template,
        vm.pid.map(|pid| pid.to_string()).unwrap_or_default(),
        nets.join(", "),
        addresses,
        vm.created.to_string(),
        vm.uuid.to_string(),
    ];
    table.row(first.into_iter().chain(details.map(|cell| (cell, Style::new()))));
}

/// The addresses that are certain enough to be shown without their sources.
fn addresses(vm: &VmInfo) -> String {
    let known = vm.nets.iter().flat_map(|net| &net.addresses);
    let shown = known.filter(|address| address.source != AddressSource::Mac);
    shown.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

const COLUMNS: [&str; 5] = ["id", "name", "vcpu", "vram", "state"];

/// The further columns of a detailed table.
const DETAILS: [&str; 6] = ["template", "pid", "nets", "addresses", "created", "uuid"];

fn cells(id: u64, name: &str, vcpus: u32, bytes: u64, state: VmState) -> [(String, Style); 5] {
    [
        (id.to_string(), Style::new()),
        (name.to_owned(), Style::new()),
        (vcpus.to_string(), Style::new()),
        (ByteSize::from_bytes(bytes).to_string(), Style::new()),
        (state.to_string(), style(state)),
    ]
}

/// The colour of a state.
pub(crate) fn style(state: VmState) -> Style {
    match state {
        VmState::Running => paint::GOOD,
        VmState::Stopped => paint::FAINT,
        VmState::Unresponsive => paint::ERROR,
        _ => paint::WARNING,
    }
}
