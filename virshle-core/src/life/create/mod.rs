//! Creating machines from a template.

mod define;
pub(crate) mod disks;
mod nets;
pub(crate) mod of_image;
mod preflight;
pub(crate) mod progress;

use virshle_template::VmTemplate;

use crate::fs::in_parallel::in_parallel;
use crate::images;
use crate::life::create::define::Creation;
use crate::life::create::progress::CopyProgress;
use crate::life::error::CreateError;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::model::name::VmName;
use crate::network::{addresses, hosts};
use crate::provision::{Parts, Provision};
use crate::store::claim::Staged;

/// The template that machines are created from.
#[derive(Clone, Debug)]
enum Chosen {
    /// The one of the configuration that is called so.
    Named(String),
    /// This one.
    Given(Box<VmTemplate>),
}

/// A request to create machines.
#[derive(Clone, Debug)]
#[must_use = "`Node::create` executes it"]
pub struct CreateRequest {
    template: Chosen,
    count: u32,
    name: Option<VmName>,
    provision: Provision,
}

impl CreateRequest {
    /// Asks for one machine from the template `template`.
    pub fn new(template: impl Into<String>) -> Self {
        Self::chosen(Chosen::Named(template.into()))
    }

    /// Asks for one machine of `template`, which need not be one of the configuration.
    pub fn of(template: VmTemplate) -> Self {
        Self::chosen(Chosen::Given(Box::new(template)))
    }

    fn chosen(template: Chosen) -> Self {
        Self { template, count: 1, name: None, provision: Provision::Template }
    }

    /// Asks for `count` machines.
    pub fn count(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    /// Names the machine; several get `name-1`, `name-2`, …
    pub fn name(mut self, name: VmName) -> Self {
        self.name = Some(name);
        self
    }

    /// Sets where the user data comes from.
    pub fn provision(mut self, provision: Provision) -> Self {
        self.provision = provision;
        self
    }
}

/// What became of one of the machines that were asked for.
#[derive(Debug)]
#[non_exhaustive]
pub struct Created {
    /// The name that was claimed for it.
    pub name: VmName,
    /// The id that was claimed for it; it is not given again.
    pub id: u64,
    /// The machine, or why it was not created.
    pub result: Result<Vm, CreateError>,
}

impl Node {
    /// Creates the machines that are asked for, stopped. Each appears whole or not at all.
    ///
    /// `on_copy` is called for disks that have to be copied; a reflink is over before there is
    /// anything to report.
    ///
    /// # Errors
    ///
    /// If nothing could be begun: no such template, its images missing, a name that is taken.
    /// What becomes of a single machine afterwards is in its place in the list.
    pub fn create(
        &self,
        request: &CreateRequest,
        on_copy: &(dyn Fn(CopyProgress<'_>) + Sync),
    ) -> Result<Vec<Created>, CreateError> {
        create(self, request, on_copy)
    }
}

fn create(
    node: &Node,
    request: &CreateRequest,
    on_copy: &(dyn Fn(CopyProgress<'_>) + Sync),
) -> Result<Vec<Created>, CreateError> {
    if let Some(name) = request.name.as_ref().filter(|name| !name.is_host_name()) {
        return Err(CreateError::HostName { name: name.clone() });
    }
    // Before a file is opened that the configuration names.
    node.store().check_trust()?;
    let template = match &request.template {
        Chosen::Named(name) => node.config().template(name)?,
        Chosen::Given(template) => template,
    };
    preflight::check_files(node, template)?;
    // Until the machines are created, and their definitions show what they depend on.
    let _held = images::hold(node, &disks::images_of(node, template))?;
    preflight::check_sockets(node, template)?;
    let parts = Parts::read(&request.provision, template)?;
    let fixed = nets::fixed_identities(node, template)?;
    if let Some(identity) = fixed.first().filter(|_| request.count > 1) {
        let (template, identity) = (template.name.clone(), identity.to_string());
        return Err(CreateError::OneIdentity { template, count: request.count, identity });
    }
    let pool = addresses::pool(node, template);
    nets::check_publish(node, template)?;
    node.store().sweep()?;
    let staged = node.store().claim(request.count, request.name.as_ref(), &fixed, pool.as_ref())?;
    Ok(in_parallel(staged, |staged| create_one(node, template, &parts, staged, on_copy)))
}

fn create_one(
    node: &Node,
    template: &VmTemplate,
    parts: &Parts,
    staged: Staged,
    on_copy: &(dyn Fn(CopyProgress<'_>) + Sync),
) -> Created {
    let (name, id) = (staged.name.clone(), staged.id);
    let creation = Creation { node, template, parts, staged: &staged, on_copy };
    let result = match creation.definition() {
        Ok(definition) => match node.store().commit(staged, &definition) {
            Ok(()) => {
                tracing::info!(vm = %name, id, "created");
                let vm = Vm::new(node.clone(), definition);
                // Its start makes up for what fails here.
                if let Err(error) = hosts::register(&vm) {
                    tracing::warn!(vm = %name, %error, "dnsmasq does not know it yet");
                }
                Ok(vm)
            }
            Err(error) => Err(error.into()),
        },
        Err(error) => {
            node.store().discard(staged);
            Err(error)
        }
    };
    Created { name, id, result }
}
