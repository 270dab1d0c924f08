//! The attribute of tests that need real parts of the host: [`macro@test_on`].
//!
//! A crate of its own because the language asks it of attributes, and no dependency of the testkit,
//! for `cargo package` leaves out only what tests need (see the workspace's `Cargo.toml`).

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// A part as tests name it: its variant of `virshle_testkit::Part`, what it is called in the reason
/// why the test is ignored, and how the name of a test that needs it may begin.
///
/// One without such beginnings is a mere program. A test of nothing else runs in every
/// `cargo test`, and is skipped where the program is absent.
type KnownPart = (&'static str, &'static str, &'static [&'static str]);

const PARTS: &[KnownPart] = &[
    ("Ovs", "Open vSwitch", &["ovs_", "root_"]),
    ("Dpdk", "Open vSwitch with DPDK", &["dpdk_", "root_"]),
    ("Ch", "cloud-hypervisor", &["ch_"]),
    ("Kvm", "KVM", &["kvm_"]),
    ("Passt", "passt", &["passt_"]),
    ("Reflink", "loop filesystems", &["reflink_", "root_"]),
    ("Fuse", "a FUSE filesystem", &["fuse_"]),
    ("Sshd", "OpenSSH", &["ssh_"]),
    ("Root", "root", &["root_"]),
    ("CloudInit", "cloud-init", &["root_"]),
    ("CloudInitReader", "cloud-init's Python", &[]),
    ("CloudInitCurrent", "a current cloud-init", &[]),
    ("Dhcp", "dnsmasq, Kea and busybox", &["root_"]),
    ("Networkd", "systemd-networkd", &["root_"]),
    ("Nftables", "nftables and dnsmasq", &["root_"]),
    ("QemuImg", "qemu-img and qemu-io", &[]),
    ("Packers", "gzip, xz, zstd and pzstd", &[]),
    ("Openssl", "openssl", &[]),
    ("Rsync", "rsync", &[]),
];

/// Marks a test that needs real parts: `#[test_on(Ovs, Ch, Kvm)]`.
///
/// The function becomes a `#[test]` that returns at once, and says `skipped: needs …`, where a part
/// is absent (see `virshle_testkit::need`). It is `#[ignore]`d with its parts as the reason unless
/// they are mere programs. Its name begins with one of its parts, in small letters: that is how
/// tests of one part are chosen on the command line.
///
/// ```
/// use virshle_testkit_macros::test_on;
///
/// #[test_on(Ovs, Ch, Kvm)]
/// fn ovs_a_machine_has_a_port() {}
/// ```
///
/// ```compile_fail
/// #[virshle_testkit_macros::test_on(Ovs, Ch, Kvm)]
/// fn a_machine_has_a_port() {}
/// ```
///
/// ```compile_fail
/// #[virshle_testkit_macros::test_on(Xen)]
/// fn xen_a_machine_has_a_port() {}
/// ```
#[proc_macro_attribute]
pub fn test_on(parts: TokenStream, function: TokenStream) -> TokenStream {
    match expand(parts, function) {
        Ok(expanded) => expanded,
        Err(message) => source(&format!("::core::compile_error!({message:?});")),
    }
}

fn expand(parts: TokenStream, function: TokenStream) -> Result<TokenStream, String> {
    let parts = named_parts(parts)?;
    let signature = Signature::of(function)?;
    let beginnings: Vec<&str> = parts.iter().flat_map(|(_, _, names)| *names).copied().collect();
    let ignored = !beginnings.is_empty();
    if ignored && !beginnings.iter().any(|beginning| signature.name.starts_with(beginning)) {
        return Err(format!(
            "the name of a test on real parts begins with one of them: {}",
            beginnings.join(", ")
        ));
    }
    let variants: Vec<String> =
        parts.iter().map(|(variant, ..)| format!("::virshle_testkit::Part::{variant}")).collect();
    let done = if signature.returns { "::core::result::Result::Ok(())" } else { "" };
    let check =
        format!("if !::virshle_testkit::need(&[{}]) {{ return {done}; }}", variants.join(", "));
    let mut attributes = "#[test]".to_owned();
    if ignored {
        let reason = format!("needs {}", listed(&parts));
        attributes.push_str(&format!("#[ignore = {reason:?}]"));
    }
    let mut body = source(&check);
    body.extend(signature.body.stream());
    let mut block = Group::new(Delimiter::Brace, body);
    block.set_span(signature.body.span());
    let mut expanded = source(&attributes);
    expanded.extend(signature.head);
    expanded.extend([TokenTree::Group(block)]);
    Ok(expanded)
}

/// What is known of the parts that the attribute names.
fn named_parts(tokens: TokenStream) -> Result<Vec<KnownPart>, String> {
    let mut parts = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Ident(name) => {
                let name = name.to_string();
                let known = PARTS.iter().find(|(variant, ..)| *variant == name);
                parts.push(*known.ok_or_else(|| format!("no part is called {name}"))?);
            }
            TokenTree::Punct(comma) if comma.as_char() == ',' => {}
            other => return Err(format!("not a part: {other}")),
        }
    }
    if parts.is_empty() { Err("which parts does it need?".into()) } else { Ok(parts) }
}

/// A function, taken apart.
struct Signature {
    head: TokenStream,
    name: String,
    returns: bool,
    body: Group,
}

impl Signature {
    fn of(function: TokenStream) -> Result<Self, String> {
        let mut tokens: Vec<TokenTree> = function.into_iter().collect();
        let Some(TokenTree::Group(body)) = tokens.pop() else {
            return Err("only a function is a test".into());
        };
        let is_fn = |token: &TokenTree| token.to_string() == "fn";
        let name = tokens.iter().position(is_fn).and_then(|at| tokens.get(at + 1));
        let name = name.ok_or("only a function is a test")?.to_string();
        let returns = tokens.iter().any(|token| token.to_string() == ">");
        Ok(Self { head: tokens.into_iter().collect(), name, returns, body })
    }
}

/// The parts in a sentence: `a, b and c`.
fn listed(parts: &[KnownPart]) -> String {
    let mut text = String::new();
    for (index, (_, words, _)) in parts.iter().enumerate() {
        text.push_str(match index {
            0 => "",
            _ if index + 1 == parts.len() => " and ",
            _ => ", ",
        });
        text.push_str(words);
    }
    text
}

/// Rust that this file wrote itself.
fn source(text: &str) -> TokenStream {
    text.parse().expect("it is Rust")
}
