//! The arguments that select machines.

use std::ffi::OsString;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use virshle_core::{Node, Selection, Selector, Vm, VmState};

use crate::candidates;
use crate::error::CliError;
use crate::globals::GlobalsLast;

/// The heading of the options that select any number of machines.
pub(crate) const MACHINES: &str = "Machines";

/// The heading of the options that select one machine.
const MACHINE: &str = "Machine";

// Any number of machines. Without an argument none is selected, and never all. (clap would take a doc
// comment of this and of the next two for their commands' help.)
//
// Each option names its heading: `next_help_heading` would be the heading of the options after these
// as well.
#[derive(Args, Clone, Debug, Default)]
#[command(globals_last())]
pub(crate) struct Machines {
    /// Machine ids, names, uuids or unique uuid prefixes
    #[arg(value_name = "MACHINE", add = candidates::names())]
    machines: Vec<String>,
    /// Select the machine with this id; may be repeated
    #[arg(long, value_name = "N", value_parser = machine_id, add = candidates::ids(), help_heading = MACHINES)]
    id: Vec<u64>,
    /// Select the machine with this name; may be repeated
    #[arg(long, value_name = "NAME", add = candidates::names(), help_heading = MACHINES)]
    name: Vec<String>,
    /// Select the machine with this uuid or prefix; may be repeated
    #[arg(long, value_name = "UUID", add = candidates::uuids(), help_heading = MACHINES)]
    uuid: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// Select every machine, or with --state or --template, every match
    #[arg(long, conflicts_with_all = ["machines", "id", "name", "uuid"], help_heading = MACHINES)]
    all: bool,
}

// A filter of machines.
#[derive(Args, Clone, Debug, Default)]
#[command(globals_last())]
pub(crate) struct Filter {
    /// Select only machines in this state; may be repeated
    #[arg(
        long,
        value_name = "STATE",
        value_parser = state_parser(),
        ignore_case = true,
        help_heading = MACHINES
    )]
    state: Vec<VmState>,
    /// Select only machines created from this template; may be repeated
    #[arg(long, value_name = "TEMPLATE", add = candidates::templates(), help_heading = MACHINES)]
    template: Vec<String>,
}

// Exactly one machine.
#[derive(Args, Clone, Debug)]
#[command(globals_last())]
#[group(required = true, multiple = false)]
pub(crate) struct Machine {
    /// Machine id, name, uuid or unique uuid prefix
    #[arg(value_name = "MACHINE", add = candidates::names())]
    machine: Option<String>,
    /// Select the machine with this id
    #[arg(long, value_name = "N", value_parser = machine_id, add = candidates::ids(), help_heading = MACHINE)]
    id: Option<u64>,
    /// Select the machine with this name
    #[arg(long, value_name = "NAME", add = candidates::names(), help_heading = MACHINE)]
    name: Option<String>,
    /// Select the machine with this uuid or prefix
    #[arg(long, value_name = "UUID", add = candidates::uuids(), help_heading = MACHINE)]
    uuid: Option<String>,
}

// Exactly one machine, and the command that follows it, as with ssh.
#[derive(Args, Clone, Debug, Default)]
#[command(globals_last())]
pub(crate) struct MachineAndWords {
    /// Machine id, name, uuid or unique uuid prefix; USER@MACHINE logs in as USER
    #[arg(value_name = "[USER@]MACHINE", required_unless_present_any = ["id", "name", "uuid"], add = candidates::names())]
    machine: Option<OsString>,
    /// Run COMMAND instead of a shell
    ///
    /// What begins with a hyphen is the command's own behind its first word, or behind `--`. The exit
    /// code is the command's, or 255 if ssh failed
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    words: Vec<OsString>,
    /// Select the machine with this id
    #[arg(long, value_name = "N", value_parser = machine_id, add = candidates::ids(), conflicts_with_all = ["name", "uuid"], help_heading = MACHINE)]
    id: Option<u64>,
    /// Select the machine with this name
    #[arg(long, value_name = "NAME", add = candidates::names(), conflicts_with = "uuid", help_heading = MACHINE)]
    name: Option<String>,
    /// Select the machine with this uuid or prefix
    #[arg(long, value_name = "UUID", add = candidates::uuids(), help_heading = MACHINE)]
    uuid: Option<String>,
}

/// Parses an id. What is no number may be a name, and the error says how one is given.
fn machine_id(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "an id is a number; for a name, use --name or the name alone".into())
}

fn state_parser() -> impl TypedValueParser<Value = VmState> {
    PossibleValuesParser::new(VmState::ALL.map(VmState::word))
        .try_map(|word| word.to_ascii_lowercase().parse::<VmState>())
}

impl Machines {
    /// The selection, if there is any argument.
    ///
    /// # Errors
    ///
    /// [`CliError::NoneNamed`] otherwise: no machine is stopped by default.
    pub(crate) fn selection(self) -> Result<Selection, CliError> {
        if !self.all && self.is_empty() {
            return Err(CliError::NoneNamed);
        }
        Ok(self.into_selection())
    }

    /// Takes out the words that are no machines: settings, and the like.
    pub(crate) fn take_words(&mut self, is_other: impl Fn(&str) -> bool) -> Vec<String> {
        let all = std::mem::take(&mut self.machines);
        let (other, machines) = all.into_iter().partition(|word| is_other(word));
        self.machines = machines;
        other
    }

    /// Takes out the last word, if it is no machine.
    pub(crate) fn take_last(&mut self, is_other: impl Fn(&str) -> bool) -> Option<String> {
        if self.machines.last().is_some_and(|word| is_other(word)) {
            self.machines.pop()
        } else {
            None
        }
    }

    /// The selection, if there is any argument or `autostart`, which narrows it further.
    ///
    /// # Errors
    ///
    /// As [`Machines::selection`].
    pub(crate) fn selection_with_autostart(self, autostart: bool) -> Result<Selection, CliError> {
        if !autostart {
            return self.selection();
        }
        let mut selection = self.into_selection();
        selection.autostart = true;
        Ok(selection)
    }

    fn is_empty(&self) -> bool {
        let Self { machines, id, name, uuid, filter, all: _ } = self;
        machines.is_empty()
            && id.is_empty()
            && name.is_empty()
            && uuid.is_empty()
            && filter.state.is_empty()
            && filter.template.is_empty()
    }

    fn into_selection(self) -> Selection {
        let mut selection = self.filter.selection();
        selection.all = self.all;
        let named = &mut selection.named;
        named.extend(self.machines.into_iter().map(Selector::Word));
        named.extend(self.id.into_iter().map(Selector::Id));
        named.extend(self.name.into_iter().map(Selector::Name));
        named.extend(self.uuid.into_iter().map(Selector::Uuid));
        selection
    }
}

impl MachineAndWords {
    fn is_selected_by_option(&self) -> bool {
        self.id.is_some() || self.name.is_some() || self.uuid.is_some()
    }

    /// The command. The first word is the machine unless an option selects it.
    pub(crate) fn take_words(&mut self) -> Vec<OsString> {
        let first = if self.is_selected_by_option() { self.machine.take() } else { None };
        first.into_iter().chain(std::mem::take(&mut self.words)).collect()
    }

    /// The user in USER@MACHINE.
    pub(crate) fn take_user(&mut self) -> Option<String> {
        let (user, machine) = self.machine.as_ref()?.to_str()?.rsplit_once('@')?;
        let (user, machine) = (user.to_owned(), machine.to_owned());
        self.machine = Some(machine.into());
        (!user.is_empty()).then_some(user)
    }

    /// Finds the machine, whose word may be one that `named` understands.
    ///
    /// # Errors
    ///
    /// As [`Machine::find`].
    pub(crate) fn find(self, node: &Node, named: fn(&str) -> &str) -> Result<Vm, CliError> {
        let Self { machine, id, name, uuid, words: _ } = self;
        let machine = machine.map(|word| {
            let word = word.to_string_lossy();
            let (_, word) = word.rsplit_once('@').unwrap_or(("", &word));
            named(word).to_owned()
        });
        Machine { machine, id, name, uuid }.find(node)
    }
}

impl Filter {
    /// The selection of all machines that match.
    pub(crate) fn selection(self) -> Selection {
        let mut selection = Selection::all();
        selection.states = self.state;
        selection.templates = self.template;
        selection
    }
}

impl Machine {
    /// Finds the machine.
    ///
    /// # Errors
    ///
    /// If there is no such machine, or more than one matches.
    pub(crate) fn find(self, node: &Node) -> Result<Vm, CliError> {
        let Self { machine, id, name, uuid } = self;
        let mut selection = Selection::default();
        selection.named.extend(machine.map(Selector::Word));
        selection.named.extend(id.map(Selector::Id));
        selection.named.extend(name.map(Selector::Name));
        selection.named.extend(uuid.map(Selector::Uuid));
        let mut found = node.select(&selection)?;
        match (found.pop(), found.is_empty()) {
            (Some(vm), true) => Ok(vm),
            (Some(_), false) => Err(CliError::SeveralNamed),
            (None, _) => Err(CliError::NoneNamed),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        machines: Machines,
    }

    fn selection(arguments: &[&str]) -> Result<Selection, CliError> {
        Line::parse_from([&["v"], arguments].concat()).machines.selection()
    }

    #[test]
    fn no_argument_selects_no_machine() {
        assert!(matches!(selection(&[]), Err(CliError::NoneNamed)));
        assert!(selection(&["--all"]).unwrap().is_all());
    }

    #[test]
    fn arguments_and_options_select_machines_together() {
        let selection = selection(&["--id", "1", "web", "--name", "db", "--id=2", "--uuid", "ab"]);
        assert_eq!(
            selection.unwrap().named,
            [
                Selector::Word("web".into()),
                Selector::Id(1),
                Selector::Id(2),
                Selector::Name("db".into()),
                Selector::Uuid("ab".into()),
            ]
        );
    }

    #[test]
    fn filters_alone_are_enough() {
        let selection = selection(&["--state", "Running", "--template", "xs"]).unwrap();
        assert_eq!(selection.states, [VmState::Running]);
        assert_eq!(selection.templates, ["xs"]);
        assert!(Line::try_parse_from(["v", "--state", "of"]).is_err());
        assert!(Line::try_parse_from(["v", "--all", "web"]).is_err());
    }

    #[test]
    fn autostart_is_enough_too() {
        let machines = Line::parse_from(["v"]).machines;
        assert!(machines.selection_with_autostart(true).unwrap().autostart);
    }
}
