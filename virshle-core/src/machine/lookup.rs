//! Looking a machine of the node up.

use uuid::Uuid;

use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::model::selector::SelectError;

impl Node {
    /// The machine with that uuid.
    ///
    /// # Errors
    ///
    /// [`SelectError::NoSuchVm`] if there is none; or its definition can't be read.
    pub fn vm(&self, uuid: Uuid) -> Result<Vm, MachineError> {
        match self.store().read(uuid) {
            Ok(definition) => Ok(Vm::new(self.clone(), definition)),
            Err(error) if error.is_absent() => {
                let (word, known, unreadable) = (uuid.to_string(), Vec::new(), 0);
                Err(SelectError::NoSuchVm { word, known, unreadable }.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}
