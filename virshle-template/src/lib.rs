//! Virshle's configuration: TOML text to checked, typed virtual machine templates.
