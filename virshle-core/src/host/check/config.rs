//! Checks the configuration, and the images that its templates name.

use crate::failure::{Remedy, chain};
use crate::host::check::finding::{Finding, Level, text};
use crate::life::create::disks::source;
use crate::machine::capacity::oversize;
use crate::machine::node::Node;

/// The configuration, and the images that its templates name.
pub(super) fn check_config(node: &Node) -> Vec<Finding> {
    let config = node.config();
    let mut findings: Vec<Finding> = config
        .mistakes()
        .iter()
        .map(|mistake| {
            let message = format!(
                "{}:{}:{}: {}",
                mistake.path.display(),
                mistake.line,
                mistake.column,
                mistake.message
            );
            Finding::bad(Level::Warning, "template", message, Remedy::CheckTemplates)
        })
        .collect();
    for template in config.templates() {
        findings.extend(oversize(template).into_iter().map(|one| {
            let message = format!("{}: {one}", template.name);
            Finding::bad(Level::Warning, "template", message, Remedy::Text(one.hint()))
        }));
    }
    let images = config.templates().flat_map(|template| {
        template.disks.iter().filter_map(move |disk| Some((template, source(node, disk)?)))
    });
    for (template, path) in images {
        // One that is pulled by the first machine that is created from it.
        let is_to_come =
            !path.exists() && node.missing_images(template).is_ok_and(|them| !them.is_empty());
        if is_to_come {
            continue;
        }
        if let Err(error) = virshle_disk::inspect(&path) {
            let message = format!("{}: {}", template.name, chain(&error));
            let hint = error.hint().map(Remedy::Text);
            findings.push(Finding::bad(Level::Warning, "image", message, hint));
        }
    }
    if findings.is_empty() {
        let count = config.templates().count();
        findings.push(match config.origin() {
            Some(path) => Finding::good("templates", format!("{count} in {}", path.display())),
            None => Finding::bad(
                Level::Warning,
                "templates",
                "no configuration file",
                text("write /etc/virshle/config.toml; the README begins with one"),
            ),
        });
    }
    findings
}
