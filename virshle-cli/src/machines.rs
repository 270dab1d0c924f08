//! Which machines are meant: `<machines>` of the command line.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use virshle_core::{Node, Selection, Selector, Vm, VmState};

use crate::cli::GlobalsLast;
use crate::error::CliError;

// Which machines are meant, any number of them. Nothing said is nobody meant. (clap would take
// documentation of this and of the next two for their commands'.)
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Machines", globals_last())]
pub(crate) struct Machines {
    /// Ids, names, uuids or beginnings of uuids
    #[arg(value_name = "MACHINE", help_heading = None)]
    words: Vec<String>,
    /// The machine with this id; may be repeated
    #[arg(long, value_name = "N")]
    id: Vec<u64>,
    /// The machine of this name; may be repeated
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// The machine with this uuid, or the beginning of it; may be repeated
    #[arg(long, value_name = "UUID")]
    uuid: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// Every machine, as far as it fits --state and --template
    #[arg(long, conflicts_with_all = ["words", "id", "name", "uuid"])]
    all: bool,
}

// What narrows the machines down.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Only machines in this state; may be repeated
    #[arg(long, value_name = "STATE", value_parser = state_parser(), ignore_case = true)]
    state: Vec<VmState>,
    /// Only machines made from this template; may be repeated
    #[arg(long, value_name = "TEMPLATE")]
    template: Vec<String>,
}

// The one machine that is meant.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Machine by", globals_last())]
#[group(required = true, multiple = false)]
pub(crate) struct Machine {
    /// An id, a name, a uuid or the beginning of one
    #[arg(value_name = "MACHINE", help_heading = None)]
    word: Option<String>,
    /// The machine with this id
    #[arg(long, value_name = "N")]
    id: Option<u64>,
    /// The machine of this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The machine with this uuid, or the beginning of it
    #[arg(long, value_name = "UUID")]
    uuid: Option<String>,
}

fn state_parser() -> impl TypedValueParser<Value = VmState> {
    PossibleValuesParser::new(VmState::ALL.map(VmState::word))
        .try_map(|word| word.to_ascii_lowercase().parse::<VmState>())
}

impl Machines {
    /// The selection, if anything was said.
    ///
    /// # Errors
    ///
    /// [`CliError::NoneNamed`]: no machine is stopped because nothing was said.
    pub(crate) fn selection(self) -> Result<Selection, CliError> {
        if !self.all && self.is_silent() {
            return Err(CliError::NoneNamed);
        }
        Ok(self.into_selection())
    }

    /// The selection, if anything was said or `autostart`, which narrows it further.
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

    fn is_silent(&self) -> bool {
        let Self { words, id, name, uuid, filter, all: _ } = self;
        words.is_empty()
            && id.is_empty()
            && name.is_empty()
            && uuid.is_empty()
            && filter.state.is_empty()
            && filter.template.is_empty()
    }

    fn into_selection(self) -> Selection {
        let mut selection = self.filter.selection();
        let named = &mut selection.named;
        named.extend(self.words.into_iter().map(Selector::Word));
        named.extend(self.id.into_iter().map(Selector::Id));
        named.extend(self.name.into_iter().map(Selector::Name));
        named.extend(self.uuid.into_iter().map(Selector::Uuid));
        selection
    }
}

impl Filter {
    /// All machines that fit.
    pub(crate) fn selection(self) -> Selection {
        let mut selection = Selection::default();
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
    /// If there is no such machine, or more than one could be meant.
    pub(crate) fn find(self, node: &Node) -> Result<Vm, CliError> {
        let Self { word, id, name, uuid } = self;
        let mut selection = Selection::default();
        selection.named.extend(word.map(Selector::Word));
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

    fn selection(words: &[&str]) -> Result<Selection, CliError> {
        Line::parse_from([&["v"], words].concat()).machines.selection()
    }

    #[test]
    fn nothing_said_is_nobody_meant() {
        assert!(matches!(selection(&[]), Err(CliError::NoneNamed)));
        assert!(selection(&["--all"]).unwrap().is_all());
    }

    #[test]
    fn words_and_options_name_machines_together() {
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
