//! What can go wrong with machines: the error of any room, as one type.

use virshle_image::ImageError;
use virshle_template::{Mistake, TemplateError};

use crate::failure::{ErrorKind, Failure, Remedy, Verdict};
use crate::fs::error::FileError;
use crate::guest::error::GuestError;
use crate::guest::ssh::quote::QuoteError;
use crate::hardware::error::HardwareError;
use crate::host::setup::error::SetupError;
use crate::images::{self, ImagesError};
use crate::life::error::{CreateError, RemoveError};
use crate::machine::error::MachineError;
use crate::model::definition::error::DefinitionError;
use crate::model::selector::SelectError;
use crate::observe::error::NetworkError;
use crate::power::error::{RestartError, StartError, StopError};
use crate::provision::error::{ProvisionError, template_verdict};
use crate::store::error::StoreError;
use crate::supervise::error::SuperviseError;

/// Declares the error of any room: a variant for each, and the way of one failure to its one shape,
/// however many rooms it came through.
macro_rules! rooms {
    ($($(#[$doc:meta])* $room:ident($error:ident) $(through $($lower:ident)|+)?;)*) => {
        /// What failed, whichever room of this crate it was in. The cause is in `source`, the next step
        /// in [`remedy`](Self::remedy).
        ///
        /// Each operation has an error of its own, which becomes this one with `?`. One failure has one
        /// shape here: that a machine's definition can't be read is [`CoreError::Definition`], also if
        /// it was to be started.
        #[derive(Debug, thiserror::Error)]
        #[non_exhaustive]
        pub enum CoreError {
            $($(#[$doc])* #[error(transparent)] $room($error),)*
        }

        $(impl From<$error> for CoreError {
            fn from(error: $error) -> Self {
                match error {
                    $($($error::$lower(error) => error.into(),)+)?
                    error => Self::$room(error),
                }
            }
        })*
    };
}

rooms! {
    /// The configuration is wrong, or has no such template.
    Template(TemplateError);
    /// A file or directory.
    File(FileError);
    /// The definition of a machine.
    Definition(DefinitionError) through File;
    /// The node's directory of machines.
    Store(StoreError) through File | Definition;
    /// No machine is meant, or more than one.
    Select(SelectError);
    /// A machine, whatever was asked of it.
    Machine(MachineError) through Store | Select;
    /// A part of a machine.
    Hardware(HardwareError) through Machine;
    /// The image cache.
    Image(ImageError);
    /// The creation of machines.
    Create(CreateError) through Template | Store | Image;
    /// The removal of a machine.
    Remove(RemoveError) through Machine;
    /// The start of a machine.
    Start(StartError) through Machine | Hardware;
    /// The stop of a machine.
    Stop(StopError) through Machine;
    /// A look at the network.
    Network(NetworkError) through Machine;
    /// The setup of the host.
    Setup(SetupError) through Store;
    /// An argument for ssh.
    Quote(QuoteError);
    /// The way into a guest.
    Guest(GuestError) through Machine | Quote;
}

/// The way of an error that only passes on those of others.
macro_rules! passed_on {
    ($($error:ident: $($lower:ident)|+;)*) => {
        $(impl From<$error> for CoreError {
            fn from(error: $error) -> Self {
                match error {
                    $($error::$lower(error) => error.into(),)+
                }
            }
        })*
    };
}

passed_on! {
    ProvisionError: File | Template;
    ImagesError: Image | Store;
    RestartError: Stop | Start;
    SuperviseError: Machine | Start;
}

impl CoreError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.verdict().kind
    }

    /// A short name for the failure, for programs: it stays as it is across versions.
    pub fn code(&self) -> &'static str {
        self.verdict().code
    }

    /// The remedy, if there is one: for a front end to word.
    pub fn remedy(&self) -> Option<Remedy> {
        self.verdict().remedy
    }

    /// The remedy as this library words it.
    pub fn hint(&self) -> Option<String> {
        Failure::hint(self)
    }

    /// The end of cloud-hypervisor's log, where it adds to the causes.
    pub fn details(&self) -> &[String] {
        self.verdict().details
    }

    /// The mistakes in a file, if it is for them: in the configuration, or in a definition.
    pub fn mistakes(&self) -> &[Mistake] {
        match self {
            Self::Template(error) => error.mistakes(),
            Self::Definition(DefinitionError::Broken { mistake }) => std::slice::from_ref(mistake),
            _ => &[],
        }
    }
}

impl Failure for CoreError {
    fn verdict(&self) -> Verdict<'_> {
        match self {
            Self::Template(error) => template_verdict(error),
            Self::File(error) => error.verdict(),
            Self::Definition(error) => error.verdict(),
            Self::Store(error) => error.verdict(),
            Self::Select(error) => error.verdict(),
            Self::Machine(error) => error.verdict(),
            Self::Hardware(error) => error.verdict(),
            Self::Image(error) => images::verdict(error),
            Self::Create(error) => error.verdict(),
            Self::Remove(error) => error.verdict(),
            Self::Start(error) => error.verdict(),
            Self::Stop(error) => error.verdict(),
            Self::Network(error) => error.verdict(),
            Self::Setup(error) => error.verdict(),
            Self::Quote(error) => error.verdict(),
            Self::Guest(error) => error.verdict(),
        }
    }
}
