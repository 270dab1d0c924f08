//! What a virtual machine is and its life: create, start, stop, remove, list.
